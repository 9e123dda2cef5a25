//! What of a replay is shown while it runs, and told at its end.

use std::time::Duration;

use prometheus::{IntCounterVec, IntGaugeVec};
use serde_json::json;
use service::Metrics;

use super::run::Run;
use crate::commands::say;
use crate::replay::Tally;

/// What of a replay is shown while it runs.
#[derive(Clone, Debug)]
pub(super) struct ReplayMetrics {
    events: IntCounterVec,
    changed: IntCounterVec,
    poison: IntCounterVec,
    remaining: IntGaugeVec,
}

impl ReplayMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let counter = |name, help| metrics.counter_vec(name, help, &["entity"]);
        Self {
            events: counter("replay_events_total", "Events that a replay has brought to the table"),
            changed: counter("replay_rows_changed_total", "Changes of rows by a replay"),
            poison: counter("replay_poison_total", "Events that a replay could not apply"),
            remaining: metrics.gauge_vec(
                "replay_remaining_events",
                "Offsets between where a replay is and its end; of those that compaction took nothing comes",
                &["entity"],
            ),
        }
    }

    pub(super) fn show(&self, entity: &str, done: &Tally, remaining: i64) {
        for (counter, value) in
            [(&self.events, done.events), (&self.changed, done.changed), (&self.poison, done.poison)]
        {
            let counter = counter.with_label_values(&[entity]);
            counter.inc_by(value.saturating_sub(counter.get()));
        }
        self.remaining.with_label_values(&[entity]).set(remaining);
    }
}

impl Run<'_> {
    pub(super) fn tell_progress(&self, tally: &Tally, remaining: i64, elapsed: Duration) {
        let (entity, Tally { events, changed, poison, .. }) = (self.entity.name(), tally);
        #[expect(clippy::cast_precision_loss, reason = "for a human")]
        let rate = *events as f64 / elapsed.as_secs_f64().max(0.001);
        tracing::info!(
            entity,
            events,
            changed,
            poison,
            remaining,
            rate,
            "{entity}: {events} events at {rate:.0} a second, {remaining} offsets remain"
        );
    }

    pub(super) fn tell(&self, tally: &Tally) {
        let (entity, Tally { events, changed, dead, poison, named }) = (self.entity.name(), tally);
        if self.settings.json {
            let object = json!({ "entity": entity, "events": events, "changed": changed, "dead": dead, "poison": poison, "named": named });
            return say(&format!("{object}\n"));
        }
        say(&format!(
            "{entity}: {events} events, {changed} rows changed, {dead} dead letters left out, {poison} cannot be applied\n"
        ));
        for poison in named {
            say(&format!("{entity} {poison}\n"));
        }
    }
}
