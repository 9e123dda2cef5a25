//! PROTOCOL R2, the half that is judged from replies: does Redis' clock agree with ours? Pure but for one atomic.
//!
//! Redis' clock was read between `sent` and `received`, which no delay can falsify. A reading outside of that interval,
//! widened by D, stops all writes until two readings in a row agree.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use cache::Reading;
use service::clock;

/// Readings in a row that must agree before writes are issued again.
const ENOUGH: u8 = 2;

/// Not a number of agreements: no reading has come yet.
const UNREAD: u8 = u8::MAX;

/// What the readings say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Writes may be issued.
    Agree,
    /// No write may be issued.
    Disagree,
    /// Redis has not answered yet.
    Unread,
}

/// Whether writes may be issued.
#[derive(Debug)]
pub struct ClockWatch {
    disagree_micros: u64,
    agreements: AtomicU8,
}

impl ClockWatch {
    /// `d` is D. The first reading that agrees is enough: there is no disagreement yet to recover from.
    #[must_use]
    pub fn new(d: Duration) -> Self {
        Self { disagree_micros: clock::micros(d), agreements: AtomicU8::new(UNREAD) }
    }

    /// Takes in a reading.
    pub fn observe(&self, reading: Reading) {
        let Reading { sent, now, received } = reading;
        let early = sent.saturating_sub(self.disagree_micros);
        let late = received.saturating_add(self.disagree_micros);
        let agrees = (early..=late).contains(&now);
        // Two readings that come at once must not undo each other.
        let counted = |before: u8| Some(if agrees { before.saturating_add(1).min(ENOUGH) } else { 0 });
        let before = self.agreements.fetch_update(Ordering::Relaxed, Ordering::Relaxed, counted);
        if !agrees && before != Ok(0) {
            tracing::error!(
                ahead_us = now.cast_signed() - received.cast_signed(),
                "the clocks of Redis and of this machine disagree: no writes are issued until they agree"
            );
        }
    }

    /// May a write be issued?
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self.agreements.load(Ordering::Relaxed) {
            UNREAD => Verdict::Unread,
            ENOUGH => Verdict::Agree,
            _ => Verdict::Disagree,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn watch() -> ClockWatch {
        ClockWatch::new(Duration::from_micros(50))
    }

    #[test]
    fn a_clock_that_is_ahead_stops_writes_until_two_readings_agree() {
        let watch = watch();
        assert_eq!(watch.verdict(), Verdict::Unread, "nothing is known before the first reading");
        watch.observe(Reading { sent: 100, now: 105, received: 110 });
        assert_eq!(watch.verdict(), Verdict::Agree);
        watch.observe(Reading { sent: 200, now: 261, received: 210 });
        assert_eq!(watch.verdict(), Verdict::Disagree, "Redis is more than D ahead of the moment its answer came");
        watch.observe(Reading { sent: 300, now: 305, received: 310 });
        assert_eq!(watch.verdict(), Verdict::Disagree, "one reading is not enough");
        watch.observe(Reading { sent: 400, now: 405, received: 410 });
        assert_eq!(watch.verdict(), Verdict::Agree);
    }

    proptest! {
        #[test]
        fn delay_alone_never_looks_like_disagreement(sent in 0u64..1_000_000, there in 0u64..5_000_000, back in 0u64..5_000_000) {
            let watch = watch();
            watch.observe(Reading { sent, now: sent + there, received: sent + there + back });
            prop_assert_eq!(watch.verdict(), Verdict::Agree);
        }
    }
}
