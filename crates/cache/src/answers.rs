//! What goes into the scripts and what comes back, as types: a closed set, so that a caller must meet every answer.

use std::collections::BTreeMap;

use record::{RecordId, SchemaId, Version};
use service::FailureClass;

use crate::keys::Shard;

/// How far a record's newest version has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// In Redis alone.
    Cached,
    /// The topic has acknowledged it.
    Logged,
    /// MySQL has committed it.
    Persisted,
}

impl State {
    /// The word in answers, labels and Redis.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Logged => "logged",
            Self::Persisted => "persisted",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Cached, Self::Logged, Self::Persisted].into_iter().find(|state| state.as_str() == text)
    }
}

/// What a record is: its plain JSON under a schema, or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The fields as one JSON object, normalised, without the id.
    Json {
        /// The object's text.
        text: String,
        /// The schema it was checked against.
        schema: SchemaId,
    },
    /// Deleted.
    Tombstone,
}

/// One write on its way into the cache.
#[derive(Clone, Debug)]
pub struct Write {
    /// The entity's name.
    pub entity: String,
    /// The record's id.
    pub id: RecordId,
    /// What it becomes.
    pub content: Content,
    /// The caller's `traceparent`, handed on to the topic.
    pub trace: Option<String>,
    /// The process' clock when its handler read it, in microseconds (`mine` in R1 and R2).
    pub mine: u64,
    /// What must be true of the record, else nothing is written.
    pub precondition: Option<Precondition>,
    /// The lease under which MySQL was found to have no row: while it stands, a record that is absent here is nowhere.
    pub nowhere: Option<Lease>,
    /// The caller's idempotency key.
    pub idempotency: Option<Idempotency>,
}

impl Write {
    /// What it adds to a call, in bytes; the names of its keys are not counted.
    pub(crate) fn bytes(&self) -> usize {
        let content = match &self.content {
            Content::Json { text, .. } => text.len(),
            Content::Tombstone => 0,
        };
        content + self.trace.as_ref().map_or(0, String::len)
    }
}

/// What must be true of a record before it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// It is there and has this version.
    Match(Version),
    /// It is not there, or deleted.
    NoneMatch,
    /// Nothing was ever there that is still known of, not even a deleted record.
    Unused,
    /// Its idempotency key is known, so that there is an answer already: with it nothing is ever written.
    Known,
}

/// An idempotency key and the request that it came with, both as hashes in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// Of caller and key.
    pub key: String,
    /// Of everything that makes two requests the same.
    pub fingerprint: String,
}

/// The write script's answer (PROTOCOL R5): the whole closed set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// In the cache and in the outbox at this version.
    New(Version),
    /// The idempotency key is known with the same request: this version was issued then.
    Repeated {
        /// The version of the first request.
        version: Version,
        /// How far that version has come, or that a newer one is persisted.
        state: State,
        /// What the record is, where it still has that version and the topic may lack it.
        content: Option<Content>,
    },
    /// The same, and the record has another version by now, or is gone: nobody else will bring this one to the topic, and nothing
    /// says that the topic has it.
    Overtaken(Version),
    /// The idempotency key is known with another request.
    Mismatch,
    /// The precondition is not met; the current version, and how far it has come, unless there is no record.
    Conflict(Option<(Version, State)>),
    /// The precondition needs a record that is not in the cache.
    Absent,
    /// Preconditions cannot be decided until the cache is complete again.
    Incomplete,
    /// The outbox, the unsettled or Redis itself has no room.
    Full,
    /// Redis has changed less than T ago: nobody issues a version yet.
    Quiet,
    /// The process' clock is ahead of Redis'.
    Skew,
    /// The request was under way too long; with a fresh clock reading it may be sent again.
    Late,
    /// Redis is not the one that the process met last.
    StaleEpoch,
}

/// An acknowledgement of the topic on its way into the cache.
#[derive(Clone, Debug)]
pub struct Logged {
    /// The entity's name.
    pub entity: String,
    /// The record's id.
    pub id: RecordId,
    /// The version that was acknowledged.
    pub version: Version,
    /// Where it stands in the topic.
    pub partition: i32,
    /// Where it stands in the partition.
    pub offset: i64,
    /// When, in microseconds.
    pub at: u64,
    /// The key of the [`Idempotency`] that it was written with; whoever does not know leaves it out.
    pub key: Option<String>,
}

/// What MySQL holds of a record, as read back, on its way into the cache (PROTOCOL R14).
#[derive(Clone, Debug)]
pub struct Settled {
    /// The entity's name.
    pub entity: String,
    /// The record's id.
    pub id: RecordId,
    /// h: the version that the row has.
    pub held: Version,
    /// e: the epoch that was known before the row was read.
    pub epoch: u64,
}

/// A version that will never be in MySQL, on its way out of the cache (PROTOCOL R14).
#[derive(Clone, Debug)]
pub struct Dead {
    /// The entity's name.
    pub entity: String,
    /// The record's id.
    pub id: RecordId,
    /// The version that is a dead letter.
    pub version: Version,
    /// It is the version that is awaited ([`UnsettledEntry::state`]), and nobody will bring it any more.
    pub in_vain: bool,
}

/// A record as the cache has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cached {
    /// Its newest version.
    pub version: Version,
    /// How far that version has come.
    pub state: State,
    /// What it is.
    pub content: Content,
}

/// A lookup's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// Here it is.
    Hit(Cached),
    /// Not here: read the row, and with a lease fill it in. Without one the cache is in doubt itself: a newer version than
    /// the row's may be on its way to the table.
    Miss(Option<Lease>),
    /// Not here, and Redis refuses to keep a lease: what kind of refusal that is.
    Unleased(FailureClass),
}

/// A reader's permission to fill one record, until a write or a settle takes it away; with the epoch that it was given in.
/// Readers at the same time have one together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease(pub(crate) String);

/// A row on its way into the cache, under a lease.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The entity's name.
    pub entity: String,
    /// The record's id.
    pub id: RecordId,
    /// The row's version.
    pub version: Version,
    /// The row's content.
    pub content: Content,
}

/// Some outbox entries of one shard, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PendingPage {
    /// Those that could be read.
    pub entries: Vec<PendingEntry>,
    /// Where the next page begins; `None` when this one found nothing at all.
    pub behind: Option<u64>,
}

/// An outbox entry and the record behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingEntry {
    /// The entity's name.
    pub entity: String,
    /// The record's id.
    pub id: RecordId,
    /// Its newest version.
    pub version: Version,
    /// What it is.
    pub content: Content,
    /// The `traceparent` of the request that wrote it.
    pub trace: Option<String>,
}

/// Some unsettled entries of one shard, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnsettledPage {
    /// Those that could be read.
    pub entries: Vec<UnsettledEntry>,
    /// Where the next page begins; `None` when this one found nothing at all.
    pub behind: Option<u64>,
}

/// An unsettled entry and how far the record behind it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsettledEntry {
    /// The entity's name.
    pub entity: String,
    /// The record's id.
    pub id: RecordId,
    /// Its newest version.
    pub version: Version,
    /// How far that version has come. `None`: what overwrote it was a dead letter, and nothing is left of the record but that the
    /// table may still get this version; since `logged_at`.
    pub state: Option<State>,
    /// The partition that its event stands in.
    pub partition: i32,
    /// When the topic acknowledged it, in microseconds; 0 if that is not known.
    pub logged_at: u64,
}

/// R16: a shard that is incomplete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// Which.
    pub shard: Shard,
    /// The epoch that set it, and when: another where it was set again.
    pub since: String,
    /// The highest version that the shard has issued until now.
    pub last: u64,
}

/// How much waits in outbox and unsettled, and since when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Depths {
    /// Entries of the outbox.
    pub outbox: u64,
    /// The oldest version among the heads of the shards, by entity. The oldest of all is always among them.
    pub outbox_oldest: BTreeMap<String, Version>,
    /// Entries of the unsettled.
    pub unsettled: u64,
    /// The oldest version in it.
    pub unsettled_oldest: Option<Version>,
}
