//! Who is away, and what a write does then (PROTOCOL R4, R8): whether it may go past Redis, from when on, and with which
//! version. What is decided here is decided before anything is published.

use std::sync::Arc;
use std::time::Duration;

use cache::{Cache, CacheError, Reading, WriteQueue};
use record::Version;
use service::{Dependency, clock};
use table::Database;
use tokio::time::Instant;

use crate::clock::{ClockWatch, Extrapolated, Verdict};
use crate::slot::InstanceSlot;
use crate::write::Refusal;

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
    /// Its script was never sent.
    Unsent,
    /// Its script may run until then.
    Unanswered { until: Instant },
}

/// R8: after the call of the script failed, may the write go past Redis? `read` is when `mine` was read, or later; `timeout`
/// is T. A script that was sent can run until T after that: no version is issued before, also where the connection broke
/// at once (`k38`). With a key or a precondition only Redis can tell what it did (`k36`).
pub(crate) fn past_redis(error: &CacheError, kind: Kind, read: Instant, timeout: Duration) -> Result<Untaken, Refusal> {
    match (error, kind) {
        (CacheError::Away, Kind::Conditional) => Err(Refusal::CacheAway),
        (CacheError::Away, _) => Ok(Untaken::Unsent),
        // More than T.
        (CacheError::Unanswered(_), Kind::Plain) => {
            Ok(Untaken::Unanswered { until: read + timeout + Duration::from_millis(1) })
        }
        (CacheError::Unanswered(_) | CacheError::Unexpected(_), _) => Err(Refusal::OutcomeUnknown(None)),
        (CacheError::Saturated, _) => Err(Refusal::Busy),
        // It is there and says no; nothing happened.
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
    /// R4. The version is taken for good, whatever becomes of it.
    pub(crate) async fn issue(&self, queue: &WriteQueue) -> Result<Issued, Refusal> {
        if !self.accepts {
            return Err(Refusal::CacheAway);
        }
        if !self.kafka.is_up() {
            return Err(Refusal::StoresAway);
        }
        if self.clock.extrapolated(0, 0) == Extrapolated::Unread {
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
        if self.clock.verdict() == Verdict::Disagree {
            return Err(Refusal::ClocksDisagree);
        }
        let slot = self.slot.at(monotonic, wall).ok_or(Refusal::NoSlot)?;
        self.cache.bypassed();
        let version = queue.issue_away(ahead, slot);
        // More than 2D and a slot's 16 microseconds: then every clock is past the version, and whoever writes after the
        // answer gets a higher one (`k41`).
        Ok(Issued { version, answer_from: Instant::now() + self.disagree * 2 + Duration::from_millis(1) })
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

    #[tokio::test]
    async fn r8_what_was_never_sent_goes_past_redis_at_once_unless_it_has_a_precondition() {
        let decided = |kind| past_redis(&CacheError::Away, kind, Instant::now(), T);
        assert_eq!(decided(Kind::Plain), Ok(Untaken::Unsent));
        assert_eq!(decided(Kind::Keyed), Ok(Untaken::Unsent));
        assert_eq!(decided(Kind::Conditional), Err(Refusal::CacheAway));
    }
}
