//! Why a consumer was given up, and another one takes its place.

use std::time::Duration;

use topic::TopicError;

/// Why it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GivenUp {
    /// It hangs, most likely.
    #[error("it was without a steady place in the group for {} s, while Kafka answered", .0.as_secs())]
    Unsteady(Duration),
    /// Another member has its name.
    #[error(
        "another one has its --group-instance-id, or had it when it died: it waits until the name is free. Is a second process \
         started with the same --group-instance-id? ({0})"
    )]
    NameTaken(String),
    /// librdkafka says that it is of no use any more.
    #[error("it failed for good: {0}")]
    Failed(TopicError),
}

impl From<TopicError> for GivenUp {
    fn from(error: TopicError) -> Self {
        match error {
            TopicError::NameTaken(reason) => Self::NameTaken(reason),
            error => Self::Failed(error),
        }
    }
}

impl GivenUp {
    /// Every value of the label `reason`.
    pub(crate) const REASONS: [&str; 3] = ["unsteady", "name-taken", "failed"];

    pub(crate) fn reason(&self) -> &'static str {
        let [unsteady, taken, failed] = Self::REASONS;
        match self {
            Self::Unsteady(_) => unsteady,
            Self::NameTaken(_) => taken,
            Self::Failed(_) => failed,
        }
    }
}
