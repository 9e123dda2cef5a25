//! What clients asked for and what they were told: the judge's notion of truth.
//!
//! Every request has its begin and its end on one monotonic clock. A lost answer is *indeterminate*: the write may have
//! happened, now or later. Every put has content of its own, so that a row tells whose it is.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Microseconds since the round began, on the monotonic clock.
pub type Micros = u64;

/// The fields of a user, as a client sent them or as a store holds them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Content {
    /// Unique in a round.
    pub name: String,
    /// Of the person.
    pub age: i64,
    /// Filler of some length.
    pub occupation: Option<String>,
}

/// Names of more characters are refused by the table, though not by ingest.
pub const NAME_MOST: usize = 60;

impl Content {
    /// The table will never take it.
    #[must_use]
    pub fn is_poison(&self) -> bool {
        self.name.len() > NAME_MOST
    }
}

/// What a write is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Put this content.
    Put(Content),
    /// Delete.
    Delete,
}

impl Op {
    /// The table will never take it.
    #[must_use]
    pub fn is_poison(&self) -> bool {
        matches!(self, Self::Put(content) if content.is_poison())
    }
}

/// Whether ingest issued this version without Redis: those have a slot in their low bits (R4).
#[must_use]
pub fn is_past_redis(version: u64) -> bool {
    !version.is_multiple_of(16)
}

/// What an answer rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Redis alone.
    Cached,
    /// The topic has acknowledged it.
    Logged,
    /// The table has it.
    Persisted,
}

/// One acknowledgement of a write; a retried write may have several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// The version it was given.
    pub version: u64,
    /// What that rests on.
    pub state: State,
    /// That its Idempotency-Key was looked up, if it had one.
    pub checked: bool,
    /// When the answer was there.
    pub at: Micros,
}

/// One write of a client, with all of its tries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The record.
    pub id: String,
    /// What was to be done.
    pub op: Op,
    /// If-Match: the version on which it was made to depend.
    pub depends_on: Option<u64>,
    /// Whether it carried an Idempotency-Key.
    pub keyed: bool,
    /// When its first try was sent.
    pub begun: Micros,
    /// When its last try had ended.
    pub ended: Micros,
    /// The acknowledgements of its tries, in their order.
    pub acknowledged: Vec<Acknowledged>,
    /// A try had no answer, or one that says that the outcome is unknown.
    pub indeterminate: bool,
}

impl Written {
    /// The highest version that it was acknowledged with.
    #[must_use]
    pub fn version(&self) -> Option<u64> {
        self.acknowledged.iter().map(|acknowledged| acknowledged.version).max()
    }

    /// Whether a store may have it at this version. A try without an answer may have been given any; and where only the
    /// answer of its script was lost, the content has the script's version as well as one that was issued without Redis (R8).
    #[must_use]
    pub fn may_have(&self, version: u64) -> bool {
        let is_its = |own: u64| own == version || (is_past_redis(own) && !is_past_redis(version) && version < own);
        self.indeterminate || self.acknowledged.iter().any(|told| is_its(told.version))
    }

    /// It was refused, every time: it must never be seen.
    #[must_use]
    pub fn was_refused(&self) -> bool {
        self.acknowledged.is_empty() && !self.indeterminate
    }
}

/// One read of a client that got an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The record.
    pub id: String,
    /// When the request was sent.
    pub begun: Micros,
    /// When the answer was there.
    pub ended: Micros,
    /// The answer says that the cache was not asked.
    pub unchecked: bool,
    /// It was to be no older than this.
    pub least: Option<u64>,
    /// Version and content; `None`: there is no such record.
    pub found: Option<(u64, Content)>,
}

/// All of a round.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// By the end of their last try.
    pub writes: Vec<Written>,
    /// By their end.
    pub reads: Vec<Seen>,
}

/// Where clients note it down.
#[derive(Debug)]
pub struct Journal {
    since: Instant,
    since_wall: u64,
    told: Mutex<Told>,
}

impl Default for Journal {
    fn default() -> Self {
        Self { since: Instant::now(), since_wall: service::clock::now_micros(), told: Mutex::default() }
    }
}

impl Journal {
    /// The clock of everything that is noted in a round.
    #[must_use]
    pub fn now(&self) -> Micros {
        u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// What this clock showed at a time of the wall clock, in microseconds since 1970, such as a log has.
    #[must_use]
    pub fn at(&self, wall: u64) -> Micros {
        wall.saturating_sub(self.since_wall)
    }

    /// Notes a write.
    pub fn wrote(&self, written: Written) {
        self.told().writes.push(written);
    }

    /// Notes a read.
    pub fn saw(&self, seen: Seen) {
        self.told().reads.push(seen);
    }

    /// What was noted so far.
    #[must_use]
    pub fn so_far(&self) -> Told {
        self.told().clone()
    }

    /// Writes acknowledged so far, refused, and of unknown outcome.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let told = self.told();
        let of = |wanted: &dyn Fn(&Written) -> bool| told.writes.iter().filter(|write| wanted(write)).count() as u64;
        Counts {
            acknowledged: of(&|write| !write.acknowledged.is_empty()),
            refused: of(&Written::was_refused),
            indeterminate: of(&|write| write.acknowledged.is_empty() && write.indeterminate),
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the writes of a round ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Acknowledged at least once.
    pub acknowledged: u64,
    /// Refused every time.
    pub refused: u64,
    /// Nobody knows.
    pub indeterminate: u64,
}
