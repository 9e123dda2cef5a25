//! THE write path: a record on its way into the cache and the topic, as PROTOCOL R1, R2, R5 to R9 have it.
//!
//! One script gives the version and makes the record durable in Redis together with its outbox entry; then the event is
//! published; the answer says what it rests on. After the script there is no plain refusal any more: the record is in
//! the cache and will reach the topic, by this handler or by the relay. Where Redis is away the topic alone takes the write.

use std::sync::Arc;
use std::time::Duration;

use cache::{Cache, CacheError, Content, Logged, Precondition, State, WriteQueue, Written};
use record::Version;
use service::{Backoff, Dependency, clock};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};
use topic::{KafkaSettings, Publisher};

use crate::away::{Away, Issued, Kind, Untaken, past_redis};
use crate::clock::{ClockWatch, Verdict};
use crate::intent::{Accepted, How, Intent, Refusal};
use crate::metrics::IngestMetrics;
use crate::publish::Fate;
use crate::read::{self, Brought};

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
    Found { version: Version, state: State },
    Overtaken(Version),
    Untaken(Untaken),
}

impl WritePath {
    /// # Cancellation
    /// Once the script has run the record is in the outbox, and the relay publishes what this handler does not.
    pub(crate) async fn write(&self, intent: Intent) -> Result<Accepted, Refusal> {
        self.write_until(intent, Instant::now() + self.answer_deadline).await
    }

    /// The same, for one of several tries (R9).
    pub(crate) async fn write_until(&self, mut intent: Intent, deadline: Instant) -> Result<Accepted, Refusal> {
        let insists = intent.prefers == Some(State::Logged);
        if insists && !self.kafka.is_up() {
            return Err(Refusal::TopicAway);
        }
        let stored = self.store(&intent, deadline).await?;
        intent.turn = None;
        let accepted = match stored {
            Stored::New(version) => {
                let state = self.log(intent, version, deadline).await;
                Accepted { version, state, how: How::New }
            }
            Stored::Repeated { version, state, content } => {
                let state = self.repeat(intent, version, state, content, deadline).await;
                Accepted { version, state, how: How::Replayed }
            }
            Stored::Found { version, state } => Accepted { version, state, how: How::Found },
            Stored::Overtaken(version) => {
                let state = self.overtaken(intent, version, deadline).await?;
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
                Verdict::Unread if self.knows_keys(intent, deadline).await? => continue,
                Verdict::Unread => return Ok(Stored::Untaken(Untaken::Undone)),
            }
            if Instant::now() >= deadline {
                return Err(Refusal::Busy);
            }
            let write = intent.to_write(clock::now_micros(), nowhere.take());
            let read = Instant::now();
            let answer = self.queue.write(write).await;
            self.metrics.store.observe(read.elapsed().as_secs_f64());
            match answer {
                Ok(Written::Absent) => {
                    // A lease may end, or a write come, at any moment between the two.
                    match &mut contended {
                        None => contended = Some(Backoff::new(Duration::from_millis(4), Duration::from_millis(200))),
                        Some(backoff) => tokio::time::sleep(backoff.next(rand::random())).await,
                    }
                    nowhere = match self.bring(&intent.table, &intent.id).await? {
                        Brought::Nowhere(lease) => lease,
                        Brought::Here(_) | Brought::Unleased(_) => None,
                    };
                }
                Ok(Written::Late) => {}
                Ok(Written::StaleEpoch) if !met_again => met_again = true,
                Err(CacheError::Away) if self.knows_keys(intent, deadline).await? => {}
                Ok(written) => {
                    return stored(written, intent.precondition).inspect(|stored| {
                        if let Stored::New(version) = stored {
                            self.metrics.lead(*version, clock::now_micros());
                        }
                    });
                }
                Err(error) => {
                    return past_redis(&error, intent.kind(), read, self.redis_timeout).map(Stored::Untaken);
                }
            }
        }
    }

    /// R8, `k36`: a key goes unchecked only where Redis is known to be away, not while a connection that broke is made anew, on which
    /// it may have come. Whether this intent has one, and Redis is there by now.
    async fn knows_keys(&self, intent: &Intent, deadline: Instant) -> Result<bool, Refusal> {
        match intent.kind() {
            Kind::Keyed => timeout_at(deadline, self.cache.is_there()).await.map_err(|_| Refusal::CacheAway),
            Kind::Plain | Kind::Conditional => Ok(false),
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

    /// R7, where the record has moved on: what is newer stands for this write only once it is persisted, since the table may refuse
    /// it (`k50`). So its own event counts, and without its acknowledgement nothing can be said: no relay sends it any more.
    async fn overtaken(&self, mut intent: Intent, version: Version, deadline: Instant) -> Result<State, Refusal> {
        self.metrics.replays.with_label_values(&[intent.entity().name()]).inc();
        if intent.merged {
            // R9: merged now it would be another content. The row may say what the cache cannot.
            let held = intent.table.held(std::slice::from_ref(&intent.id)).await.unwrap_or_default();
            let persisted = held.first().is_some_and(|held| *held >= version);
            return if persisted { Ok(State::Persisted) } else { Err(Refusal::OutcomeUnknown(Some(version))) };
        }
        // Nothing is cached that could be answered without waiting.
        intent.prefers = None;
        match self.log(intent, version, deadline).await {
            State::Cached => Err(Refusal::OutcomeUnknown(Some(version))),
            state => Ok(state),
        }
    }

    /// R8: the topic alone. What may have happened in Redis can no longer happen when the version is taken, and an answer
    /// comes only when every clock has passed it (R4).
    async fn bypass(&self, intent: Intent, untaken: Untaken, deadline: Instant) -> Result<Accepted, Refusal> {
        if let Untaken::Unanswered { until } = untaken {
            sleep_until(until).await;
        }
        let refused = |refusal| match untaken {
            Untaken::Undone => refusal,
            Untaken::Unanswered { .. } => Refusal::OutcomeUnknown(None),
        };
        let (entity, keyed) = (Arc::clone(intent.entity()), intent.idempotency.is_some());
        let of = (entity.name(), &intent.id);
        let Issued { version, answer_from } = self.away.issue(of, &self.queue, deadline).await.map_err(refused)?;
        match self.publish(intent, version, deadline, false).await {
            Fate::Acknowledged => {
                self.metrics.past_cache.with_label_values(&[entity.name()]).inc();
                sleep_until(answer_from).await;
                Ok(Accepted { version, state: State::Logged, how: How::Past })
            }
            Fate::Unacknowledged if keyed => Err(Refusal::KeyNotKept(version)),
            Fate::Unacknowledged => Err(Refusal::OutcomeUnknown(Some(version))),
            Fate::Unsent => Err(refused(Refusal::StoresAway)),
        }
    }
}

/// What the script's last word means for whoever asked.
fn stored(written: Written, precondition: Option<Precondition>) -> Result<Stored, Refusal> {
    match written {
        Written::New(version) => Ok(Stored::New(version)),
        Written::Repeated { version, state, content } => Ok(Stored::Repeated { version, state, content }),
        Written::Conflict(Some((version, state))) if precondition == Some(Precondition::Unused) => {
            Ok(Stored::Found { version, state })
        }
        Written::Conflict(current) => Err(Refusal::PreconditionFailed(current.map(|(version, _)| version))),
        Written::Overtaken(version) => Ok(Stored::Overtaken(version)),
        Written::Mismatch => Err(Refusal::KeyReused),
        Written::Incomplete => Err(Refusal::Incomplete),
        Written::Absent => Err(Refusal::RowUnknown),
        Written::Quiet => Err(Refusal::Quiet),
        Written::Skew => Err(Refusal::ClocksDisagree),
        Written::Full => Err(Refusal::Full),
        Written::Late => Err(Refusal::Busy),
        Written::StaleEpoch => Err(Refusal::CacheAway),
    }
}
