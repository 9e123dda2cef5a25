//! What a lane does when it cannot go on: it holds, backs off, alarms, and stays in the group. Nothing is skipped.

use std::time::Duration;

use prometheus::IntGauge;
use record::{Reason, SchemaId};
use service::{Backoff, FailureClass};
use table::TableError;
use tokio_util::sync::CancellationToken;
use topic::{Partition, TopicError};

use crate::metrics::PersisterMetrics;

/// Why a batch did not go through. Nothing of it may be committed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaneError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("re-assert: {0}")]
    Topic(#[from] TopicError),
    /// An event that can never be applied. Until it can be moved to the dead letters its lane holds.
    #[error("the event at offset {offset} cannot be applied: {reason}: {detail}", reason = .reason.as_str())]
    Poison { offset: i64, reason: Reason, detail: String },
    /// An event with a schema that is not known here, and not known long enough to say what that means.
    #[error(
        "the event at offset {offset} has schema id {schema}, which is unknown here: is this persister older \
         than ingest? Restart it with schema id {schema}"
    )]
    UnknownSchema { offset: i64, schema: SchemaId },
    /// Neither that event nor any behind it can be read.
    #[error(
        "the event at offset {offset} has schema id {schema}, which is unknown here, and nothing behind it can be read: this \
         persister is older than ingest: restart with schema id {schema}"
    )]
    Older { offset: i64, schema: SchemaId },
    /// Another record's row stands in the way of a second unique key of the table.
    #[error("the row of the event at offset {offset} conflicts with another id's in a unique key of the table")]
    Displaced { offset: i64 },
}

impl LaneError {
    /// The offset of the one event that is in the way; `None` where the whole batch fails alike.
    pub(crate) fn blocks(&self) -> Option<i64> {
        match self {
            Self::Poison { offset, .. }
            | Self::UnknownSchema { offset, .. }
            | Self::Older { offset, .. }
            | Self::Displaced { offset } => Some(*offset),
            Self::Table(_) | Self::Topic(_) => None,
        }
    }

    /// The label in `lane_held`: the class of the failure, and two of its own for what no class says.
    fn class(&self) -> &'static str {
        let class = match self {
            Self::Table(error) => error.class(),
            Self::Topic(error) => error.class(),
            Self::Poison { .. } | Self::Displaced { .. } => FailureClass::Poison,
            Self::UnknownSchema { .. } => return UNKNOWN_SCHEMA,
            Self::Older { .. } => return OLDER,
        };
        class.as_str()
    }

    /// Whether it goes away by itself, most likely: then it is no error yet.
    fn passes(&self) -> bool {
        self.class() == FailureClass::Transient.as_str()
    }
}

const UNKNOWN_SCHEMA: &str = "unknown-schema";
const OLDER: &str = "older-than-ingest";

/// Every value of the label `class` in `lane_held`.
pub(crate) fn classes() -> impl Iterator<Item = &'static str> {
    use FailureClass::{Fatal, Poison, Saturated, Transient};
    let classes = [Transient, Saturated, Poison, Fatal].map(|class| class.as_str());
    classes.into_iter().chain([UNKNOWN_SCHEMA, OLDER])
}

/// A hold of a lane, from its first failure to the next success. While it lasts, `lane_held` shows it.
#[derive(Debug)]
pub(crate) struct Hold<'a> {
    partition: &'a Partition,
    metrics: &'a PersisterMetrics,
    backoff: Backoff,
    shown: Option<&'static str>,
}

impl<'a> Hold<'a> {
    /// Nothing has failed yet.
    pub(crate) fn new(partition: &'a Partition, metrics: &'a PersisterMetrics) -> Self {
        let backoff = Backoff::new(Duration::from_millis(5), Duration::from_secs(30));
        Self { partition, metrics, backoff, shown: None }
    }

    /// Waits before the next try. `false`: the lane is to stop instead.
    pub(crate) async fn wait(&mut self, error: &LaneError, draining: &CancellationToken) -> bool {
        self.show(error);
        let delay = self.backoff.next(rand::random());
        tokio::select! {
            () = tokio::time::sleep(delay) => true,
            () = draining.cancelled() => false,
        }
    }

    /// Once per class of failure, not once per try.
    fn show(&mut self, error: &LaneError) {
        let class = error.class();
        if self.shown == Some(class) {
            return;
        }
        self.hide();
        self.shown = Some(class);
        self.gauge(class).set(1);
        let Partition { topic, number } = self.partition;
        if error.passes() {
            tracing::warn!(%topic, number, class, "the lane of {topic}/{number} holds: {error}");
        } else {
            tracing::error!(%topic, number, class, "the lane of {topic}/{number} holds: {error}");
        }
    }

    fn hide(&self) {
        if let Some(class) = self.shown {
            self.gauge(class).set(0);
        }
    }

    fn gauge(&self, class: &str) -> IntGauge {
        let Partition { topic, number } = self.partition;
        self.metrics.held.with_label_values(&[&**topic, &number.to_string(), class])
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.hide();
        if self.shown.is_some() {
            let Partition { topic, number } = self.partition;
            let tries = self.backoff.attempts();
            tracing::info!(%topic, number, tries, "the hold of the lane of {topic}/{number} has ended");
        }
    }
}
