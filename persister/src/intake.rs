//! Polling on a plain thread, which never waits for MySQL: messages go to the lanes, a full lane pauses its partition,
//! rebalances are handled inside the callback, offsets are committed in the background.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use service::{FailureClass, Health, Pulse, Supervisor, fail_points};
use table::EntityTable;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use topic::{Assignment, CommitFailed, Consumer, Envelope, Partition, TopicError};

use crate::brake::Brakes;
use crate::commit::{Due, Generation, OffsetTracker};
use crate::lane::{Lane, Surroundings};
use crate::queue::{Entrance, queue};
use crate::settings::RunSettings;

/// How long one poll waits; rebalances and commits are served at least so often.
const POLL: Duration = Duration::from_millis(50);

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

    fn offsets(&self) -> MutexGuard<'_, OffsetTracker> {
        self.surroundings.offsets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a message to its lane. `false`: the lane is full, and the partition is to be paused.
    fn offer(&self, partition: &Partition, envelope: Envelope) -> bool {
        match self.lanes().get_mut(partition) {
            Some(lane) => lane.queue.offer(envelope),
            // A message that was fetched before its partition was revoked: whoever has it now reads it again.
            None => true,
        }
    }

    /// Partitions whose stuck message has found room: to be resumed.
    fn unstuck(&self) -> Vec<Partition> {
        let mut lanes = self.lanes();
        let roomy =
            lanes.iter_mut().filter_map(|(partition, lane)| lane.queue.has_room_again().then(|| partition.clone()));
        roomy.collect()
    }
}

impl Assignment for Lanes {
    fn assigned(&self, partitions: &[Partition]) {
        self.surroundings.metrics.rebalances.with_label_values(&["assigned"]).inc();
        tracing::info!(count = partitions.len(), "partitions assigned");
        let opened = partitions.iter().filter_map(|partition| Some((partition.clone(), self.open(partition)?)));
        self.lanes().extend(opened);
        // Only a member of the group brings anything into the table; one that was given nothing stands by.
        self.health.set_serving(!self.supervisor.stopping().is_cancelled());
    }

    fn revoked(&self, partitions: &[Partition], lost: bool) -> Vec<(Partition, i64)> {
        self.surroundings.metrics.rebalances.with_label_values(&[if lost { "lost" } else { "revoked" }]).inc();
        tracing::info!(count = partitions.len(), lost, "partitions revoked");
        let until = Instant::now() + self.drain_deadline;
        let leaving: Vec<_> = {
            let mut lanes = self.lanes();
            partitions.iter().filter_map(|partition| Some((partition.clone(), lanes.remove(partition)?))).collect()
        };
        for (partition, lane) in &leaving {
            if lost {
                // From here on nothing that such a lane reports is believed: the partition is another member's.
                self.offsets().end(partition);
            }
            lane.draining.cancel();
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
        fail_points::reached(fail_points::INTAKE_REVOKING);
        offsets
    }

    fn committed(&self, partition: &Partition, result: Result<i64, CommitFailed>) {
        match result {
            Ok(offset) => self.offsets().committed(partition, offset),
            Err(failed) => {
                self.surroundings.metrics.commit_failures.with_label_values(&[&failed.reason]).inc();
                self.offsets().failed(partition);
            }
        }
    }

    fn offset_reset(&self, what: &str) {
        self.surroundings.metrics.offset_resets.inc();
        tracing::error!(
            what,
            "the group's offset is not in the topic any more, and reading goes on at the earliest event there is: was the \
             topic made anew, or were records deleted? {what}"
        );
    }
}

/// What the client met, each once and not with every try.
#[derive(Debug, Default)]
struct Said(Option<String>);

impl Said {
    fn say(&mut self, error: &TopicError) {
        let text = error.to_string();
        if self.0.as_ref() == Some(&text) {
            return;
        }
        if error.class() == FailureClass::Fatal {
            tracing::error!(%error, "the group does not take this persister: {error}");
        } else {
            tracing::debug!(%error, "poll");
        }
        self.0 = Some(text);
    }
}

/// Polls until `stopping`. The end of the consumer then leaves the group: what is assigned is drained and committed in the
/// revoke.
///
/// # Errors
/// This process can be no member any more, such as one that another has taken the name from.
pub(crate) fn poll(
    consumer: Consumer<Lanes>,
    commit_every: Duration,
    mut topics: mpsc::Receiver<Vec<String>>,
    stopping: &CancellationToken,
    pulse: &Pulse,
) -> Result<(), TopicError> {
    let (mut served, mut said) = (Instant::now(), Said::default());
    while !stopping.is_cancelled() {
        pulse.beat();
        if let Ok(topics) = topics.try_recv() {
            consumer.subscribe(&topics)?;
        }
        take(&consumer, &mut said)?;
        resume(&consumer);
        if served.elapsed() >= commit_every {
            commit(&consumer);
            served = Instant::now();
        }
    }
    Ok(())
}

fn take(consumer: &Consumer<Lanes>, said: &mut Said) -> Result<(), TopicError> {
    match consumer.poll(POLL) {
        Some(Ok((partition, envelope))) => {
            *said = Said::default();
            if !consumer.assignment().offer(&partition, envelope)
                && let Err(error) = consumer.pause(&partition)
            {
                tracing::warn!(%error, partition = partition.number, "a full lane's partition could not be paused");
            }
        }
        Some(Err(error @ TopicError::Fatal(_))) => return Err(error),
        Some(Err(error)) => said.say(&error),
        None => {}
    }
    Ok(())
}

fn resume(consumer: &Consumer<Lanes>) {
    for partition in consumer.assignment().unstuck() {
        if let Err(error) = consumer.resume(&partition) {
            tracing::warn!(%error, partition = partition.number, "a lane's partition could not be resumed");
        }
    }
}

fn commit(consumer: &Consumer<Lanes>) {
    let due = consumer.assignment().offsets().due();
    let (back, onward): (Vec<_>, Vec<_>) = due.into_iter().partition(|due| due.back);
    for Due { partition, next, .. } in back {
        consumer.commit_back(&partition, next);
    }
    let onward: Vec<_> = onward.into_iter().map(|due| (due.partition, due.next)).collect();
    if onward.is_empty() {
        return;
    }
    if let Err(error) = consumer.commit(&onward) {
        tracing::debug!(%error, "commit");
        for (partition, _) in &onward {
            consumer.assignment().offsets().failed(partition);
        }
    }
}
