//! How this process is a member of its group: by a consumer, and by another one in its place when that can be none any more, or
//! is without a steady place for too long. On a plain thread, which never waits for MySQL.

use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::time::{Duration, Instant};

use service::{Backoff, FailureClass};
use topic::{Consumer, GroupProtocol, KafkaSettings, MemberSettings, Reader, TopicError};

use crate::given_up::GivenUp;
use crate::intake::{Intake, POLL, Topics};
use crate::lanes::Lanes;
use crate::seat::Seat;
use crate::steadiness::Steadiness;

/// How long the next consumer waits for the end of the one before it, which leaves the group. One that hangs ends beside it.
const RETIRE_WITHIN: Duration = Duration::from_secs(5);
/// How often a name is asked for that another member has.
const ASK_EVERY: Duration = Duration::from_secs(1);
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// What all consumers of this process share.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) kafka: KafkaSettings,
    pub(crate) member: MemberSettings,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) intake: Intake,
}

impl Membership {
    /// Until the process is to stop: then the group is left, and what is assigned is drained and committed.
    ///
    /// # Errors
    /// No consumer can be made of these settings.
    pub(crate) fn keep(&self, mut topics: Topics) -> Result<(), TopicError> {
        let mut backoff = Backoff::new(FIRST_BACKOFF, LONGEST_BACKOFF);
        let mut told = None;
        while !self.intake.stopping.is_cancelled() {
            let seat = Seat::new(Arc::clone(&self.lanes));
            let consumer = Consumer::new(&self.kafka, &self.member, &topics.fitting, seat)?;
            let mut steadiness = Steadiness::new(self.member.unsteady_most_ms);
            let Err(why) = self.intake.poll(&consumer, &mut topics, &mut steadiness) else { return Ok(()) };
            if steadiness.was_steady() {
                backoff.reset();
                told = None;
            }
            let reason = why.reason();
            self.lanes.metrics().consumers_replaced.with_label_values(&[reason]).inc();
            if told.replace(reason) == Some(reason) {
                tracing::debug!(reason, "the consumer was given up again: {why}");
            } else {
                tracing::error!(reason, "the consumer is made anew: {why}");
            }
            self.retire(consumer);
            if matches!(why, GivenUp::NameTaken(_)) {
                self.wait_for_the_name(&topics);
            }
            self.rest(backoff.next(rand::random()));
        }
        Ok(())
    }

    /// Ends a consumer. Whatever it still does, it does beside its successor.
    fn retire(&self, consumer: Consumer<Seat>) {
        consumer.assignment().give_up();
        let (ending, ended) = blocking::sync_channel::<()>(1);
        let end = move || {
            drop(consumer);
            drop(ending);
        };
        if let Err(error) = std::thread::Builder::new().name("retired".to_owned()).spawn(end) {
            tracing::warn!(%error, "no thread for the end of a consumer");
        }
        let until = Instant::now() + RETIRE_WITHIN;
        while ended.recv_timeout(POLL) == Err(blocking::RecvTimeoutError::Timeout) {
            self.intake.pulse.beat();
            if Instant::now() >= until {
                return tracing::warn!("a consumer that was given up does not end; another one takes its place");
            }
        }
    }

    /// Under the classic protocol whoever comes takes a name, and the one who had it is told. So that two never take it from
    /// each other in turns, nobody takes it back: it is waited for. By KIP-848 the brokers refuse it to whoever comes.
    fn wait_for_the_name(&self, topics: &Topics) {
        let (Some(name), GroupProtocol::Classic) = (&self.member.group_instance_id, self.member.group_protocol) else {
            return;
        };
        let Some(topic) = topics.fitting.first() else { return };
        let asked = match Reader::new(&self.kafka, "name", topic) {
            Ok(asked) => asked,
            Err(error) => return tracing::warn!(%error, "nobody can be asked who has the name {name}"),
        };
        let mut said = false;
        while !self.intake.stopping.is_cancelled() {
            self.intake.pulse.beat();
            match asked.host_of(name) {
                Ok(None) => return,
                Ok(Some(host)) if !said => {
                    said = true;
                    tracing::warn!(name, host, "the name {name} is a member's at {host}; waiting until it is free");
                }
                Ok(Some(_)) => {}
                Err(error) if error.class() == FailureClass::Fatal => {
                    return tracing::warn!(%error, "it is not told who has the name {name}");
                }
                Err(error) => tracing::debug!(%error, "who has the name {name}?"),
            }
            self.rest(ASK_EVERY);
        }
    }

    fn rest(&self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until && !self.intake.stopping.is_cancelled() {
            self.intake.pulse.beat();
            std::thread::sleep(POLL.min(until.saturating_duration_since(Instant::now())));
        }
    }
}
