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
            let reachable = tokio::task::spawn_blocking(move || asked.is_reachable(TIMEOUT)).await;
            kafka.set(reachable.unwrap_or(false));
        } else {
            checked = check(&admin, topics).await?;
            kafka.set(checked);
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stopping.cancelled() => {}
        }
    }
    Ok(())
}

/// Are all topics there and as they must be? `false`: not yet known.
async fn check(admin: &Topics, topics: &[String]) -> Result<bool, WatchError> {
    let mut faults = Vec::new();
    for topic in topics {
        match admin.inspect(topic).await {
            Ok(Some(found)) => faults.extend(found.faults),
            Ok(None) => {
                tracing::warn!(topic, "topic {topic} does not exist: run `persister migrate`");
                return Ok(false);
            }
            Err(error) => {
                tracing::debug!(%error, "topics cannot be checked yet");
                return Ok(false);
            }
        }
    }
    if faults.is_empty() { Ok(true) } else { Err(WatchError::Refused(faults)) }
}
