//! PROTOCOL R14 off the critical path: tells the cache what MySQL holds, many records at once, again and again until Redis
//! has taken it.

use std::time::Duration;

use cache::{Cache, EPOCH, Settled};
use prometheus::IntCounter;
use service::Backoff;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Settles in one script call.
const BATCH: usize = 256;

/// Where lanes hand in what was read back. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Settler {
    queue: mpsc::Sender<Settled>,
    dropped: IntCounter,
}

impl Settler {
    /// A queue for at most `most` settles, and its other end.
    pub(crate) fn new(most: usize, dropped: IntCounter) -> (Self, mpsc::Receiver<Settled>) {
        let (queue, queued) = mpsc::channel(most);
        (Self { queue, dropped }, queued)
    }

    /// Never waits: a lane must not stand still because Redis does. What finds no room is dropped and counted; its record
    /// then stays in the cache until the sweep settles it.
    pub(crate) fn settle(&self, settled: Settled) {
        if self.queue.try_send(settled).is_err() {
            self.dropped.inc();
        }
    }
}

/// Delivers settles until `stopping`, and then once more what is left.
pub(crate) async fn deliver(cache: Cache, mut queued: mpsc::Receiver<Settled>, stopping: CancellationToken) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let taken = tokio::select! {
            biased;
            taken = queued.recv_many(&mut batch, BATCH) => taken,
            () = stopping.cancelled() => 0,
        };
        if taken == 0 || !delivered(&cache, &batch, &stopping).await {
            // No lane is left to settle for: the process is stopping.
            return stopping.cancelled().await;
        }
        batch.clear();
    }
}

/// `false`: Redis does not take it and the process is to stop.
async fn delivered(cache: &Cache, batch: &[Settled], stopping: &CancellationToken) -> bool {
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
    // The records were read back in the only epoch there is.
    while let Err(error) = cache.settle(batch, EPOCH).await {
        tracing::debug!(%error, "settle");
        tokio::select! {
            () = tokio::time::sleep(backoff.next(rand::random())) => {}
            () = stopping.cancelled() => return false,
        }
    }
    true
}
