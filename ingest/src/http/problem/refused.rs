//! What write path and read path refuse, as problems.

use service::FailureClass;

use super::{Kind, Problem};
use crate::intent::Refusal;
use crate::read::ReadError;

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::ClocksDisagree => {
                Self::new(Kind::ClocksDisagree, "the clocks of the servers disagree; nothing was written, try again")
            }
            Refusal::Full => Self::new(
                Kind::Full,
                "too much waits for the topic or the database; nothing was written, try again later",
            ),
            Refusal::Busy => Self::new(Kind::Busy, "nothing was written, try again after the time given"),
            Refusal::Quiet => Self::new(
                Kind::CacheChanged,
                "no versions are given out for a moment; nothing was written, try again after the time given",
            ),
            Refusal::CacheAway => Self::new(
                Kind::CacheAway,
                "nothing was written, try again after the time given; without the cache no precondition can be checked and no patch merged, nor \
                 whether a record without an id of its own is there already",
            ),
            Refusal::NoSlot => Self::new(
                Kind::NoInstanceSlot,
                "nothing was written: this instance may not give out versions without the cache, since it has no \
                 --instance-slot of its own and holds no lease of one; try again after the time given",
            ),
            Refusal::TopicAway => Self::new(
                Kind::TopicAway,
                "Prefer: state=logged cannot be met; nothing was written, try again after the time given, or without it",
            ),
            Refusal::StoresAway => Self::new(Kind::StoresAway, "nothing was written, try again after the time given"),
            Refusal::RowUnknown => Self::new(
                Kind::DatabaseAway,
                "the record is not cached, so that no precondition can be checked and no patch merged; nothing was written, try again after the \
                 time given",
            ),
            Refusal::Incomplete => Self::new(
                Kind::CacheIncomplete,
                "after a loss of the cache, or after the database has refused a write to this record, no precondition can be \
                 checked and no patch merged until all that was on its way is in the database; nothing was written, try again after the time given",
            ),
            Refusal::KeyReused => Self::new(
                Kind::IdempotencyKeyReused,
                "the same key came with another method, path, precondition, content type or body; nothing was written",
            ),
            Refusal::PreconditionFailed(version) => {
                let detail = match version {
                    Some(_) => "the record has the version given here; nothing was written",
                    None => "there is no such record; nothing was written",
                };
                Self { version, ..Self::new(Kind::PreconditionFailed, detail) }
            }
            Refusal::OutcomeUnknown(version) => {
                let detail = "the write may have happened, or may still happen; while the cache is there it is harmless to send it \
                     again with the same id and the same key or precondition";
                Self { version, ..Self::new(Kind::OutcomeUnknown, detail) }
            }
            Refusal::KeyNotKept(version) => {
                let detail = "the cache is away: the write may have happened, or may still happen, and its key was neither looked up \
                     nor kept. Sent again it may be a second write, over what others have written since: read the record \
                     first, or send it again with If-Match";
                Self { version: Some(version), key_unchecked: true, ..Self::new(Kind::OutcomeUnknown, detail) }
            }
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Cache(error) => {
                tracing::debug!(%error, "a read");
                let detail =
                    "it may have a newer version than the database and does not answer; try again after the time given";
                Self::new(Kind::CacheAway, detail)
            }
            ReadError::Table(error) if error.class() == FailureClass::Fatal => {
                tracing::error!(%error, "a row cannot be read: {error}");
                Self::new(Kind::UnreadableRow, "the table is not as this service expects it; its log says more")
            }
            ReadError::Table(_) => Self::new(
                Kind::DatabaseAway,
                "the record is not cached, so it cannot be told whether it exists; try again after the time given",
            ),
            ReadError::Stored(_) => Self::unreadable(),
        }
    }
}
