//! How far a system's group is behind, asked of Kafka itself.

use anyhow::Result;
use topic::GroupLag;

use super::stand;
use crate::System;

/// Asks for one topic of one system.
#[derive(Debug)]
pub struct Lag {
    inner: GroupLag,
    topics: Vec<String>,
}

impl Lag {
    /// Of the group that the system has now.
    ///
    /// # Errors
    /// A setting that the client does not take.
    pub fn of(system: &System, entity: &str) -> Result<Self> {
        let settings = stand::kafka_settings(system);
        Ok(Self { inner: GroupLag::new(&settings)?, topics: vec![settings.topic(entity)] })
    }

    /// Events between the committed offsets and the ends of the partitions. Blocks its thread.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub fn behind(&mut self) -> Result<u64> {
        let positions = tokio::task::block_in_place(|| self.inner.look(&self.topics))?;
        Ok(positions.values().map(|position| u64::try_from(position.end - position.committed).unwrap_or(0)).sum())
    }
}
