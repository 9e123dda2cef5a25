//! What a lane does when it cannot go on: it holds, backs off, alarms, and stays in the group. Nothing is skipped.

use std::future::Future;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use record::{Reason, SchemaId};
use service::{Backoff, FailureClass};
use table::TableError;
use tokio_util::sync::CancellationToken;
use topic::{Partition, TopicError};

use crate::commit::{Generation, OffsetTracker};
use crate::lane::{Lane, Surroundings};
use crate::metrics::PersisterMetrics;

/// Why a lane does not go on. Nothing is skipped, and nothing behind it is committed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaneError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("re-assert or dead letter: {0}")]
    Topic(#[from] TopicError),
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
    /// This machine's clock and the database's do not agree on whether an event is from the future.
    #[error(
        "the event at offset {offset} is from the future by this machine's clock, and by the database's it is not: one of them is \
         wrong by {} s or more; set it right, and the lane goes on", .apart.as_secs()
    )]
    Clocks { offset: i64, apart: Duration },
    /// One dead letter too many.
    #[error(
        "the event at offset {offset} would be one dead letter too many ({reason}: {detail}): mend the cause, and the lane goes \
         on; or let such events go with `persister dead accept --until`", reason = .reason.as_str()
    )]
    Braked { offset: i64, reason: Reason, detail: String },
    /// R18: one late tombstone too many.
    #[error(
        "the event at offset {offset} is one too many that is older than the purge mark and has no row: was the table emptied? \
         Restore it, and the lane goes on; or let such events go with `persister dead accept --until`"
    )]
    Emptied { offset: i64 },
}

impl LaneError {
    /// The label in `lane_held`: the class of the failure, and some of its own for what no class says.
    fn class(&self) -> &'static str {
        match self {
            // It was in the topic, so it is too large only for where it is to go.
            Self::Topic(TopicError::TooLarge) => TOO_LARGE,
            Self::Table(error) => error.class().as_str(),
            Self::Topic(error) => error.class().as_str(),
            Self::UnknownSchema { .. } => UNKNOWN_SCHEMA,
            Self::Older { .. } => OLDER,
            Self::Clocks { .. } => CLOCKS,
            Self::Braked { .. } | Self::Emptied { .. } => BRAKE,
        }
    }

    /// Whether it goes away by itself, most likely: then it is no error yet.
    fn passes(&self) -> bool {
        self.class() == FailureClass::Transient.as_str()
    }
}

const UNKNOWN_SCHEMA: &str = "unknown-schema";
const OLDER: &str = "older-than-ingest";
const CLOCKS: &str = "clocks-disagree";
const BRAKE: &str = "brake";
const TOO_LARGE: &str = "too-large";

/// Every value of the label `class` in `lane_held`.
pub(crate) fn classes() -> impl Iterator<Item = &'static str> {
    use FailureClass::{Fatal, Saturated, Transient};
    let classes = [Transient, Saturated, Fatal].map(|class| class.as_str());
    classes.into_iter().chain([UNKNOWN_SCHEMA, OLDER, CLOCKS, BRAKE, TOO_LARGE])
}

/// A hold of a lane, from its first failure to the next success. While it lasts, `lane_held` shows it, as long as no other lane
/// has come in the place of this one.
#[derive(Debug)]
pub(crate) struct Hold<'a> {
    partition: &'a Partition,
    generation: Generation,
    offsets: &'a Mutex<OffsetTracker>,
    metrics: &'a PersisterMetrics,
    backoff: Backoff,
    shown: Option<&'static str>,
}

impl<'a> Hold<'a> {
    /// Nothing has failed yet.
    pub(crate) fn new(partition: &'a Partition, generation: Generation, surroundings: &'a Surroundings) -> Self {
        Self::of(partition, generation, &surroundings.offsets, &surroundings.metrics)
    }

    fn of(
        partition: &'a Partition,
        generation: Generation,
        offsets: &'a Mutex<OffsetTracker>,
        metrics: &'a PersisterMetrics,
    ) -> Self {
        let backoff = Backoff::new(Duration::from_millis(5), Duration::from_secs(30));
        Self { partition, generation, offsets, metrics, backoff, shown: None }
    }

    /// Waits before the next try. `false`: the lane is to stop instead.
    pub(crate) async fn wait(&mut self, error: &LaneError, draining: &CancellationToken) -> bool {
        let delay = self.backoff.next(rand::random());
        self.wait_for(error, delay, draining).await
    }

    /// The same, for a time that somebody else has set.
    pub(crate) async fn wait_for(&mut self, error: &LaneError, delay: Duration, draining: &CancellationToken) -> bool {
        self.show(error);
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
        self.set(class, 1);
        let Partition { topic, number } = self.partition;
        if error.passes() {
            tracing::warn!(%topic, number, class, "the lane of {topic}/{number} holds: {error}");
        } else {
            tracing::error!(%topic, number, class, "the lane of {topic}/{number} holds: {error}");
        }
    }

    fn hide(&self) {
        if let Some(class) = self.shown {
            self.set(class, 0);
        }
    }

    /// The series are the partition's: of a lane that outlives its assignment they say nothing.
    fn set(&self, class: &str, value: i64) {
        let offsets = self.offsets.lock().unwrap_or_else(PoisonError::into_inner);
        if !offsets.is_outlived(self.partition, self.generation) {
            let Partition { topic, number } = self.partition;
            self.metrics.held.with_label_values(&[&**topic, &number.to_string(), class]).set(value);
        }
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

impl Lane {
    /// Tries a step until it succeeds, or the partition is taken away. What has an effect of its own outside of the database is
    /// to be a step of its own, or it is done again with whatever fails behind it.
    pub(crate) async fn insist<T, F>(&self, step: impl Fn() -> F) -> ControlFlow<(), T>
    where
        F: Future<Output = Result<T, LaneError>>,
    {
        let mut hold = self.hold();
        loop {
            self.pulse.beat();
            match step().await {
                Ok(done) => return ControlFlow::Continue(done),
                Err(error) => self.wait(&mut hold, &error).await?,
            }
        }
    }

    /// A hold of this lane, in which nothing has failed yet.
    pub(crate) fn hold(&self) -> Hold<'_> {
        Hold::new(&self.partition, self.generation, &self.surroundings)
    }

    /// Waits before the next try of what has failed. `Break`: the partition is taken away.
    pub(crate) async fn wait(&self, hold: &mut Hold<'_>, error: &LaneError) -> ControlFlow<()> {
        self.pulse.rest();
        if hold.wait(error, &self.draining).await { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

#[cfg(test)]
mod tests {
    use service::{Metrics, schemas};

    use super::*;

    #[test]
    fn the_hold_of_a_lane_that_outlives_its_assignment_neither_hides_nor_shows_anything_of_its_successors() {
        let schemas = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas"));
        let metrics = PersisterMetrics::new(&Metrics::new(), &schemas::load(schemas).expect("schemas"));
        let (partition, offsets) = (Partition { topic: "t".into(), number: 0 }, Mutex::<OffsetTracker>::default());
        let begin = |generation| {
            offsets.lock().expect("nobody panics").begin(partition.clone(), Generation(generation));
            metrics.opened(&partition);
        };
        let shown = |class: &str| metrics.held.with_label_values(&["t", "0", class]).get();
        let [away, unknown] = [
            LaneError::Topic(TopicError::Unacknowledged),
            LaneError::UnknownSchema { offset: 3, schema: SchemaId::new(9) },
        ];
        let hold = |generation| Hold::of(&partition, Generation(generation), &offsets, &metrics);
        begin(1);
        let mut zombie = hold(1);
        zombie.show(&away);
        assert_eq!((shown("transient"), shown(UNKNOWN_SCHEMA)), (1, 0));
        begin(2);
        assert_eq!(shown("transient"), 0, "the new lane does not hold");
        let mut successor = hold(2);
        successor.show(&away);
        zombie.show(&unknown);
        assert_eq!((shown("transient"), shown(UNKNOWN_SCHEMA)), (1, 0), "the zombie's");
        drop(zombie);
        assert_eq!(shown("transient"), 1, "the successor holds still");
        drop(successor);
        assert_eq!(shown("transient"), 0);
        let mut last = hold(2);
        last.show(&away);
        offsets.lock().expect("nobody panics").end(&partition);
        drop(last);
        assert_eq!(shown("transient"), 0, "of a partition that nobody here has");
    }
}
