//! What one source has of a record, small enough to be held for many: version and digest. Pure.

use cache::State;
use record::{Entity, Record, Version};
use sha2::{Digest, Sha256};

/// What a record is, as far as a comparison needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Deleted,
    /// Of the record in its entity's newest shape: equal records have equal ones, whatever schema they were written with.
    Digest([u8; DIGEST]),
    /// Something that is no record of the entity.
    Unreadable,
}

pub(crate) const DIGEST: usize = 16;

/// One version as one source has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) version: Version,
    pub(crate) content: Content,
}

/// What the topic has of a record: its newest event, and whether that is its last one, which alone compaction keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InTopic {
    pub(crate) seen: Seen,
    /// The last event is older than that.
    pub(crate) tail_behind: bool,
}

/// What the cache has of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InCache {
    Record {
        seen: Seen,
        state: State,
        in_outbox: bool,
        in_unsettled: bool,
    },
    /// A member of outbox or unsettled without a record behind it.
    Orphan,
}

impl Content {
    pub(crate) fn of(entity: &Entity, record: Option<&Record<'_>>) -> Self {
        let Some(record) = record else { return Self::Deleted };
        let mut datum = Vec::new();
        entity.write_avro(record, &mut datum);
        let mut digest = [0; DIGEST];
        for (to, from) in digest.iter_mut().zip(Sha256::digest(&datum)) {
            *to = from;
        }
        Self::Digest(digest)
    }

    /// Are both the same record? What cannot be read is the same as nothing.
    pub(crate) fn agrees(self, other: Self) -> bool {
        self == other && self != Self::Unreadable
    }
}

impl Seen {
    /// The newer of two; of two events of one version the earlier, as the table keeps it.
    pub(crate) fn newest(known: Option<Self>, next: Self) -> Self {
        known.filter(|known| known.version >= next.version).unwrap_or(next)
    }
}

impl InTopic {
    /// The first event.
    pub(crate) fn of(seen: Seen) -> Self {
        Self { seen, tail_behind: false }
    }

    /// Some events and others behind them.
    pub(crate) fn then(self, next: Self) -> Self {
        let seen = Seen::newest(Some(self.seen), next.seen);
        Self { seen, tail_behind: next.tail_behind || next.seen.version < seen.version }
    }

    /// Some events, where there were any, and others behind them.
    pub(crate) fn joined(known: Option<Self>, next: Self) -> Self {
        known.map_or(next, |known| known.then(next))
    }
}

impl std::fmt::Display for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Deleted => f.write_str("deleted"),
            Self::Unreadable => f.write_str("unreadable"),
            Self::Digest(digest) => digest.iter().take(6).try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}
