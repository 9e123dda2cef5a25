//! The lanes of this process, one for each partition that it was given.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use service::{Health, Supervisor};
use table::EntityTable;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use topic::{Envelope, Partition};

use crate::brake::Brakes;
use crate::commit::{Generation, OffsetTracker};
use crate::lane::{Lane, Surroundings};
use crate::metrics::PersisterMetrics;
use crate::queue::{Entrance, queue};
use crate::settings::RunSettings;

/// The intake's end of a lane.
#[derive(Debug)]
struct LaneHandle {
    queue: Entrance,
    draining: CancellationToken,
    /// Disconnects when the lane has ended.
    ended: blocking::Receiver<()>,
}

/// The lanes of this member, by partition.
#[derive(Debug)]
pub(crate) struct Lanes {
    tables: HashMap<Arc<str>, EntityTable>,
    surroundings: Surroundings,
    supervisor: Supervisor,
    health: Arc<Health>,
    runtime: Handle,
    events_most: usize,
    bytes_most: usize,
    drain_deadline: Duration,
    brakes_released: Brakes,
    /// Of every partition that this process has ever had.
    brakes: Mutex<HashMap<Partition, Arc<Mutex<Brakes>>>>,
    generations: AtomicU64,
    lanes: Mutex<HashMap<Partition, LaneHandle>>,
}

impl Lanes {
    /// No lanes yet. `tables` are by topic.
    pub(crate) fn new(
        tables: HashMap<Arc<str>, EntityTable>,
        surroundings: Surroundings,
        supervisor: Supervisor,
        health: Arc<Health>,
        settings: &RunSettings,
    ) -> Self {
        Self {
            tables,
            surroundings,
            supervisor,
            health,
            runtime: Handle::current(),
            events_most: settings.lane_events_most,
            bytes_most: settings.lane_bytes_most,
            drain_deadline: settings.drain_deadline_ms,
            brakes_released: Brakes::new(settings.brake.dead(), settings.brake.late()),
            brakes: Mutex::default(),
            generations: AtomicU64::new(0),
            lanes: Mutex::default(),
        }
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<Partition, LaneHandle>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, partition: &Partition) -> Option<LaneHandle> {
        let table = self.tables.get(&partition.topic)?.clone();
        let generation = Generation(self.generations.fetch_add(1, Ordering::Relaxed));
        let (entrance, exit) = queue(self.events_most, self.bytes_most);
        let (alive, ended) = blocking::sync_channel(1);
        let draining = CancellationToken::new();
        let lane = Lane {
            partition: partition.clone(),
            generation,
            table,
            surroundings: self.surroundings.clone(),
            queue: exit,
            draining: draining.clone(),
            condemned: BTreeSet::new(),
            brakes: self.brakes_of(partition),
            pulse: self.supervisor.pulse("lane"),
        };
        self.offsets().begin(partition.clone(), generation);
        self.surroundings.metrics.opened(partition);
        self.surroundings.metrics.depths.opened(partition, entrance.level());
        let _entered = self.runtime.enter();
        self.supervisor.spawn_passing("lane", async move {
            lane.run().await;
            drop(alive);
        });
        Some(LaneHandle { queue: entrance, draining, ended })
    }

    fn brakes_of(&self, partition: &Partition) -> Arc<Mutex<Brakes>> {
        let mut brakes = self.brakes.lock().unwrap_or_else(PoisonError::into_inner);
        let own = brakes.entry(partition.clone()).or_insert_with(|| Arc::new(Mutex::new(self.brakes_released.clone())));
        Arc::clone(own)
    }

    pub(crate) fn offsets(&self) -> MutexGuard<'_, OffsetTracker> {
        self.surroundings.offsets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a message to its lane. `false`: the lane is full, and the partition is to be paused.
    pub(crate) fn offer(&self, partition: &Partition, envelope: Envelope) -> bool {
        match self.lanes().get_mut(partition) {
            Some(lane) => lane.queue.offer(envelope),
            // A message that was fetched before its partition was revoked: whoever has it now reads it again.
            None => true,
        }
    }

    /// Partitions whose stuck message has found room: to be resumed.
    pub(crate) fn unstuck(&self) -> Vec<Partition> {
        let mut lanes = self.lanes();
        let roomy =
            lanes.iter_mut().filter_map(|(partition, lane)| lane.queue.has_room_again().then(|| partition.clone()));
        roomy.collect()
    }

    pub(crate) fn metrics(&self) -> &PersisterMetrics {
        &self.surroundings.metrics
    }

    /// Opens a lane for each.
    pub(crate) fn begin(&self, partitions: &[Partition]) {
        let opened = partitions.iter().filter_map(|partition| Some((partition.clone(), self.open(partition)?)));
        self.lanes().extend(opened);
        // Only a member of the group brings anything into the table; one that was given nothing stands by.
        self.health.set_serving(!self.supervisor.stopping().is_cancelled());
    }

    /// Lets the lanes of these partitions finish their batches, as long as a lane may take for it, and returns what is to be
    /// committed. Of partitions that are `lost` nothing is.
    pub(crate) fn end(&self, partitions: &[Partition], lost: bool) -> Vec<(Partition, i64)> {
        let until = Instant::now() + self.drain_deadline;
        let leaving: Vec<_> = {
            let mut lanes = self.lanes();
            partitions.iter().filter_map(|partition| Some((partition.clone(), lanes.remove(partition)?))).collect()
        };
        for (partition, lane) in &leaving {
            if lost {
                self.lose(partition, lane);
            } else {
                lane.draining.cancel();
            }
        }
        let mut offsets = Vec::new();
        for (partition, lane) in leaving {
            let ended = lane.ended.recv_timeout(until.saturating_duration_since(Instant::now()));
            if ended == Err(blocking::RecvTimeoutError::Timeout) {
                tracing::warn!(
                    partition = partition.number,
                    "a lane did not drain in time; its batch comes again elsewhere"
                );
            }
            offsets.extend(self.offsets().end(&partition).map(|offset| (partition, offset)));
        }
        offsets
    }

    /// This process is no member any more: all of its partitions are lost. Waits for no lane.
    pub(crate) fn abandon(&self) {
        self.health.set_serving(false);
        for (partition, lane) in std::mem::take(&mut *self.lanes()) {
            self.lose(&partition, &lane);
        }
    }

    /// From here on nothing that such a lane reports is believed: the partition is another member's, or another lane's.
    fn lose(&self, partition: &Partition, lane: &LaneHandle) {
        self.offsets().end(partition);
        lane.draining.cancel();
    }
}
