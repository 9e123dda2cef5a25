//! THE write path: a record on its way into the cache and the topic, as PROTOCOL R1, R2, R5, R6 and R9 have it.
//!
//! One script gives the version and makes the record durable in Redis together with its outbox entry; then the event is
//! published; the answer says what it rests on. After the script there is no plain refusal any more: the record is in
//! the cache and will reach the topic, by this handler or by the relay.

use std::sync::Arc;
use std::time::Duration;

use cache::{CacheError, Content, Logged, State, Write, WriteQueue, Written};
use record::{Change, Entity, Event, Origin, RecordId, Version};
use service::{Dependency, clock};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use topic::{KafkaSettings, Outgoing, Published, Publisher, TopicError};

use crate::clock::{ClockWatch, Verdict};
use crate::metrics::IngestMetrics;

/// What a client wants to be true.
#[derive(Debug)]
pub(crate) struct Intent {
    pub(crate) entity: Arc<Entity>,
    pub(crate) id: RecordId,
    pub(crate) wish: Wish,
    pub(crate) trace: Option<String>,
}

/// A record, or its absence, in the two forms that it travels in.
#[derive(Debug)]
pub(crate) struct Wish {
    /// For the cache.
    pub(crate) content: Content,
    /// For the topic.
    pub(crate) change: Change<'static>,
}

/// A write that will not be lost; `state` says what that rests on.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) version: Version,
    pub(crate) state: State,
}

/// Why a write was not accepted. Nothing happened, except after [`Refusal::OutcomeUnknown`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    ClocksDisagree,
    Full,
    Busy,
    CacheAway,
    OutcomeUnknown,
}

impl Refusal {
    /// All of them: refusals that are ours to answer for, not the client's.
    pub(crate) const ALL: [Self; 5] =
        [Self::ClocksDisagree, Self::Full, Self::Busy, Self::CacheAway, Self::OutcomeUnknown];
}

/// Everything that a write passes through. One per process, shared by its handlers.
#[derive(Debug)]
pub(crate) struct WritePath {
    pub(crate) clock: Arc<ClockWatch>,
    pub(crate) queue: WriteQueue,
    pub(crate) publisher: Publisher,
    pub(crate) kafka: Dependency,
    pub(crate) kafka_settings: KafkaSettings,
    pub(crate) acknowledged: mpsc::Sender<Logged>,
    pub(crate) answer_deadline: Duration,
    pub(crate) metrics: IngestMetrics,
}

impl WritePath {
    /// # Cancellation
    /// Once the script has run the record is in the outbox, and the relay publishes what this handler does not.
    pub(crate) async fn write(&self, intent: Intent) -> Result<Accepted, Refusal> {
        let deadline = Instant::now() + self.answer_deadline;
        let version = self.store(&intent, deadline).await?;
        let state = match self.publish(intent, version, deadline).await {
            Some(_) => State::Logged,
            None => State::Cached,
        };
        Ok(Accepted { version, state })
    }

    /// R5. A request that was too long under way reads the clock again (R2); a Redis that lost its epoch is met again and
    /// asked once more (R15).
    async fn store(&self, intent: &Intent, deadline: Instant) -> Result<Version, Refusal> {
        let mut met_again = false;
        loop {
            match self.clock.verdict() {
                Verdict::Agree => {}
                Verdict::Disagree => return Err(Refusal::ClocksDisagree),
                Verdict::Unread => return Err(Refusal::CacheAway),
            }
            if Instant::now() >= deadline {
                return Err(Refusal::Busy);
            }
            let begun = Instant::now();
            let answer = self.queue.write(intent.to_write(clock::now_micros())).await;
            self.metrics.store.observe(begun.elapsed().as_secs_f64());
            match answer {
                Ok(Written::New(version)) => {
                    self.metrics.lead(version, clock::now_micros());
                    return Ok(version);
                }
                Ok(Written::Late) => {}
                Ok(Written::StaleEpoch) if !met_again => met_again = true,
                Ok(Written::StaleEpoch) => return Err(Refusal::CacheAway),
                Ok(Written::Skew) => return Err(Refusal::ClocksDisagree),
                Ok(Written::Full) => return Err(Refusal::Full),
                Ok(
                    answer @ (Written::Repeated { .. }
                    | Written::Mismatch
                    | Written::Conflict(_)
                    | Written::Absent
                    | Written::Incomplete),
                ) => unreachable!("{answer:?} answers a key or a precondition, and none was sent"),
                Err(CacheError::Unanswered(_) | CacheError::Unexpected(_)) => return Err(Refusal::OutcomeUnknown),
                Err(CacheError::Saturated) => return Err(Refusal::Busy),
                Err(_) => return Err(Refusal::CacheAway),
            }
        }
    }

    /// R6. `None`: no acknowledgement within the deadline; a late one is taken in all the same.
    async fn publish(&self, intent: Intent, version: Version, deadline: Instant) -> Option<Published> {
        // A handler past its deadline produces no more: the relay does.
        if !self.kafka.is_up() || Instant::now() >= deadline {
            return None;
        }
        let topic = self.kafka_settings.topic(intent.entity.name());
        let (acknowledge, acknowledged) = oneshot::channel();
        let Intent { entity, id, wish, trace } = intent;
        let event = Event { id, version, origin: Origin::Write, change: wish.change };
        let tell = self.tell_cache(&entity, &event);
        let outgoing = Outgoing { topic: &topic, event: &event, trace: trace.as_deref() };
        let (begun, seconds) = (Instant::now(), self.metrics.acknowledge.clone());
        let sent = self.publisher.send(outgoing, move |delivered| {
            if let Ok(published) = &delivered {
                seconds.observe(begun.elapsed().as_secs_f64());
                tell(*published);
            }
            drop(acknowledge.send(delivered));
        });
        match sent {
            Ok(()) => timeout_at(deadline, acknowledged).await.ok()?.ok()?.ok(),
            Err(TopicError::QueueFull) => None,
            Err(error) => {
                tracing::error!(%error, topic, "an event was refused; its record stays in the outbox");
                None
            }
        }
    }

    /// The cache learns of the acknowledgement off the answer's path, also when nobody waits for it any more. Where it
    /// does not, the relay sends a harmless duplicate.
    fn tell_cache(&self, entity: &Entity, event: &Event<'_>) -> impl FnOnce(Published) + Send + Sync + use<> {
        let (queue, dropped) = (self.acknowledged.clone(), self.metrics.acknowledgements_dropped.clone());
        let (entity, id, version) = (entity.name().to_owned(), event.id.clone(), event.version);
        move |Published { partition, offset }| {
            let logged = Logged { entity, id, version, partition, offset, at: clock::now_micros() };
            if queue.try_send(logged).is_err() {
                dropped.inc();
            }
        }
    }
}

impl Intent {
    fn to_write(&self, mine: u64) -> Write {
        let content = self.wish.content.clone();
        Write { entity: self.entity.name().to_owned(), id: self.id.clone(), content, trace: self.trace.clone(), mine }
    }
}
