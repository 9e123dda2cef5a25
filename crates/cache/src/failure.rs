//! What can go wrong with a call to Redis, decided once and on codes.

use redis::{ErrorKind, RedisError, ServerErrorKind};
use service::FailureClass;

/// A call to Redis that gave no answer of its script.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CacheError {
    /// There is no connection: nothing was sent, nothing happened.
    #[error("Redis is away")]
    Away,
    /// Sent, and no answer came: it may have happened.
    #[error("no answer from Redis")]
    Unanswered(#[source] RedisError),
    /// Redis answered an error; nothing happened of what it was asked.
    #[error("Redis refused: {code}")]
    Refused {
        /// Redis' own code, such as `OOM`.
        code: String,
        /// What it means.
        class: FailureClass,
    },
    /// Our own queue in front of Redis is full; nothing was sent.
    #[error("too many writes in flight")]
    Saturated,
    /// Redis answered something that no script of ours does.
    #[error("Redis answered what no script of ours does: {0}")]
    Unexpected(String),
}

impl CacheError {
    /// The class by which callers decide.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Away | Self::Unanswered(_) => FailureClass::Transient,
            Self::Refused { class, .. } => *class,
            Self::Saturated => FailureClass::Saturated,
            Self::Unexpected(_) => FailureClass::Fatal,
        }
    }

    /// An error that met one entry of a script's batch.
    pub(crate) fn refused_here(code: String) -> Self {
        Self::Refused { class: class(ServerErrorKind::ResponseError, &code), code }
    }

    /// Whoever was to bring the answer is gone: what was queued may have been sent or not.
    pub(crate) fn nobody_answers() -> Self {
        Self::Unanswered(std::io::Error::other("the writer has ended").into())
    }
}

impl From<RedisError> for CacheError {
    fn from(error: RedisError) -> Self {
        match error.kind() {
            ErrorKind::Server(kind) => {
                let code = error.code().unwrap_or("ERR").to_owned();
                Self::Refused { class: class(kind, &code), code }
            }
            ErrorKind::Io => Self::Unanswered(error),
            _ if error.is_timeout() || error.is_connection_dropped() => Self::Unanswered(error),
            ErrorKind::Extension => Self::refused_here(error.code().unwrap_or("ERR").to_owned()),
            _ => Self::Unexpected(error.to_string()),
        }
    }
}

/// FACTS of the server: which of its error codes go away by themselves.
fn class(kind: ServerErrorKind, code: &str) -> FailureClass {
    use ServerErrorKind as S;
    match (kind, code) {
        (S::BusyLoading | S::TryAgain | S::ClusterDown | S::MasterDown | S::ReadOnly | S::NoScript, _)
        | (_, "BUSY" | "NOREPLICAS") => FailureClass::Transient,
        (_, "OOM" | "MISCONF") => FailureClass::Saturated,
        _ => FailureClass::Fatal,
    }
}
