//! One write: what it is, and where it stands.

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    Put,
    Del,
    /// Put with If-Match on the version that the client saw when it started.
    Cond,
    /// A retry of write 0 with the same Idempotency-Key.
    Retry0,
    /// A put that the table refuses for good.
    Poison,
    /// A put that Kafka never takes: larger than a topic that is as it must be.
    Large,
    /// Write 0's content again, once write 0 is a dead letter and what refused it is mended.
    Redrive0,
    /// A put of another key in the same partition, from its version on: its cache side is left out.
    Other,
    /// The same, and the table refuses it.
    OtherPoison,
}

/// Where one request stands. Each write is its own process for crashes; clocks are shared by `op % 2`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ph {
    New,
    Started,
    /// Its script is on its way (only where real time is modelled).
    Sent,
    /// It will not get the script's reply; whether the script ran it does not know.
    Unanswered,
    /// The Redis script ran: record, idempotency key and outbox entry exist.
    Scripted,
    /// Redis was away: a version (or none yet, in the offset scheme) and no outbox entry.
    Versioned,
    /// In the topic, the handler has the ack.
    Appended,
    /// In the topic, the handler does not know (timeout).
    Unsure,
    /// Outbox entry removed, or (log-first) the cache updated.
    Removed,
    Done,
    Dead,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Op {
    pub ph: Ph,
    pub ver: u8,
    /// 0 none, 1 `cached`, 2 `logged`.
    pub ack: u8,
    /// The newest version acknowledged before this write started.
    pub floor: u8,
    /// If-Match.
    pub expect: u8,
    /// The write whose event this request carries (itself, or write 0 after an idempotency hit).
    pub event: u8,
    /// The version that its script gave without its knowledge; 0 = none.
    pub stray: u8,
    /// Its script can still run.
    pub under_way: bool,
    /// The process' clock as its script carries it.
    pub mine: u8,
    /// Real time when it was sent, or when a version was taken without Redis.
    pub at: u8,
    /// Bit i: write i was acknowledged before this one started (only where a script's reply can be lost).
    pub after: u8,
}

impl Op {
    /// Of its own version and the one that a script gave without its knowledge.
    pub fn newest(&self) -> u8 {
        self.ver.max(self.stray)
    }
}
