//! PROTOCOL R14 off the critical path: tells the cache what MySQL holds, many records at once, again and again until Redis
//! has taken it. Each settle says in which epoch its row was read, so that one which comes late is taken for what it is worth.

use std::time::Duration;

use cache::{Cache, CacheError, Dead, Settled};
use prometheus::IntCounter;
use service::{Backoff, FailureClass, Metrics, Pulse};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Settles in one script call.
const BATCH: usize = 256;

/// What the cache is to learn.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// MySQL holds this version.
    Held(Settled),
    /// No table will ever hold this version.
    Dead(Dead),
}

/// Where lanes hand in what was read back. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Settler {
    queue: mpsc::Sender<Outcome>,
    cache: Cache,
    dropped: IntCounter,
}

impl Settler {
    /// A queue for at most `most` settles, and its other end.
    pub(crate) fn new(most: usize, cache: Cache, dropped: IntCounter) -> (Self, mpsc::Receiver<Outcome>) {
        let (queue, queued) = mpsc::channel(most);
        (Self { queue, cache, dropped }, queued)
    }

    /// e: to be asked *before* the rows are read that a settle tells of (`k33`).
    pub(crate) fn epoch(&self) -> u64 {
        self.cache.epoch()
    }

    /// Never waits: a lane must not stand still because Redis does. What finds no room is dropped and counted. The sweep then
    /// settles an entry that still is unsettled; for a record that counts as persisted and no longer is, the epoch is raised
    /// at the next contact (R15).
    pub(crate) fn settle(&self, outcome: Outcome) {
        if self.queue.try_send(outcome).is_err() {
            self.dropped.inc();
            self.cache.settles_missed();
        }
    }
}

impl Settler {
    /// Shows how many wait. The gauge keeps no sender: the queue ends when the last lane does.
    pub(crate) fn show(&self, metrics: &Metrics) {
        let (queue, most) = (self.queue.downgrade(), self.queue.max_capacity());
        metrics.asked("settles_waiting", "Settles that wait for Redis; at most --settles-most", move || {
            queue.upgrade().map_or(0, |queue| most - queue.capacity())
        });
    }
}

/// Delivers settles until no lane is left to hand any in. Once `stopping`, what Redis does not take is given up.
pub(crate) async fn deliver(
    cache: Cache,
    mut queued: mpsc::Receiver<Outcome>,
    dropped: IntCounter,
    stopping: CancellationToken,
    pulse: Pulse,
) {
    let mut batch = Vec::with_capacity(BATCH);
    while queued.recv_many(&mut batch, BATCH).await > 0 {
        if !delivered(&cache, &batch, &stopping, &pulse).await {
            dropped.inc_by((batch.len() + queued.len()) as u64);
            return;
        }
        batch.clear();
    }
}

/// `false`: Redis does not take it and the process is to stop.
async fn delivered(cache: &Cache, batch: &[Outcome], stopping: &CancellationToken, pulse: &Pulse) -> bool {
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
    pulse.beat();
    while let Err(error) = tell(cache, batch).await {
        if backoff.attempts() == 0 && error.class() == FailureClass::Fatal {
            tracing::error!(%error, "settles wait: {error}");
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.next(rand::random())) => {}
            () = stopping.cancelled() => return false,
        }
        pulse.beat();
    }
    pulse.rest();
    true
}

/// Both kinds of a batch; the order among them is free.
async fn tell(cache: &Cache, batch: &[Outcome]) -> Result<(), CacheError> {
    let (mut held, mut dead) = (Vec::with_capacity(batch.len()), Vec::new());
    for outcome in batch {
        match outcome {
            Outcome::Held(settled) => held.push(settled.clone()),
            Outcome::Dead(letter) => dead.push(letter.clone()),
        }
    }
    if !held.is_empty() {
        cache.settle(&held).await?;
    }
    if !dead.is_empty() {
        cache.dead(&dead).await?;
    }
    Ok(())
}
