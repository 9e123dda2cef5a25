//! The observer: how far the persister is behind, seen from here, since a dead persister exports nothing; and how much
//! waits in outbox and unsettled.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache::Cache;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use service::{clock, metrics};
use tokio_util::sync::CancellationToken;
use topic::{LagMetrics, Publisher};

use crate::metrics::IngestMetrics;

const EVERY: Duration = Duration::from_secs(1);

/// What waits, and where that is seen and shown.
pub(crate) struct Observer {
    pub(crate) cache: Cache,
    pub(crate) publisher: Publisher,
    pub(crate) metrics: IngestMetrics,
    pub(crate) lag: LagMetrics,
}

impl Observer {
    /// Keeps the depths of the producer, the outbox and the unsettled up to date until `stopping`.
    pub(crate) async fn observe(self, oldest: OutboxOldest, stopping: CancellationToken) {
        let Self { cache, publisher, metrics, lag } = self;
        let shown = |depth: u64| i64::try_from(depth).unwrap_or(i64::MAX);
        while !stopping.is_cancelled() {
            metrics.producer_events.set(i64::from(publisher.in_flight()));
            if let Ok(depths) = cache.depths().await {
                metrics.outbox_entries.set(shown(depths.outbox));
                metrics.unsettled_entries.set(shown(depths.unsettled));
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
