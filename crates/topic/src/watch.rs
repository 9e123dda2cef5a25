//! Whether Kafka can be used: first whether the topics are as they must be (PROTOCOL R17), then, every other second,
//! whether a broker answers. Until the topics have been checked, Kafka counts as away.

use std::time::Duration;

use service::{Dependency, Supervisor};
use tokio_util::sync::CancellationToken;

use crate::setup::Topics;
use crate::{KafkaSettings, Publisher, TopicError};

const EVERY: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(1);

/// Why a process must not use these topics. It stops, since no waiting mends it.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// Settings of topics that would lose writes, each with the remedy.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
    /// The producer can do nothing more; a new process can.
    #[error("the producer failed for good: {0}")]
    ProducerFailed(String),
    /// The admin client could not be made.
    #[error(transparent)]
    Client(#[from] TopicError),
}

/// Runs [`watch`] for the life of the process.
pub fn supervise(
    settings: KafkaSettings,
    topics: Vec<String>,
    publisher: Publisher,
    kafka: Dependency,
    supervisor: &Supervisor,
) {
    let stopping = supervisor.stopping();
    supervisor.spawn("kafka", async move {
        if let Err(error) = watch(&settings, &topics, &publisher, &kafka, &stopping).await {
            tracing::error!(%error, "these topics must not be used: {error}");
        }
    });
}

/// Reports on `kafka` until `stopping`.
///
/// # Errors
/// [`WatchError`].
pub async fn watch(
    settings: &KafkaSettings,
    topics: &[String],
    publisher: &Publisher,
    kafka: &Dependency,
    stopping: &CancellationToken,
) -> Result<(), WatchError> {
    let admin = Topics::new(settings)?;
    let mut checked = false;
    while !stopping.is_cancelled() {
        if let Some(reason) = publisher.fatal() {
            return Err(WatchError::ProducerFailed(reason));
        }
        if checked {
            let asked = publisher.clone();
            match tokio::task::spawn_blocking(move || asked.reach(TIMEOUT)).await {
                Ok(Ok(())) => kafka.answers(),
                Ok(Err(error)) => kafka.away(error),
                Err(error) => kafka.away(error),
            }
        } else if let Some(reason) = check(&admin, topics).await? {
            kafka.away(reason);
        } else {
            checked = true;
            kafka.answers();
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stopping.cancelled() => {}
        }
    }
    Ok(())
}

/// Are all topics there and as they must be? A reason: not yet known.
async fn check(admin: &Topics, topics: &[String]) -> Result<Option<String>, WatchError> {
    let mut faults = Vec::new();
    for topic in topics {
        match admin.inspect(topic).await {
            Ok(Some(found)) => faults.extend(found.faults),
            Ok(None) => {
                return Ok(Some(format!("topic {topic} does not exist: run `persister migrate`")));
            }
            Err(error) => return Ok(Some(error.to_string())),
        }
    }
    if faults.is_empty() { Ok(None) } else { Err(WatchError::Refused(faults)) }
}
