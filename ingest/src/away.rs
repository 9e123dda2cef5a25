//! Who is away, and what a write does then (PROTOCOL R4, R8): whether it may go past Redis, from when on, and with which
//! version. What is decided here is decided before anything is published.

use std::sync::Arc;
use std::time::Duration;

use cache::{Cache, CacheError, Reading, WriteQueue};
use record::{RecordId, Version};
use service::{Dependency, FailureClass, clock};
use table::Database;
use tokio::time::Instant;

use crate::clock::{ClockWatch, Extrapolated, Verdict};
use crate::intent::Refusal;
use crate::slot::InstanceSlot;

/// What is asked of Redis beside storing the record: the less, the more of it can be done without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Keyed,
    Conditional,
}

/// A write that Redis did not take in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Untaken {
    /// Its script was never sent, or did nothing and never will.
    Undone,
    /// Its script may run until then.
    Unanswered { until: Instant },
}

/// R8: after the call of the script failed, may the write go past Redis? `read` is when `mine` was read, or later; `timeout`
/// is T. A script that was sent can run until T after that: no version is issued before, also where the connection broke
/// at once (`k38`). With a key or a precondition only Redis can tell what it did (`k36`).
pub(crate) fn past_redis(error: &CacheError, kind: Kind, read: Instant, timeout: Duration) -> Result<Untaken, Refusal> {
    match (error, kind) {
        (CacheError::Away, Kind::Conditional) => Err(Refusal::CacheAway),
        (CacheError::Away, _) => Ok(Untaken::Undone),
        // More than T.
        (CacheError::Unanswered(_), Kind::Plain) => {
            Ok(Untaken::Unanswered { until: read + timeout + Duration::from_millis(1) })
        }
        (CacheError::Unanswered(_) | CacheError::Unexpected(_), _) => Err(Refusal::OutcomeUnknown(None)),
        (CacheError::Saturated, _) => Err(Refusal::Busy),
        // It is there and takes no writes for a while (BUSY, MISCONF, NOREPLICAS, READONLY), which leaves it away for this
        // process: what goes past it is owed, and before that is declared (R16) no connection is used. A key may be known
        // there, though: the refusal may be that of another write of its batch.
        (CacheError::Refused { class: FailureClass::Transient | FailureClass::Saturated, .. }, Kind::Plain) => {
            Ok(Untaken::Undone)
        }
        // Nothing happened.
        (CacheError::Refused { .. }, _) => Err(Refusal::CacheAway),
    }
}

/// A version that no other process issues, and the moment from which on it may be answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Issued {
    pub(crate) version: Version,
    pub(crate) answer_from: Instant,
}

/// Issues versions without Redis.
#[derive(Debug)]
pub(crate) struct Away {
    pub(crate) accepts: bool,
    pub(crate) clock: Arc<ClockWatch>,
    pub(crate) slot: Arc<InstanceSlot>,
    pub(crate) cache: Cache,
    pub(crate) kafka: Dependency,
    pub(crate) mysql: Dependency,
    pub(crate) database: Database,
    /// D.
    pub(crate) disagree: Duration,
}

impl Away {
    /// R4, for a record of this name. The version is taken for good, whatever becomes of it, but only where it may be
    /// answered by `deadline`.
    pub(crate) async fn issue(
        &self,
        (entity, id): (&str, &RecordId),
        queue: &WriteQueue,
        deadline: Instant,
    ) -> Result<Issued, Refusal> {
        if !self.accepts {
            return Err(Refusal::CacheAway);
        }
        if !self.kafka.is_up() {
            return Err(Refusal::StoresAway);
        }
        if self.clock.verdict() == Verdict::Disagree {
            return Err(Refusal::ClocksDisagree);
        }
        if self.clock.knows_none() {
            self.ask_database().await?;
        }
        // No wait from here on: what the clocks say must be what the version is made of.
        if self.cache.is_quiet() {
            return Err(Refusal::Quiet);
        }
        let (monotonic, wall) = (clock::monotonic_micros(), clock::now_micros());
        let Extrapolated::Ahead(ahead) = self.clock.extrapolated(monotonic, wall) else {
            return Err(Refusal::ClocksDisagree);
        };
        let slot = self.slot.at(monotonic, wall).ok_or(Refusal::NoSlot)?;
        let now = Instant::now();
        let answer_from = |version| now + commit_wait(version, ahead, self.disagree);
        if answer_from(queue.seen()) > deadline {
            tracing::warn!(seen = queue.seen(), ahead, "the newest version is far ahead of the clocks");
            return Err(Refusal::ClocksDisagree);
        }
        self.cache.bypassed(entity, id);
        let version = queue.issue_away(ahead, slot);
        Ok(Issued { version, answer_from: answer_from(version.get()) })
    }

    /// A process that has not met Redis since its start asks another clock whether its own is right.
    async fn ask_database(&self) -> Result<(), Refusal> {
        if !self.mysql.is_up() {
            return Err(Refusal::StoresAway);
        }
        let sent = clock::now_micros();
        let now = self.database.now().await.map_err(|error| {
            tracing::debug!(%error, "the database's clock");
            Refusal::StoresAway
        })?;
        let reading = Reading { sent, now, received: clock::now_micros() };
        if self.clock.vouch(reading, clock::monotonic_micros()) {
            return Ok(());
        }
        tracing::error!(?reading, "without Redis no writes are taken: the database's clock does not vouch for ours");
        Err(Refusal::ClocksDisagree)
    }
}

/// R4: for how long a version may not be answered. More than 2D and a slot's 16 microseconds, and for as long as it is ahead
/// of what it was counted from: then every clock is past it, and whoever writes after the answer gets a higher one (`k41`).
fn commit_wait(version: u64, ahead: u64, disagree: Duration) -> Duration {
    disagree * 2 + Duration::from_millis(1) + Duration::from_micros(version.saturating_sub(ahead))
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Duration = Duration::from_millis(500);

    fn lost() -> CacheError {
        CacheError::Unanswered(std::io::Error::other("the connection broke").into())
    }

    #[tokio::test]
    async fn r8_k38_a_write_whose_reply_is_lost_goes_past_redis_more_than_t_after_its_clock_was_read() {
        let read = Instant::now();
        let Ok(Untaken::Unanswered { until }) = past_redis(&lost(), Kind::Plain, read, T) else {
            panic!("a plain write goes on");
        };
        assert!(until > read + T, "T after its clock was read the script may still run");
    }

    #[tokio::test]
    async fn r8_k36_with_a_key_or_a_precondition_a_lost_reply_leaves_the_outcome_unknown() {
        for kind in [Kind::Keyed, Kind::Conditional] {
            let decided = past_redis(&lost(), kind, Instant::now(), T);
            assert_eq!(decided, Err(Refusal::OutcomeUnknown(None)), "{kind:?}");
        }
    }

    #[test]
    fn r4_k41_a_version_that_is_ahead_of_its_clock_is_answered_later_by_as_much() {
        let (d, usual) = (Duration::from_millis(50), Duration::from_millis(101));
        assert_eq!(commit_wait(1_000_003, 1_000_000, d), usual + Duration::from_micros(3));
        assert_eq!(commit_wait(999_990, 1_000_000, d), usual, "rounded down");
        assert_eq!(commit_wait(3_000_000, 1_000_000, d), usual + Duration::from_secs(2));
    }

    #[tokio::test]
    async fn r8_past_a_redis_that_takes_no_writes_for_a_while_goes_what_asks_nothing_else_of_it() {
        let refused = |class| CacheError::Refused { code: "MISCONF".to_owned(), class };
        for class in [FailureClass::Transient, FailureClass::Saturated] {
            let decided = |kind| past_redis(&refused(class), kind, Instant::now(), T);
            assert_eq!(decided(Kind::Plain), Ok(Untaken::Undone), "nothing of it can run any more");
            assert_eq!(decided(Kind::Keyed), Err(Refusal::CacheAway), "its key may be known there");
            assert_eq!(decided(Kind::Conditional), Err(Refusal::CacheAway));
        }
        let fatal = past_redis(&refused(FailureClass::Fatal), Kind::Plain, Instant::now(), T);
        assert_eq!(fatal, Err(Refusal::CacheAway), "somebody must look at it");
    }

    #[tokio::test]
    async fn r8_what_was_never_sent_goes_past_redis_at_once_unless_it_has_a_precondition() {
        let decided = |kind| past_redis(&CacheError::Away, kind, Instant::now(), T);
        assert_eq!(decided(Kind::Plain), Ok(Untaken::Undone));
        assert_eq!(decided(Kind::Keyed), Ok(Untaken::Undone));
        assert_eq!(decided(Kind::Conditional), Err(Refusal::CacheAway));
    }
}
