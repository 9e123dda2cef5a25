//! What a client wants, what it is told, and what the write path asks of the cache for it.

use std::sync::Arc;

use cache::{Content, Idempotency, Lease, Precondition, State, Write};
use record::{Change, Entity, RecordId, Version};
use table::EntityTable;

use crate::away::Kind;
use crate::turns::Turn;

/// What a client wants to be true.
#[derive(Debug)]
pub(crate) struct Intent {
    pub(crate) table: EntityTable,
    pub(crate) id: RecordId,
    pub(crate) wish: Wish,
    pub(crate) trace: Option<String>,
    pub(crate) precondition: Option<Precondition>,
    pub(crate) idempotency: Option<Idempotency>,
    /// Its content was made of what the record was (R9): the same request would make another of it now.
    pub(crate) merged: bool,
    /// Kept until the script has run.
    pub(crate) turn: Option<Turn>,
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
    /// A record is there whose id was made of the same key (R5), and the key itself is forgotten: it may be another's by now.
    Found,
    /// Past the cache (R8): a key was not looked up.
    Past,
}

/// Why a write was not accepted. Nothing happened, except perhaps after the last two.
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
    /// The same, past the cache, and with a key that nobody will know again.
    KeyNotKept(Version),
}

impl Intent {
    pub(crate) fn entity(&self) -> &Arc<Entity> {
        self.table.entity()
    }

    pub(crate) fn kind(&self) -> Kind {
        match (&self.precondition, &self.idempotency) {
            (Some(_), _) => Kind::Conditional,
            (None, Some(_)) => Kind::Keyed,
            (None, None) => Kind::Plain,
        }
    }

    pub(crate) fn to_write(&self, mine: u64, nowhere: Option<Lease>) -> Write {
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
