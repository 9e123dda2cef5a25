//! Whether Kafka can be used: first whether the topics are as they must be (PROTOCOL R17), then, every other second,
//! whether a broker answers. Until the topics have been checked, Kafka counts as away. A topic that is missing concerns its
//! own entity alone: nothing is published to it until it is there and was checked; the others are used. A producer that has
//! failed for good is replaced here, and so is one that finds no broker where a new one does.

use std::time::{Duration, Instant};

use service::{Dependency, Pulse, Supervisor};
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
    /// A client could not be made.
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
    let (stopping, pulse) = (supervisor.stopping(), supervisor.pulse("kafka"));
    // Whoever publishes may be quicker than the task is begun.
    publisher.unchecked(&topics);
    supervisor.spawn("kafka", async move {
        if let Err(error) = watch(&settings, &topics, &publisher, &kafka, &stopping, &pulse).await {
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
    pulse: &Pulse,
) -> Result<(), WatchError> {
    let admin = Topics::new(settings)?;
    let mut waiting = Unchecked { topics: topics.to_vec(), reason: None };
    publisher.unchecked(topics);
    // By then nothing that it holds can still be on its way.
    let mut lost = Lost { after: settings.produce_deadline_ms * 2, since: None };
    while !stopping.is_cancelled() {
        pulse.beat();
        let replaced = replace_failed(publisher).await?;
        waiting.check(&admin, publisher).await?;
        // Without any topic nothing can be published, whoever answers.
        match waiting.reason.as_ref().filter(|_| waiting.topics.len() == topics.len()) {
            Some(reason) => kafka.away(reason),
            None => {
                let reached = blocking(publisher, |publisher| publisher.reach(TIMEOUT)).await;
                if lost.overdue(Instant::now(), reached.is_ok()) {
                    replace_lost(publisher).await?;
                }
                match reached {
                    Ok(()) => kafka.answers(),
                    Err(error) => kafka.away(error),
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            // One that fails as soon as it is made is not to be made without a break.
            () = publisher.failed(), if !replaced => {}
            () = stopping.cancelled() => {}
        }
    }
    Ok(())
}

async fn replace_failed(publisher: &Publisher) -> Result<bool, WatchError> {
    let reason = blocking(publisher, Publisher::replace_failed).await?;
    if let Some(reason) = &reason {
        tracing::error!(reason, "the Kafka producer failed for good and was replaced: {reason}");
    }
    Ok(reason.is_some())
}

/// Once a cluster has restarted, librdkafka now and then does not find back to it (seen with 2.12).
async fn replace_lost(publisher: &Publisher) -> Result<(), WatchError> {
    if blocking(publisher, |lost| lost.replace_lost(TIMEOUT)).await? {
        tracing::error!("the Kafka producer found no broker where another one does, and was replaced");
    }
    Ok(())
}

/// Since when the producer has found no broker, or another one was asked last.
struct Lost {
    after: Duration,
    since: Option<Instant>,
}

impl Lost {
    /// Whether it is time to ask another one.
    fn overdue(&mut self, now: Instant, reached: bool) -> bool {
        if reached {
            self.since = None;
            return false;
        }
        let since = self.since.get_or_insert(now);
        let overdue = now.saturating_duration_since(*since) >= self.after;
        if overdue {
            *since = now;
        }
        overdue
    }
}

/// Off the async workers, for what blocks.
async fn blocking<T: Send + 'static>(
    publisher: &Publisher,
    ask: impl FnOnce(&Publisher) -> Result<T, TopicError> + Send + 'static,
) -> Result<T, TopicError> {
    let publisher = publisher.clone();
    let asked = tokio::task::spawn_blocking(move || ask(&publisher)).await;
    asked.map_err(|error| TopicError::Fatal(error.to_string()))?
}

/// Topics that nothing may be published to yet.
struct Unchecked {
    topics: Vec<String>,
    /// Why one of them is among these, as last logged.
    reason: Option<String>,
}

impl Unchecked {
    /// Looks at each: one that is there and as it must be is used from now on.
    async fn check(&mut self, admin: &Topics, publisher: &Publisher) -> Result<(), WatchError> {
        let (mut faults, mut reason) = (Vec::new(), None);
        let mut topics = std::mem::take(&mut self.topics).into_iter();
        for topic in topics.by_ref() {
            match admin.inspect(&topic).await {
                Ok(Some(found)) if found.faults.is_empty() => publisher.checked(&topic),
                Ok(Some(found)) => faults.extend(found.faults),
                Ok(None) => {
                    reason = Some(format!("topic {topic} does not exist: run `persister migrate`"));
                    self.topics.push(topic);
                }
                // Nobody answers: the others need not wait for that as well.
                Err(error) => {
                    reason = Some(error.to_string());
                    self.topics.push(topic);
                    break;
                }
            }
        }
        self.topics.extend(topics);
        if !faults.is_empty() {
            return Err(WatchError::Refused(faults));
        }
        if let Some(reason) = reason.as_ref().filter(|reason| self.reason.as_ref() != Some(reason)) {
            tracing::warn!(reason, "a topic is not used yet: {reason}");
        }
        self.reason = reason;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_producer_is_asked_each_time_that_none_was_reached_for_so_long() {
        let (begun, mut lost) = (Instant::now(), Lost { after: Duration::from_secs(20), since: None });
        let mut at = |second: u64, reached: bool| lost.overdue(begun + Duration::from_secs(second), reached);
        assert!(![at(0, true), at(2, false), at(21, false)].contains(&true), "too early");
        assert!(at(22, false), "20 s after it was first not reached");
        assert!(!at(41, false) && at(42, false), "and each 20 s again");
        assert!(!at(43, true) && !at(90, false) && !at(109, false), "it was reached in between");
        assert!(at(110, false));
    }
}
