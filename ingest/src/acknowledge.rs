//! R6: the cache learns of acknowledgements, many at once and off the answers' path.

use std::time::Duration;

use cache::{Cache, Logged};
use service::{Pulse, Supervisor};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::metrics::IngestMetrics;

/// Acknowledgements in one script call.
const BATCH: usize = 256;

/// How long one waits for others to share its call. Nobody waits for it; and where the table is that quick, nothing is left to be
/// told by then.
const TOGETHER: Duration = Duration::from_millis(10);

/// Tells the cache until the process stops, and then what waits.
pub(crate) fn supervise(cache: Cache, queue: mpsc::Receiver<Logged>, metrics: IngestMetrics, supervisor: &Supervisor) {
    let (stopping, pulse) = (supervisor.stopping(), supervisor.pulse("acknowledge"));
    supervisor.spawn("acknowledge", run(cache, queue, metrics, stopping, pulse));
}

async fn run(
    cache: Cache,
    mut queue: mpsc::Receiver<Logged>,
    metrics: IngestMetrics,
    stopping: CancellationToken,
    pulse: Pulse,
) {
    let mut batch = Vec::with_capacity(BATCH);
    while gather(&mut queue, &mut batch, &stopping).await {
        pulse.beat();
        if let Err(error) = cache.logged(&batch).await {
            tracing::debug!(%error, "acknowledgements");
            metrics.acknowledgements_dropped.inc_by(batch.len() as u64);
        }
        batch.clear();
        pulse.rest();
    }
    // Nobody is left to acknowledge to: the front is gone, the process is stopping.
    stopping.cancelled().await;
}

/// What waits, and what comes soon after it. `false`: nothing any more.
async fn gather(queue: &mut mpsc::Receiver<Logged>, batch: &mut Vec<Logged>, stopping: &CancellationToken) -> bool {
    let taken = tokio::select! {
        biased;
        taken = queue.recv_many(batch, BATCH) => taken,
        () = stopping.cancelled() => 0,
    };
    if (1..BATCH).contains(&taken) {
        tokio::select! {
            () = tokio::time::sleep(TOGETHER) => {}
            () = stopping.cancelled() => {}
        }
        while batch.len() < BATCH
            && let Ok(another) = queue.try_recv()
        {
            batch.push(another);
        }
    }
    taken > 0
}
