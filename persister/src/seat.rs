//! What one consumer of this process is told by its group, and which lanes come and go by it. A consumer that was given up is
//! not believed any more: the lanes are its successor's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use service::fail_points;
use topic::{Assignment, CommitFailed, Partition};

use crate::lanes::Lanes;

#[derive(Debug)]
pub(crate) struct Seat {
    lanes: Arc<Lanes>,
    given_up: AtomicBool,
}

impl Seat {
    pub(crate) fn new(lanes: Arc<Lanes>) -> Self {
        Self { lanes, given_up: AtomicBool::new(false) }
    }

    pub(crate) fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// All that it was given is lost, as if another member had it, and nothing that it is told from now on counts.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
        self.lanes.abandon();
    }

    fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }
}

impl Assignment for Seat {
    fn assigned(&self, partitions: &[Partition]) {
        if self.is_given_up() {
            return;
        }
        self.lanes.metrics().rebalances.with_label_values(&["assigned"]).inc();
        tracing::info!(count = partitions.len(), "partitions assigned");
        self.lanes.begin(partitions);
    }

    fn revoked(&self, partitions: &[Partition], lost: bool) -> Vec<(Partition, i64)> {
        if self.is_given_up() {
            return Vec::new();
        }
        self.lanes.metrics().rebalances.with_label_values(&[if lost { "lost" } else { "revoked" }]).inc();
        tracing::info!(count = partitions.len(), lost, "partitions revoked");
        let offsets = self.lanes.end(partitions, lost);
        fail_points::reached(fail_points::INTAKE_REVOKING);
        offsets
    }

    fn committed(&self, partition: &Partition, result: Result<i64, CommitFailed>) {
        if self.is_given_up() {
            return;
        }
        match result {
            Ok(offset) => self.lanes.offsets().committed(partition, offset),
            Err(failed) => {
                self.lanes.metrics().commit_failures.with_label_values(&[&failed.reason]).inc();
                self.lanes.offsets().failed(partition);
            }
        }
    }

    fn offset_reset(&self, what: &str) {
        self.lanes.metrics().offset_resets.inc();
        tracing::error!(
            what,
            "the group's offset is not in the topic any more, and reading goes on at the earliest event there is: was the topic \
             made anew, or were records deleted? {what}"
        );
    }
}
