//! The metrics of ingest, a struct: the help text of each says what it counts.

use prometheus::{Gauge, IntCounterVec, IntGauge};
use record::Version;
use service::{Metrics, clock};

/// See the help texts.
#[derive(Clone, Debug)]
pub(crate) struct IngestMetrics {
    pub(crate) accepted: IntCounterVec,
    pub(crate) rejected: IntCounterVec,
    pub(crate) relayed: IntCounterVec,
    pub(crate) outbox_entries: IntGauge,
    pub(crate) unsettled_entries: IntGauge,
    pub(crate) acknowledgements_dropped: prometheus::IntCounter,
    pub(crate) version_lead: Gauge,
}

impl IngestMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            accepted: metrics.counter_vec(
                "accepted_total",
                "Writes answered with 2xx, by what the answer rests on",
                &["entity", "op", "state"],
            ),
            rejected: metrics.counter_vec(
                "rejected_total",
                "Writes answered with 4xx or 5xx, by reason",
                &["entity", "reason"],
            ),
            relayed: metrics.counter_vec(
                "relayed_total",
                "Outbox entries that the relay brought to the topic, or could not",
                &["outcome"],
            ),
            outbox_entries: metrics
                .gauge("outbox_entries", "Records whose newest version the topic has not acknowledged"),
            unsettled_entries: metrics
                .gauge("unsettled_entries", "Records that the topic has acknowledged and MySQL does not hold yet"),
            acknowledgements_dropped: metrics.counter(
                "acknowledgements_dropped_total",
                "Acknowledgements of the topic that the cache did not learn of; the relay sends those events again",
            ),
            version_lead: metrics.float_gauge(
                "version_lead_seconds",
                "How far the newest version is ahead of this machine's clock: grows when a clock was set back",
            ),
        }
    }

    /// R1: `last` running away from the clock is what an alarm watches.
    pub(crate) fn lead(&self, newest: Version, now_micros: u64) {
        self.version_lead.set(clock::seconds_between(now_micros, newest.get()));
    }
}
