//! A member of the persister's group and its batch.
use crate::world::HOLE;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MPh {
    Idle,
    Polled,
    Applied,
    /// One of {settle, commit} done, the other to come.
    Half,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Member {
    pub ph: MPh,
    pub upto: u8,
    pub of: [Part; 2],
    /// Bit i: the batch holds an event of write i that the table refuses.
    pub poison: u8,
    /// The dead letters are acknowledged.
    pub lettered: bool,
    /// The epoch was raised after the row was read.
    pub old: bool,
}
pub const IDLE: Member = Member { ph: MPh::Idle, upto: 0, of: [NOTHING; 2], poison: 0, lettered: false, old: false };

impl Member {
    /// The batch is applied in more than one transaction.
    pub fn bisected(&self) -> bool {
        self.poison != 0 && self.of.iter().all(|part| part.tail_op != HOLE)
    }
}

/// What a batch holds of one key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Part {
    pub ver: u8,
    pub op: u8,
    pub off: u8,
    /// Version and offset of the last event of the batch: what compaction will keep.
    pub tail: u8,
    pub tail_off: u8,
    pub tail_op: u8,
    /// Versions of the events that the table refuses (two at most: a write has no more).
    pub dead: [u8; 2],
    /// Its half of a bisected batch is done.
    pub applied: bool,
    pub reassert: bool,
    /// The version the table held after the batch.
    pub held: u8,
}
pub const NOTHING: Part = Part {
    ver: 0,
    op: HOLE,
    off: 0,
    tail: 0,
    tail_off: 0,
    tail_op: HOLE,
    dead: [0; 2],
    applied: false,
    reassert: false,
    held: 0,
};
