//! PROTOCOL R2, the half that is judged from replies: does Redis' clock agree with ours? Pure but for one atomic.
//!
//! Redis' clock was read between `sent` and `received`, which no delay can falsify. A reading outside of that interval,
//! widened by D, stops all writes until two readings in a row agree.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use cache::Reading;

/// Readings in a row that must agree before writes are issued again.
const ENOUGH: u8 = 2;

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
        Self {
            disagree_micros: u64::try_from(d.as_micros()).unwrap_or(u64::MAX),
            agreements: AtomicU8::new(ENOUGH - 1),
        }
    }

    /// Takes in a reading.
    pub fn observe(&self, reading: Reading) {
        let Reading { sent, now, received } = reading;
        let early = sent.saturating_sub(self.disagree_micros);
        let late = received.saturating_add(self.disagree_micros);
        let before = self.agreements.load(Ordering::Relaxed);
        let after = if (early..=late).contains(&now) { ENOUGH.min(before.saturating_add(1)) } else { 0 };
        self.agreements.store(after, Ordering::Relaxed);
        if after == 0 && before > 0 {
            tracing::error!(
                ahead_us = now.cast_signed() - received.cast_signed(),
                "the clocks of Redis and of this machine disagree: no writes are issued until they agree"
            );
        }
    }

    /// May a write be issued?
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.agreements.load(Ordering::Relaxed) >= ENOUGH
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
        watch.observe(Reading { sent: 100, now: 105, received: 110 });
        assert!(watch.agrees());
        watch.observe(Reading { sent: 200, now: 261, received: 210 });
        assert!(!watch.agrees(), "Redis is more than D ahead of the moment its answer came");
        watch.observe(Reading { sent: 300, now: 305, received: 310 });
        assert!(!watch.agrees(), "one reading is not enough");
        watch.observe(Reading { sent: 400, now: 405, received: 410 });
        assert!(watch.agrees());
    }

    proptest! {
        #[test]
        fn delay_alone_never_looks_like_disagreement(sent in 0u64..1_000_000, there in 0u64..5_000_000, back in 0u64..5_000_000) {
            let watch = watch();
            watch.observe(Reading { sent, now: sent + there, received: sent + there + back });
            prop_assert!(watch.agrees());
        }
    }
}
