//! What a lane does when it cannot go on: it holds, backs off, alarms, and stays in the group. Nothing is skipped.

use std::time::Duration;

use record::Reason;
use service::{Backoff, FailureClass};
use table::TableError;
use tokio_util::sync::CancellationToken;
use topic::TopicError;

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
    /// Another record's row stands in the way of a second unique key of the table.
    #[error("the row of the event at offset {offset} conflicts with another id's in a unique key of the table")]
    Displaced { offset: i64 },
}

impl LaneError {
    pub(crate) fn class(&self) -> FailureClass {
        match self {
            Self::Table(error) => error.class(),
            Self::Topic(error) => error.class(),
            Self::Poison { .. } | Self::Displaced { .. } => FailureClass::Poison,
        }
    }
}

/// One hold of a lane: from its first failure to its next success.
#[derive(Debug)]
pub(crate) struct Hold {
    backoff: Backoff,
    class: Option<FailureClass>,
}

impl Hold {
    pub(crate) fn new() -> Self {
        Self { backoff: Backoff::new(Duration::from_millis(5), Duration::from_secs(30)), class: None }
    }

    /// Waits before the next try. `false`: the lane is to stop instead.
    pub(crate) async fn wait(&mut self, error: &LaneError, lane: &str, draining: &CancellationToken) -> bool {
        let class = error.class();
        // Once per hold and class, not once per try.
        if self.class.replace(class) != Some(class) {
            match class {
                FailureClass::Transient => tracing::warn!(%error, lane, "lane {lane} holds: {error}"),
                _ => tracing::error!(%error, lane, %class, "lane {lane} holds: {error}"),
            }
        }
        let delay = self.backoff.next(rand::random());
        tokio::select! {
            () = tokio::time::sleep(delay) => true,
            () = draining.cancelled() => false,
        }
    }

    /// Was there a failure at all?
    pub(crate) fn ended(&self, lane: &str) {
        if self.class.is_some() {
            tracing::info!(lane, tries = self.backoff.attempts(), "lane {lane} goes on");
        }
    }
}
