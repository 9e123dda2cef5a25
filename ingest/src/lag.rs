//! The observer: how far the persister is behind, seen from here, since a dead persister exports nothing; and how much
//! waits in outbox and unsettled.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cache::Cache;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use service::{Pulse, clock, metrics};
use tokio_util::sync::CancellationToken;
use topic::LagMetrics;

use crate::metrics::IngestMetrics;

const EVERY: Duration = Duration::from_secs(1);

/// What waits, and where that is seen and shown.
pub(crate) struct Observer {
    pub(crate) cache: Cache,
    pub(crate) metrics: IngestMetrics,
    pub(crate) lag: LagMetrics,
    /// The bounds of outbox and unsettled.
    pub(crate) most: (u64, u64),
}

/// What is shown where a bound is not in sight.
pub(crate) const LONGEST_SECONDS: f64 = 7.0 * 24.0 * 3600.0;

/// How long a queue takes to reach its bound if it goes on as in the last half minute. Pure.
#[derive(Debug, Default)]
struct Headroom {
    depth: Option<u64>,
    /// Entries a second, smoothed.
    growth: f64,
}

impl Headroom {
    /// Takes in a depth, `seconds` after the one before; answers in seconds.
    #[expect(clippy::cast_precision_loss, reason = "depths are far below 2^53")]
    fn after(&mut self, depth: u64, most: u64, seconds: f64) -> f64 {
        if let Some(before) = self.depth.replace(depth) {
            let growth = (depth as f64 - before as f64) / seconds;
            self.growth += (growth - self.growth) * (1.0 - (-seconds / 30.0).exp());
        }
        let left = most.saturating_sub(depth) as f64;
        if left == 0.0 {
            0.0
        } else if self.growth <= 0.0 {
            LONGEST_SECONDS
        } else {
            (left / self.growth).min(LONGEST_SECONDS)
        }
    }
}

impl Observer {
    /// Keeps the depths of the outbox and the unsettled up to date until `stopping`.
    pub(crate) async fn observe(self, oldest: OutboxOldest, stopping: CancellationToken, pulse: Pulse) {
        let Self { cache, metrics, lag, most } = self;
        let (mut outbox, mut unsettled, mut looked) = (Headroom::default(), Headroom::default(), Instant::now());
        let shown = |depth: u64| i64::try_from(depth).unwrap_or(i64::MAX);
        while !stopping.is_cancelled() {
            pulse.beat();
            if let Ok(depths) = cache.depths().await {
                metrics.outbox_entries.set(shown(depths.outbox));
                metrics.unsettled_entries.set(shown(depths.unsettled));
                let seconds = looked.elapsed().as_secs_f64().max(0.001);
                looked = Instant::now();
                let headroom = |queue| metrics.headroom.with_label_values(&[queue]);
                headroom("outbox").set(outbox.after(depths.outbox, most.0, seconds));
                headroom("unsettled").set(unsettled.after(depths.unsettled, most.1, seconds));
                let births = depths.outbox_oldest.into_iter().map(|(entity, version)| (entity, version.birth_micros()));
                let births: HashMap<_, _> = births.collect();
                oldest.show(births.values().min().copied());
                lag.show_outbox(births);
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = stopping.cancelled() => {}
            }
        }
    }
}

/// `outbox_oldest_seconds`, computed when it is scraped: it grows while Redis cannot be asked, too.
#[derive(Clone, Debug)]
pub(crate) struct OutboxOldest {
    birth: Arc<AtomicU64>,
    gauge: prometheus::Gauge,
}

impl OutboxOldest {
    #[expect(clippy::expect_used, reason = "the name is a constant")]
    pub(crate) fn new() -> Self {
        let opts =
            metrics::prefixed("outbox_oldest_seconds", "Age of the oldest write that the topic has not acknowledged");
        Self { birth: Arc::default(), gauge: prometheus::Gauge::with_opts(opts).expect("a valid name") }
    }

    fn show(&self, birth: Option<u64>) {
        self.birth.store(birth.unwrap_or(0), Ordering::Relaxed);
    }
}

impl Collector for OutboxOldest {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let birth = self.birth.load(Ordering::Relaxed);
        let age = if birth == 0 { 0.0 } else { clock::seconds_between(birth, clock::now_micros()) };
        self.gauge.set(age);
        self.gauge.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headroom_is_the_time_to_the_bound_at_the_rate_of_late() {
        let mut headroom = Headroom::default();
        assert!((headroom.after(0, 100_000, 1.0) - LONGEST_SECONDS).abs() < 1.0, "nothing is known yet");
        let mut told = 0.0;
        for second in 1..=300 {
            told = headroom.after(second * 100, 100_000, 1.0);
        }
        assert!((told - 700.0).abs() < 5.0, "70,000 are left, 100 come a second: {told}");
        assert!(headroom.after(100_000, 100_000, 1.0).abs() < 1e-9, "the bound is reached");
        for _ in 0..300 {
            told = headroom.after(50_000, 100_000, 1.0);
        }
        assert!(told > 24.0 * 3600.0, "it has stopped growing: {told}");
    }
}
