//! Everything that the judge is given: what clients were told, what stands in the stores afterwards, what was sampled
//! meanwhile, and which promises the faults took back. Data only.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::journal::{Content, Micros, State, Told};

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its version.
    pub version: u64,
    /// `None`: a tombstone.
    pub content: Option<Content>,
}

/// An event of the topic, as a stranger reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its key.
    pub id: String,
    /// Its version header; `None`: it has none that is a number.
    pub version: Option<u64>,
    /// It is one of those that the campaign itself put there, which nobody can read.
    pub foreign: bool,
}

impl Event {
    /// Its coordinates.
    #[must_use]
    pub fn place(&self) -> (i32, i64) {
        (self.partition, self.offset)
    }
}

/// A record in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: u64,
    /// `None`: a tombstone.
    pub content: Option<Content>,
    /// What the cache believes of it.
    pub state: State,
    /// It was settled in another life of Redis: by R15 it counts as absent.
    pub in_doubt: bool,
}

/// A look at offsets and table in the middle of a round. The offsets were read first.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// When the offsets had been read.
    pub at: Micros,
    /// What the group had committed, by partition: the next offset to read.
    pub committed: HashMap<i32, i64>,
    /// The versions of the rows.
    pub table: HashMap<String, u64>,
}

/// Redis forgot something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// It forgot no earlier than this.
    pub from: Micros,
    /// And no later.
    pub at: Micros,
    /// Only what was younger than this then; `None`: everything.
    pub tail: Option<Duration>,
}

impl Loss {
    /// Whether something may have been forgotten that came into Redis between these times.
    #[must_use]
    pub fn covers(&self, begun: Micros, known: Micros) -> bool {
        let tail = self.tail.map_or(Micros::MAX, |tail| u64::try_from(tail.as_micros()).unwrap_or(Micros::MAX));
        begun <= self.at && known >= self.from.saturating_sub(tail)
    }
}

/// How the round ended after the last fault was healed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drain {
    /// Everything had arrived after this time.
    After(Duration),
    /// It had not within this time; what was still missing.
    NotWithin(Duration, String),
}

/// All of a round.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// What clients were told.
    pub told: Told,
    /// The table, by id.
    pub rows: HashMap<String, Row>,
    /// The topic, by partition and offset.
    pub events: Vec<Event>,
    /// The dead letters, by the coordinates of their events: when each was sent.
    pub dead: HashMap<(i32, i64), Micros>,
    /// Coordinates of the dead letters that are noted in the database.
    pub noted: HashSet<(i32, i64)>,
    /// The cache.
    pub cached: Vec<Entry>,
    /// What a GET showed of each record afterwards; `None`: that there is none.
    pub shown: HashMap<String, Option<(u64, Content)>>,
    /// Entries of all outboxes and of all unsettled sets.
    pub waiting: (u64, u64),
    /// What the group has committed, by partition.
    pub committed: HashMap<i32, i64>,
    /// Looks in the middle.
    pub samples: Vec<Sample>,
    /// What Redis forgot, and when.
    pub losses: Vec<Loss>,
    /// How it ended.
    pub drain: Drain,
    /// How long after the last fault the first write was acknowledged as logged.
    pub progress: Option<Duration>,
}

impl Evidence {
    /// Of a round in which nothing happened.
    #[must_use]
    pub fn none() -> Self {
        Self {
            told: Told::default(),
            rows: HashMap::new(),
            events: Vec::new(),
            dead: HashMap::new(),
            noted: HashSet::new(),
            cached: Vec::new(),
            shown: HashMap::new(),
            waiting: (0, 0),
            committed: HashMap::new(),
            samples: Vec::new(),
            losses: Vec::new(),
            drain: Drain::After(Duration::ZERO),
            progress: Some(Duration::ZERO),
        }
    }
}
