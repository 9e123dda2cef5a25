//! THE write path: a record on its way into the cache and the topic, as PROTOCOL R1, R2, R5 to R9 have it.
//!
//! One script gives the version and makes the record durable in Redis together with its outbox entry; then the event is
//! published; the answer says what it rests on. After the script there is no plain refusal any more: the record is in
//! the cache and will reach the topic, by this handler or by the relay. Where Redis is away the topic alone takes the write.

use std::sync::Arc;
use std::time::Duration;

use cache::{Cache, Content, Idempotency, Lease, Logged, Precondition, State, Write, WriteQueue, Written};
use record::{Change, Entity, Event, Origin, RecordId, Version};
use service::{Backoff, Dependency, clock};
use table::EntityTable;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};
use topic::{KafkaSettings, Outgoing, Published, Publisher, TopicError};

use crate::away::{Away, Issued, Kind, Untaken, past_redis};
use crate::clock::{ClockWatch, Verdict};
use crate::metrics::IngestMetrics;
use crate::read::{self, Brought};

/// What a client wants to be true.
#[derive(Debug)]
pub(crate) struct Intent {
    pub(crate) table: EntityTable,
    pub(crate) id: RecordId,
    pub(crate) wish: Wish,
    pub(crate) trace: Option<String>,
    pub(crate) precondition: Option<Precondition>,
    pub(crate) idempotency: Option<Idempotency>,
    /// What the answer is to rest on, where the client has said so.
    pub(crate) prefers: Option<State>,
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
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accepted {
    pub(crate) version: Version,
    pub(crate) state: State,
    pub(crate) how: How,
}

/// How a write came to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Through the cache.
    New,
    /// It was accepted before, with the same key (R7).
    Replayed,
    /// Past the cache (R8): a key was not looked up.
    Past,
}

/// Why a write was not accepted. Nothing happened, except after [`Refusal::OutcomeUnknown`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    ClocksDisagree,
    Quiet,
    Full,
    Busy,
    CacheAway,
    NoSlot,
    TopicAway,
    StoresAway,
    RowUnknown,
    Incomplete,
    KeyReused,
    /// With the version that the record has, if it is there.
    PreconditionFailed(Option<Version>),
    /// With the version that it has if it happened, where that is known.
    OutcomeUnknown(Option<Version>),
}

impl Refusal {
    /// All of them.
    pub(crate) const ALL: [Self; 13] = [
        Self::ClocksDisagree,
        Self::Quiet,
        Self::Full,
        Self::Busy,
        Self::CacheAway,
        Self::NoSlot,
        Self::TopicAway,
        Self::StoresAway,
        Self::RowUnknown,
        Self::Incomplete,
        Self::KeyReused,
        Self::PreconditionFailed(None),
        Self::OutcomeUnknown(None),
    ];
}

/// Everything that a write passes through. One per process, shared by its handlers.
#[derive(Debug)]
pub(crate) struct WritePath {
    pub(crate) clock: Arc<ClockWatch>,
    pub(crate) cache: Cache,
    pub(crate) queue: WriteQueue,
    pub(crate) away: Away,
    pub(crate) publisher: Publisher,
    pub(crate) kafka: Dependency,
    pub(crate) kafka_settings: KafkaSettings,
    pub(crate) acknowledged: mpsc::Sender<Logged>,
    pub(crate) answer_deadline: Duration,
    /// T.
    pub(crate) redis_timeout: Duration,
    pub(crate) metrics: IngestMetrics,
}

/// What the script made of a write.
enum Stored {
    New(Version),
    Repeated { version: Version, state: State, content: Option<Content> },
    Untaken(Untaken),
}

/// What became of an event.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Acknowledged,
    /// It may be in the topic, or get there.
    Unacknowledged,
    Unsent,
}

impl WritePath {
    /// # Cancellation
    /// Once the script has run the record is in the outbox, and the relay publishes what this handler does not.
    pub(crate) async fn write(&self, intent: Intent) -> Result<Accepted, Refusal> {
        let deadline = Instant::now() + self.answer_deadline;
        let insists = intent.prefers == Some(State::Logged);
        if insists && !self.kafka.is_up() {
            return Err(Refusal::TopicAway);
        }
        let accepted = match self.store(&intent, deadline).await? {
            Stored::New(version) => {
                let state = self.log(intent, version, deadline).await;
                Accepted { version, state, how: How::New }
            }
            Stored::Repeated { version, state, content } => {
                let state = self.repeat(intent, version, state, content, deadline).await;
                Accepted { version, state, how: How::Replayed }
            }
            Stored::Untaken(untaken) => self.bypass(intent, untaken, deadline).await?,
        };
        match accepted.state {
            State::Cached if insists => Err(Refusal::OutcomeUnknown(Some(accepted.version))),
            _ => Ok(accepted),
        }
    }

    /// R5. A request that was too long under way reads the clock again (R2); a Redis that lost its epoch is met again and
    /// asked once more (R15); what a precondition speaks of is brought into the cache first (R12).
    async fn store(&self, intent: &Intent, deadline: Instant) -> Result<Stored, Refusal> {
        let (mut met_again, mut nowhere, mut contended) = (false, None, None);
        loop {
            match self.clock.verdict() {
                _ if self.cache.is_quiet() => return Err(Refusal::Quiet),
                Verdict::Agree => {}
                Verdict::Disagree => return Err(Refusal::ClocksDisagree),
                Verdict::Unread if intent.precondition.is_some() => return Err(Refusal::CacheAway),
                Verdict::Unread => return Ok(Stored::Untaken(Untaken::Unsent)),
            }
            if Instant::now() >= deadline {
                return Err(Refusal::Busy);
            }
            let write = intent.to_write(clock::now_micros(), nowhere.take());
            let read = Instant::now();
            let answer = self.queue.write(write).await;
            self.metrics.store.observe(read.elapsed().as_secs_f64());
            match answer {
                Ok(Written::New(version)) => {
                    self.metrics.lead(version, clock::now_micros());
                    return Ok(Stored::New(version));
                }
                Ok(Written::Repeated { version, state, content }) => {
                    return Ok(Stored::Repeated { version, state, content });
                }
                Ok(Written::Conflict(Some((version, state)))) if intent.precondition == Some(Precondition::Unused) => {
                    return Ok(Stored::Repeated { version, state, content: None });
                }
                Ok(Written::Conflict(current)) => {
                    return Err(Refusal::PreconditionFailed(current.map(|(version, _)| version)));
                }
                Ok(Written::Mismatch) => return Err(Refusal::KeyReused),
                Ok(Written::Incomplete) => return Err(Refusal::Incomplete),
                Ok(Written::Absent) => {
                    // Every reader takes the lease over: many who want the same would keep each other from it for ever.
                    match &mut contended {
                        None => contended = Some(Backoff::new(Duration::from_millis(4), Duration::from_millis(200))),
                        Some(backoff) => tokio::time::sleep(backoff.next(rand::random())).await,
                    }
                    nowhere = self.bring(intent).await?;
                }
                Ok(Written::Late) => {}
                Ok(Written::StaleEpoch) if !met_again => met_again = true,
                Ok(Written::StaleEpoch) => return Err(Refusal::CacheAway),
                Ok(Written::Skew) => return Err(Refusal::ClocksDisagree),
                Ok(Written::Full) => return Err(Refusal::Full),
                Err(error) => {
                    return past_redis(&error, intent.kind(), read, self.redis_timeout).map(Stored::Untaken);
                }
            }
        }
    }

    /// R12, for a precondition: the row into the cache; or the lease under which there is none, with which the script
    /// believes that the record is nowhere for as long as no write and no settle has taken it away.
    async fn bring(&self, intent: &Intent) -> Result<Option<Lease>, Refusal> {
        match read::bring(&self.cache, &intent.table, &intent.id).await {
            Ok(Brought::Here(_)) => Ok(None),
            Ok(Brought::Nowhere(lease)) => Ok(lease),
            Err(error) => {
                tracing::debug!(%error, "a precondition's row");
                Err(Refusal::RowUnknown)
            }
        }
    }

    /// R6, after the script.
    async fn log(&self, intent: Intent, version: Version, deadline: Instant) -> State {
        match self.publish(intent, version, deadline, true).await {
            Fate::Acknowledged => State::Logged,
            Fate::Unacknowledged | Fate::Unsent => State::Cached,
        }
    }

    /// R7: the first handler may have died before it published, and of what was overwritten since the relay sends nothing.
    async fn repeat(
        &self,
        mut intent: Intent,
        version: Version,
        state: State,
        content: Option<Content>,
        deadline: Instant,
    ) -> State {
        self.metrics.replays.with_label_values(&[intent.entity().name()]).inc();
        let Some(change) = content.and_then(|content| read::change(intent.entity(), content)) else { return state };
        intent.wish.change = change;
        self.log(intent, version, deadline).await
    }

    /// R8: the topic alone. What may have happened in Redis can no longer happen when the version is taken, and an answer
    /// comes only when every clock has passed it (R4).
    async fn bypass(&self, intent: Intent, untaken: Untaken, deadline: Instant) -> Result<Accepted, Refusal> {
        if let Untaken::Unanswered { until } = untaken {
            sleep_until(until).await;
        }
        let refused = |refusal| match untaken {
            Untaken::Unsent => refusal,
            Untaken::Unanswered { .. } => Refusal::OutcomeUnknown(None),
        };
        let entity = Arc::clone(intent.entity());
        let Issued { version, answer_from } = self.away.issue(&self.queue).await.map_err(refused)?;
        match self.publish(intent, version, deadline, false).await {
            Fate::Acknowledged => {
                self.metrics.past_cache.with_label_values(&[entity.name()]).inc();
                sleep_until(answer_from).await;
                Ok(Accepted { version, state: State::Logged, how: How::Past })
            }
            Fate::Unacknowledged => Err(Refusal::OutcomeUnknown(Some(version))),
            Fate::Unsent => Err(refused(Refusal::StoresAway)),
        }
    }

    /// R6: a late acknowledgement is taken in all the same. `stored`: the record is in the cache, which wants to know.
    async fn publish(&self, intent: Intent, version: Version, deadline: Instant, stored: bool) -> Fate {
        // A handler past its deadline produces no more: the relay does.
        if !self.kafka.is_up() || Instant::now() >= deadline {
            return Fate::Unsent;
        }
        let entity = Arc::clone(intent.entity());
        let topic = self.kafka_settings.topic(entity.name());
        let (acknowledge, acknowledged) = oneshot::channel();
        let Intent { id, wish, trace, idempotency, prefers, .. } = intent;
        let event = Event { id, version, origin: Origin::Write, change: wish.change };
        let tell = stored.then(|| self.tell_cache(&entity, &event, idempotency));
        let outgoing = Outgoing { topic: &topic, event: &event, trace: trace.as_deref() };
        let (begun, seconds) = (Instant::now(), self.metrics.acknowledge.clone());
        let sent = self.publisher.send(outgoing, move |delivered| {
            if let Ok(published) = &delivered {
                seconds.observe(begun.elapsed().as_secs_f64());
                if let Some(tell) = tell {
                    tell(*published);
                }
            }
            drop(acknowledge.send(delivered));
        });
        match sent {
            Ok(()) if stored && prefers == Some(State::Cached) => Fate::Unacknowledged,
            Ok(()) => match timeout_at(deadline, acknowledged).await {
                Ok(Ok(Ok(_))) => Fate::Acknowledged,
                _ => Fate::Unacknowledged,
            },
            Err(TopicError::QueueFull | TopicError::Unchecked | TopicError::Fatal(_)) => Fate::Unsent,
            Err(error) => {
                tracing::error!(%error, topic, "an event was refused");
                Fate::Unsent
            }
        }
    }

    /// The cache learns of the acknowledgement off the answer's path, also when nobody waits for it any more. Where it
    /// does not, the relay sends a harmless duplicate.
    fn tell_cache(
        &self,
        entity: &Entity,
        event: &Event<'_>,
        idempotency: Option<Idempotency>,
    ) -> impl FnOnce(Published) + Send + Sync + use<> {
        let (queue, dropped) = (self.acknowledged.clone(), self.metrics.acknowledgements_dropped.clone());
        let (entity, id, version) = (entity.name().to_owned(), event.id.clone(), event.version);
        let key = idempotency.map(|idempotency| idempotency.key);
        move |Published { partition, offset }| {
            let logged = Logged { entity, id, version, partition, offset, at: clock::now_micros(), key };
            if queue.try_send(logged).is_err() {
                dropped.inc();
            }
        }
    }
}

impl Intent {
    pub(crate) fn entity(&self) -> &Arc<Entity> {
        self.table.entity()
    }

    fn kind(&self) -> Kind {
        match (&self.precondition, &self.idempotency) {
            (Some(_), _) => Kind::Conditional,
            (None, Some(_)) => Kind::Keyed,
            (None, None) => Kind::Plain,
        }
    }

    fn to_write(&self, mine: u64, nowhere: Option<Lease>) -> Write {
        Write {
            entity: self.entity().name().to_owned(),
            id: self.id.clone(),
            content: self.wish.content.clone(),
            trace: self.trace.clone(),
            mine,
            precondition: self.precondition,
            nowhere,
            idempotency: self.idempotency.clone(),
        }
    }
}
