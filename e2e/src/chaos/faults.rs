//! The catalogue of faults: a small type each. A fault strikes, holds, heals, and shows that it bit.

mod clock;
mod database;
mod disk;
mod kafka;
mod link;
mod poison;
mod redis;
mod service;
mod storm;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;

use super::stage::{Service, Stage, Store};

/// What a fault hurts. No two faults hurt the same thing at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// A process of ours.
    Service(Service),
    /// A server.
    Store(Store),
    /// What stands in the topic.
    Topic,
}

/// What a round must have for a fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Kafka of three nodes (`Some(true)`), or of one.
    pub three_nodes: Option<bool>,
    /// A Redis whose clock can be moved.
    pub clock: bool,
    /// Redis on a disk that can be filled.
    pub redis_disk: bool,
    /// The database on a disk that can be filled.
    pub database_disk: bool,
}

impl Needs {
    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            three_nodes: self.three_nodes.or(other.three_nodes),
            clock: self.clock || other.clock,
            redis_disk: self.redis_disk || other.redis_disk,
            database_disk: self.database_disk || other.database_disk,
        }
    }
}

/// That a fault bit: what was observed, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bite {
    /// In a few words.
    pub what: &'static str,
    /// 0: it did not bite, and the round proves nothing.
    pub count: u64,
}

impl Bite {
    /// Something that happens once or is an error.
    #[must_use]
    pub fn once(what: &'static str) -> Self {
        Self { what, count: 1 }
    }
}

/// A kind of fault.
#[async_trait]
pub trait Fault: Debug + Send + Sync {
    /// What the table and the command line call it.
    fn name(&self) -> String;

    /// What it hurts.
    fn target(&self) -> Target;

    /// What the round must have for it.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// How often it is drawn, against the others: the links are many.
    fn weight(&self) -> u32 {
        6
    }

    /// Strikes, keeps it up for `hold`, heals, and says that it bit.
    ///
    /// # Errors
    /// The fault could not be brought about, or not be healed: nothing is proved by the round.
    async fn strike(&self, stage: &Stage, hold: Duration) -> Result<Bite>;
}

/// Whether a fault of this name puts poison into the topic.
#[must_use]
pub fn is_poison(name: &str) -> bool {
    poison::all().iter().any(|fault| fault.name() == name)
}

/// All of them.
#[must_use]
pub fn catalogue() -> Vec<Arc<dyn Fault>> {
    let parts = [
        service::all(),
        redis::all(),
        database::all(),
        kafka::all(),
        link::all(),
        storm::all(),
        clock::all(),
        disk::all(),
        poison::all(),
    ];
    parts.into_iter().flatten().collect()
}

fn each<F: Fault + 'static>(faults: impl IntoIterator<Item = F>) -> Vec<Arc<dyn Fault>> {
    faults.into_iter().map(|fault| Arc::new(fault) as Arc<dyn Fault>).collect()
}

/// Runs what blocks (a server's start) beside the clients.
async fn blocking(work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    tokio::task::spawn_blocking(work).await?
}
