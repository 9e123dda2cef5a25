//! The metrics of ingest, a struct: the help text of each says what it counts.

use prometheus::{Gauge, GaugeVec, Histogram, IntCounterVec, IntGauge};
use record::{Catalog, Reason, Version};
use service::metrics::CALL_SECONDS;
use service::{Metrics, clock};
use strum::IntoEnumIterator;

use crate::http::ProblemKind;

/// See the help texts.
#[derive(Clone, Debug)]
pub(crate) struct IngestMetrics {
    pub(crate) accepted: IntCounterVec,
    pub(crate) rejected: IntCounterVec,
    pub(crate) relayed: IntCounterVec,
    pub(crate) swept: IntCounterVec,
    pub(crate) dead_letters: IntCounterVec,
    pub(crate) incomplete_shards: IntGauge,
    pub(crate) outbox_entries: IntGauge,
    pub(crate) unsettled_entries: IntGauge,
    pub(crate) acknowledgements_dropped: prometheus::IntCounter,
    pub(crate) store: Histogram,
    pub(crate) acknowledge: Histogram,
    pub(crate) version_lead: Gauge,
    pub(crate) replays: IntCounterVec,
    pub(crate) merged_again: IntCounterVec,
    pub(crate) past_cache: IntCounterVec,
    pub(crate) instance_slot: IntGauge,
    pub(crate) headroom: GaugeVec,
}

impl IngestMetrics {
    /// Series exist from the start, so that a rate over the first refusal is no surprise.
    pub(crate) fn new(metrics: &Metrics, catalog: &Catalog) -> Self {
        let by_entity = |name, help| metrics.counter_vec(name, help, &["entity"]);
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
            dead_letters: metrics.counter_vec(
                "dead_letters_total",
                "Records that can never be events, by why",
                &["entity", "reason"],
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
            version_lead: metrics.float_gauge(
                "version_lead_seconds",
                "How far the newest version is ahead of this machine's clock: grows when a clock was set back",
            ),
            replays: by_entity(
                "idempotent_replays_total",
                "Writes answered with what the first request of their idempotency key got",
            ),
            merged_again: by_entity("merged_again_total", "Patches merged again, since others had written the record"),
            past_cache: by_entity(
                "past_cache_total",
                "Writes answered `logged` that went past the cache, since it was away or did not answer",
            ),
            instance_slot: metrics.gauge(
                "instance_slot",
                "The slot of this instance's versions without the cache; 0: it may give out none",
            ),
            headroom: headroom(metrics),
        };
        this.begin(catalog);
        this
    }

    fn begin(&self, catalog: &Catalog) {
        for entity in catalog.iter().map(|entity| entity.name()) {
            for op in ["upsert", "delete"] {
                for state in ["cached", "logged", "persisted"] {
                    self.accepted.with_label_values(&[entity, op, state]);
                }
            }
            self.dead_letters.with_label_values(&[entity, Reason::TooLarge.as_str()]);
            self.replays.with_label_values(&[entity]);
            self.merged_again.with_label_values(&[entity]);
            self.past_cache.with_label_values(&[entity]);
            for kind in ProblemKind::iter() {
                self.rejected.with_label_values(&[entity, kind.as_str()]);
            }
        }
        for outcome in ["published", "failed", "refused", "dead"] {
            self.relayed.with_label_values(&[outcome]);
        }
        for outcome in ["settled", "produced", "failed", "dead"] {
            self.swept.with_label_values(&[outcome]);
        }
        for queue in ["outbox", "unsettled"] {
            self.headroom.with_label_values(&[queue]).set(crate::lag::LONGEST_SECONDS);
        }
    }

    /// R1: `last` running away from the clock is what an alarm watches.
    pub(crate) fn lead(&self, newest: Version, now_micros: u64) {
        self.version_lead.set(clock::seconds_between(now_micros, newest.get()));
    }
}

#[expect(clippy::expect_used, reason = "name and label are constants")]
fn headroom(metrics: &Metrics) -> GaugeVec {
    let help =
        "How long outbox and unsettled take to reach their bounds at the rate of the last half minute; at most 7 days";
    let gauge = GaugeVec::new(service::metrics::prefixed("headroom_seconds", help), &["queue"]).expect("valid names");
    metrics.collector(gauge.clone());
    gauge
}
