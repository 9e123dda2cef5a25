//! Everything that speaks Redis: the newest version of each record, the outbox of what the topic has not acknowledged,
//! and the unsettled that MySQL does not hold yet.
//!
//! One Lua script per rule of `docs/PROTOCOL.md` stands in `scripts/`; [`Cache`] has a method for each, with typed
//! answers. What must not happen here: a decision about what an answer means for a client (that is `ingest`'s), or a
//! second way to reach Redis around [`connect`].

pub mod answers;
mod cache;
mod call;
pub mod connect;
pub mod failure;
pub mod inspect;
mod keys;
mod life;
mod newest;
mod repair;
mod reply;
mod scripts;
pub mod settings;
mod writer;

pub use answers::{
    Cached, Content, Dead, Depths, Doubt, Entry, Idempotency, Lease, Logged, Looked, PendingEntry, PendingPage,
    Precondition, Settled, State, UnsettledEntry, UnsettledPage, Write, Written,
};
pub use cache::Cache;
pub use connect::{ConnectError, Connector, Reading};
pub use failure::CacheError;
pub use inspect::{Found, FoundRecord, Heads, Inspector, Scan};
pub use keys::{SHARDS, Shard};
pub use newest::{HeldVersion, Newest, Place};
pub use settings::{RedisAccess, RedisSettings};
pub use writer::{WriteQueue, Writer};
