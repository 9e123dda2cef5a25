//! The metrics of ingest, a struct: the help text of each says what it counts.

use prometheus::{Gauge, Histogram, IntCounterVec, IntGauge};
use record::{Catalog, Version};
use service::metrics::CALL_SECONDS;
use service::{Metrics, clock};

use crate::http::Problem;
use crate::write::Refusal;

/// See the help texts.
#[derive(Clone, Debug)]
pub(crate) struct IngestMetrics {
    pub(crate) accepted: IntCounterVec,
    pub(crate) rejected: IntCounterVec,
    pub(crate) relayed: IntCounterVec,
    pub(crate) swept: IntCounterVec,
    pub(crate) incomplete_shards: IntGauge,
    pub(crate) outbox_entries: IntGauge,
    pub(crate) unsettled_entries: IntGauge,
    pub(crate) acknowledgements_dropped: prometheus::IntCounter,
    pub(crate) store: Histogram,
    pub(crate) acknowledge: Histogram,
    pub(crate) producer_events: IntGauge,
    pub(crate) version_lead: Gauge,
}

impl IngestMetrics {
    /// Series exist from the start, so that a rate over the first refusal is no surprise.
    pub(crate) fn new(metrics: &Metrics, catalog: &Catalog) -> Self {
        let this = Self {
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
            swept: metrics.counter_vec(
                "swept_total",
                "Unsettled entries that the sweep settled, produced again since the table lacked them, or could not",
                &["outcome"],
            ),
            incomplete_shards: metrics.gauge(
                "cache_incomplete_shards",
                "Shards of the cache, of 16, that may lack what MySQL has yet to receive: preconditions are refused",
            ),
            outbox_entries: metrics
                .gauge("outbox_entries", "Records whose newest version the topic has not acknowledged"),
            unsettled_entries: metrics
                .gauge("unsettled_entries", "Records that the topic has acknowledged and MySQL does not hold yet"),
            acknowledgements_dropped: metrics.counter(
                "acknowledgements_dropped_total",
                "Acknowledgements of the topic that the cache did not learn of; the relay sends those events again",
            ),
            store: metrics.histogram(
                "store_seconds",
                "One write and Redis: from its place in the queue to the script's answer, or to the failure",
                CALL_SECONDS,
            ),
            acknowledge: metrics.histogram(
                "acknowledge_seconds",
                "One event and Kafka: from handing it to the producer to the brokers' acknowledgement",
                CALL_SECONDS,
            ),
            producer_events: metrics
                .gauge("producer_events", "Events that the producer holds, since no broker has acknowledged them"),
            version_lead: metrics.float_gauge(
                "version_lead_seconds",
                "How far the newest version is ahead of this machine's clock: grows when a clock was set back",
            ),
        };
        for entity in catalog.iter().map(|entity| entity.name()) {
            for (op, state) in [("upsert", "logged"), ("upsert", "cached"), ("delete", "logged"), ("delete", "cached")]
            {
                this.accepted.with_label_values(&[entity, op, state]);
            }
            for refusal in Refusal::ALL {
                this.rejected.with_label_values(&[entity, Problem::from(refusal).kind()]);
            }
        }
        for outcome in ["published", "failed", "refused"] {
            this.relayed.with_label_values(&[outcome]);
        }
        for outcome in ["settled", "produced", "failed"] {
            this.swept.with_label_values(&[outcome]);
        }
        this
    }

    /// R1: `last` running away from the clock is what an alarm watches.
    pub(crate) fn lead(&self, newest: Version, now_micros: u64) {
        self.version_lead.set(clock::seconds_between(now_micros, newest.get()));
    }
}
