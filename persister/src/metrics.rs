//! The metrics of the persister, a struct: the help text of each says what it counts.

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec};
use record::{Catalog, Reason};
use service::metrics::{CALL_SECONDS, LAG_SECONDS};
use service::{Metrics, clock};
use table::Held;
use topic::Partition;

use crate::batch::Coalesced;
use crate::dead::DeadLetter;
use crate::depth::LaneDepths;
use crate::given_up::GivenUp;
use crate::hold;

/// Librdkafka's name, for offsets of a partition that is another member's by now: they are not even sent.
pub(crate) const ASSIGNMENT_LOST: &str = "AssignmentLost";

/// See the help texts.
#[derive(Clone, Debug)]
pub(crate) struct PersisterMetrics {
    pub(crate) write_lag: HistogramVec,
    pub(crate) fates: IntCounterVec,
    pub(crate) reasserted: IntCounterVec,
    pub(crate) late: IntCounterVec,
    pub(crate) dead_letters: IntCounterVec,
    pub(crate) held: IntGaugeVec,
    pub(crate) batch_rows: Histogram,
    pub(crate) apply: Histogram,
    pub(crate) commit_failures: IntCounterVec,
    pub(crate) rebalances: IntCounterVec,
    pub(crate) consumers_replaced: IntCounterVec,
    pub(crate) offset_resets: IntCounter,
    pub(crate) settles_dropped: IntCounter,
    pub(crate) depths: LaneDepths,
}

impl PersisterMetrics {
    /// Registers all of them.
    pub(crate) fn new(metrics: &Metrics, catalog: &Catalog) -> Self {
        let this = Self {
            write_lag: metrics.histogram_vec(
                "write_lag_seconds",
                "From a version's birth to its commit in MySQL, once per version applied",
                &["entity"],
                LAG_SECONDS,
            ),
            fates: metrics.counter_vec(
                "fates_total",
                "Events by what became of them: applied (the table holds their version), superseded, dead",
                &["entity", "fate"],
            ),
            reasserted: metrics.counter_vec(
                "reasserted_total",
                "Rows produced again because an older event stood behind their own",
                &["entity"],
            ),
            late: metrics.counter_vec(
                "late_tombstones_total",
                "Tombstones that answer writes which came after their record was purged",
                &["entity"],
            ),
            dead_letters: metrics.counter_vec(
                "dead_letters_total",
                "Events that can never be applied and went to the topic of dead letters, by why",
                &["entity", "reason"],
            ),
            held: metrics.gauge_vec(
                "lane_held",
                "1 while the lane of a partition holds: the class of the failure, unknown-schema, older-than-ingest, clocks-disagree, brake, too-large",
                &["topic", "partition", "class"],
            ),
            batch_rows: metrics.histogram(
                "batch_rows",
                "Events in one transaction",
                &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0],
            ),
            apply: metrics.histogram("apply_seconds", "One transaction, from its begin to its commit", CALL_SECONDS),
            commit_failures: metrics.counter_vec(
                "commit_failures_total",
                "Commits of offsets that failed; they are tried again",
                &["reason"],
            ),
            offset_resets: metrics.counter(
                "offset_resets_total",
                "Times that the group's offset was not in the topic any more, and reading began at the earliest event",
            ),
            consumers_replaced: metrics.counter_vec(
                "consumers_replaced_total",
                "Consumers that were made anew in the same process: unsteady (without a place in the group for too long), name-taken (another member has the name), failed",
                &["reason"],
            ),
            rebalances: metrics.counter_vec("rebalances_total", "Changes of this member's assignment", &["kind"]),
            settles_dropped: metrics.counter(
                "settles_dropped_total",
                "Settles given up because Redis did not take them in time; the sweep settles their records, and the epoch is raised",
            ),
            depths: LaneDepths::new(),
        };
        metrics.collector(this.depths.clone());
        this.begin(catalog);
        this
    }

    /// Series exist from the start, so that a rate over the first event is no surprise.
    fn begin(&self, catalog: &Catalog) {
        for entity in catalog.iter().map(|entity| entity.name()) {
            self.write_lag.with_label_values(&[entity]);
            self.reasserted.with_label_values(&[entity]);
            self.late.with_label_values(&[entity]);
            for reason in Reason::ALL {
                self.dead_letters.with_label_values(&[entity, reason.as_str()]);
            }
            for fate in ["applied", "superseded", "dead"] {
                self.fates.with_label_values(&[entity, fate]);
            }
        }
        for kind in ["assigned", "revoked", "lost"] {
            self.rebalances.with_label_values(&[kind]);
        }
        for reason in GivenUp::REASONS {
            self.consumers_replaced.with_label_values(&[reason]);
        }
        for reason in
            ["RebalanceInProgress", "IllegalGeneration", "UnknownMemberId", "RequestTimedOut", ASSIGNMENT_LOST]
        {
            self.commit_failures.with_label_values(&[reason]);
        }
    }

    /// A partition has a lane that does not hold: a metric that is not there would say as little as a dead persister.
    pub(crate) fn opened(&self, Partition { topic, number }: &Partition) {
        for class in hold::classes() {
            self.held.with_label_values(&[&**topic, &number.to_string(), class]).set(0);
        }
    }

    /// What became of the events of a part.
    pub(crate) fn count(&self, entity: &str, applied: &[(Coalesced<'_>, Held)], letters: &[DeadLetter<'_>]) {
        let (mut held, mut superseded) = (0, 0);
        for (record, row) in applied {
            let (newest, older) = (record.newest, record.older);
            if row.version == record.version {
                held += newest;
                superseded += older;
            } else {
                superseded += newest + older;
            }
        }
        let new = || letters.iter().filter(|letter| !letter.noted);
        for letter in new() {
            self.dead_letters.with_label_values(&[entity, letter.reason.as_str()]).inc();
        }
        for (fate, events) in [("applied", held), ("superseded", superseded), ("dead", new().count() as u64)] {
            self.fates.with_label_values(&[entity, fate]).inc_by(events);
        }
        #[expect(clippy::cast_precision_loss, reason = "a batch has few rows")]
        self.batch_rows.observe((held + superseded) as f64);
    }

    /// Once per version applied.
    pub(crate) fn observe_lag(
        &self,
        entity: &str,
        records: &[Coalesced<'_>],
        held: &[Option<Held>],
        committed_at: u64,
    ) {
        let lag = self.write_lag.with_label_values(&[entity]);
        for (record, held) in records.iter().zip(held) {
            if held.is_some_and(|held| held.fresh && held.version == record.version) {
                lag.observe(clock::seconds_between(record.version.birth_micros(), committed_at));
            }
        }
    }
}
