//! Polling on a plain thread, which never waits for MySQL: messages go to the lanes, a full lane pauses its partition,
//! rebalances are handled inside the callback, offsets are committed in the background.

use std::time::{Duration, Instant};

use service::{Dependency, FailureClass, Pulse};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use topic::{Consumer, TopicError};

use crate::commit::Due;
use crate::given_up::GivenUp;
use crate::seat::Seat;
use crate::steadiness::Steadiness;

/// How long one poll waits; rebalances and commits are served at least so often.
pub(crate) const POLL: Duration = Duration::from_millis(50);

/// What the client met, each once and not with every try.
#[derive(Debug, Default)]
struct Said(Option<String>);

impl Said {
    fn say(&mut self, error: &TopicError) {
        let text = error.to_string();
        if self.0.as_ref() == Some(&text) {
            return;
        }
        if error.class() == FailureClass::Fatal {
            tracing::error!(%error, "the group does not take this persister: {error}");
        } else {
            tracing::debug!(%error, "poll");
        }
        self.0 = Some(text);
    }
}

/// What a member reads: the topics that fit, and news of more.
#[derive(Debug)]
pub(crate) struct Topics {
    pub(crate) fitting: Vec<String>,
    pub(crate) news: mpsc::Receiver<Vec<String>>,
}

/// What polls.
#[derive(Debug)]
pub(crate) struct Intake {
    pub(crate) commit_every: Duration,
    pub(crate) brokers: Dependency,
    pub(crate) stopping: CancellationToken,
    pub(crate) pulse: Pulse,
}

impl Intake {
    /// Polls until the process is to stop. The end of the consumer then gives back what is assigned, which drains and commits it.
    ///
    /// # Errors
    /// This consumer can be no member any more, or hangs.
    pub(crate) fn poll(
        &self,
        consumer: &Consumer<Seat>,
        topics: &mut Topics,
        steadiness: &mut Steadiness,
    ) -> Result<(), GivenUp> {
        let (mut served, mut said) = (Instant::now(), Said::default());
        while !self.stopping.is_cancelled() {
            self.pulse.beat();
            if let Ok(fitting) = topics.news.try_recv() {
                topics.fitting = fitting;
                consumer.subscribe(&topics.fitting)?;
            }
            take(consumer, &mut said)?;
            resume(consumer);
            if served.elapsed() >= self.commit_every {
                commit(consumer);
                served = Instant::now();
            }
            if let Some(unsteady) = steadiness.overdue(Instant::now(), consumer.is_steady(), self.brokers.is_up()) {
                return Err(GivenUp::Unsteady(unsteady));
            }
        }
        Ok(())
    }
}

fn take(consumer: &Consumer<Seat>, said: &mut Said) -> Result<(), TopicError> {
    match consumer.poll(POLL) {
        Some(Ok((partition, envelope))) => {
            *said = Said::default();
            if !consumer.assignment().lanes().offer(&partition, envelope)
                && let Err(error) = consumer.pause(&partition)
            {
                tracing::warn!(%error, partition = partition.number, "a full lane's partition could not be paused");
            }
        }
        Some(Err(error @ (TopicError::Fatal(_) | TopicError::NameTaken(_)))) => return Err(error),
        Some(Err(error)) => said.say(&error),
        None => {}
    }
    Ok(())
}

fn resume(consumer: &Consumer<Seat>) {
    for partition in consumer.assignment().lanes().unstuck() {
        if let Err(error) = consumer.resume(&partition) {
            tracing::warn!(%error, partition = partition.number, "a lane's partition could not be resumed");
        }
    }
}

fn commit(consumer: &Consumer<Seat>) {
    let due = consumer.assignment().lanes().offsets().due();
    let (back, onward): (Vec<_>, Vec<_>) = due.into_iter().partition(|due| due.back);
    for Due { partition, next, .. } in back {
        consumer.commit_back(&partition, next);
    }
    let onward: Vec<_> = onward.into_iter().map(|due| (due.partition, due.next)).collect();
    if onward.is_empty() {
        return;
    }
    if let Err(error) = consumer.commit(&onward) {
        tracing::debug!(%error, "commit");
        for (partition, _) in &onward {
            consumer.assignment().lanes().offsets().failed(partition);
        }
    }
}
