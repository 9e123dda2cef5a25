//! The one loop that repairs (PROTOCOL, relay and sweeper): shard by shard, what waits for the topic is relayed (R10), what waits
//! for the table is swept (R11), and doubts about the cache are ended (R16).
//!
//! Every instance runs it. An advisory claim keeps two from one shard at most times, and two at once are harmless. Shards come
//! in a random order and rounds at random intervals, or one instance could always come just before another, and what only
//! the other understands (an ingest of a newer schema) would wait for ever.

use std::sync::Arc;
use std::time::Duration;

use cache::{CacheError, Shard};
use rand::seq::SliceRandom;
use service::Pulse;
use tokio_util::sync::CancellationToken;

use crate::doubt::Doubts;
use crate::relay::Relay;
use crate::sweep::Sweep;

/// On average; a round comes after half of it at the earliest.
const EVERY: Duration = Duration::from_secs(2);
/// Shorter than the shortest pause between two rounds, so that no claim outlives its round into the next.
pub(crate) const CLAIM: Duration = Duration::from_millis(900);

#[derive(Debug)]
pub(crate) struct Rounds {
    pub(crate) relay: Arc<Relay>,
    pub(crate) sweep: Sweep,
    pub(crate) doubts: Doubts,
}

impl Rounds {
    pub(crate) async fn run(mut self, stopping: CancellationToken, pulse: Pulse) {
        let mut shards: Vec<_> = Shard::all().collect();
        while !stopping.is_cancelled() {
            shards.shuffle(&mut rand::rng());
            for shard in &shards {
                pulse.beat();
                if let Err(error) = self.visit(*shard, &stopping, &pulse).await {
                    tracing::debug!(%error, shard = shard.number(), "relay and sweep");
                }
            }
            pulse.beat();
            if let Err(error) = self.doubts.end().await {
                tracing::debug!(%error, "doubts");
            }
            pulse.rest();
            tokio::select! {
                () = tokio::time::sleep(EVERY.mul_f64(rand::random_range(0.5..1.5))) => {}
                () = stopping.cancelled() => {}
            }
        }
    }

    async fn visit(&mut self, shard: Shard, stopping: &CancellationToken, pulse: &Pulse) -> Result<(), CacheError> {
        self.relay.relay(shard, stopping, pulse).await?;
        self.sweep.sweep(shard, stopping, pulse).await
    }
}
