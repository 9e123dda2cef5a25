//! What can go wrong with a call to Kafka, decided once and on codes.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use service::FailureClass;

/// A call to Kafka that did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TopicError {
    /// The local queue of the producer is full; nothing was sent.
    #[error("the producer's queue is full")]
    QueueFull,
    /// The topic is not there, or not yet known to be as it must be (PROTOCOL R17); nothing was sent.
    #[error("the topic is not known to be fit for use")]
    Unchecked,
    /// No acknowledgement in time: the event may be in the topic or not.
    #[error("no acknowledgement from Kafka")]
    Unacknowledged,
    /// The event is larger than topic or broker take. It never will be taken.
    #[error("the event is too large for the topic")]
    TooLarge,
    /// The client itself can do nothing more and must be replaced.
    #[error("the Kafka client failed for good: {0}")]
    Fatal(String),
    /// A member's name (`--group-instance-id`) is that of another one: of another process, or of one that died and is not given
    /// up yet. The client itself can do nothing more and must be replaced once the name is free.
    #[error("the name of this member is another one's: {0}")]
    NameTaken(String),
    /// Kafka answered an error.
    #[error("Kafka: {0}")]
    Refused(KafkaError),
}

impl TopicError {
    /// The class by which callers decide.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self {
            Self::QueueFull => FailureClass::Saturated,
            Self::Unacknowledged | Self::Unchecked => FailureClass::Transient,
            Self::TooLarge => FailureClass::Poison,
            Self::Fatal(_) | Self::NameTaken(_) => FailureClass::Fatal,
            Self::Refused(error) => match error.rdkafka_error_code() {
                Some(
                    Code::TopicAuthorizationFailed
                    | Code::ClusterAuthorizationFailed
                    | Code::GroupAuthorizationFailed
                    | Code::SaslAuthenticationFailed
                    | Code::InvalidTopic
                    | Code::PolicyViolation
                    // Of the group: its other members have another assignor, protocol or type, or its bounds are others.
                    | Code::InconsistentGroupProtocol
                    | Code::InvalidSessionTimeout
                    | Code::GroupMaxSizeReached
                    | Code::UnsupportedAssignor,
                ) => FailureClass::Fatal,
                _ => FailureClass::Transient,
            },
        }
    }
}

impl From<KafkaError> for TopicError {
    fn from(error: KafkaError) -> Self {
        match error.rdkafka_error_code() {
            Some(Code::QueueFull) => Self::QueueFull,
            Some(Code::MessageTimedOut | Code::RequestTimedOut | Code::PurgeInflight | Code::PurgeQueue) => {
                Self::Unacknowledged
            }
            Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize) => Self::TooLarge,
            Some(Code::Fatal) => Self::Fatal(error.to_string()),
            _ => Self::Refused(error),
        }
    }
}
