//! The clocks: does Redis' clock agree with ours (PROTOCOL R2, the half that is judged from replies), and what does it say
//! while Redis cannot be asked (R4)? Pure but for what it remembers; every time is handed in, in microseconds.
//!
//! Redis' clock was read between `sent` and `received`, which no delay can falsify. A reading outside of that interval,
//! widened by D, stops all writes until two readings in a row agree.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cache::Reading;
use service::clock;

/// Readings in a row that must agree before writes are issued again.
const ENOUGH: u8 = 2;

/// Not a number of agreements: no reading has come yet.
const UNREAD: u8 = u8::MAX;

/// Readings of which the one with the shortest round trip says most exactly how far the clocks are apart.
const REMEMBERED: usize = 100;

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

/// What a version without Redis is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extrapolated {
    /// Redis' clock plus D.
    Ahead(u64),
    /// Redis' clock as extrapolated and the wall clock are more than D apart: the machine stood still, or was set.
    Disagrees,
    /// There is nothing to extrapolate from.
    Unread,
}

/// A clock that is not ours at one moment of our monotonic clock.
#[derive(Clone, Copy, Debug)]
struct Mark {
    round_trip: u64,
    now: u64,
    monotonic: u64,
}

impl Mark {
    fn at(self, monotonic: u64) -> u64 {
        self.now + monotonic.saturating_sub(self.monotonic)
    }
}

#[derive(Debug, Default)]
struct Marks {
    latest: VecDeque<Mark>,
    /// The wall clock when the database vouched for it.
    vouched: Option<Mark>,
}

/// Whether writes may be issued, and the time by Redis without Redis.
#[derive(Debug)]
pub struct ClockWatch {
    disagree_micros: u64,
    agreements: AtomicU8,
    marks: Mutex<Marks>,
}

impl ClockWatch {
    /// `d` is D. The first reading that agrees is enough: there is no disagreement yet to recover from.
    #[must_use]
    pub fn new(d: Duration) -> Self {
        Self { disagree_micros: clock::micros(d), agreements: AtomicU8::new(UNREAD), marks: Mutex::default() }
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a reading of Redis' clock at `monotonic`, right after its answer came.
    pub fn observe(&self, reading: Reading, monotonic: u64) {
        let Reading { sent, now, received } = reading;
        let early = sent.saturating_sub(self.disagree_micros);
        let late = received.saturating_add(self.disagree_micros);
        let agrees = (early..=late).contains(&now);
        self.remember(agrees, received.checked_sub(sent).map(|round_trip| Mark { round_trip, now, monotonic }));
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

    /// After a disagreement one of the clocks is another: nothing that was read before, nor then, says what it shows now.
    fn remember(&self, agrees: bool, mark: Option<Mark>) {
        let marks = &mut self.marks().latest;
        if !agrees {
            marks.clear();
        } else if let Some(mark) = mark {
            if marks.len() == REMEMBERED {
                marks.pop_front();
            }
            marks.push_back(mark);
        }
    }

    /// Whether nothing is known of any clock but our own.
    pub fn knows_none(&self) -> bool {
        let marks = self.marks();
        marks.latest.is_empty() && marks.vouched.is_none()
    }

    /// Takes in a reading of the database's clock, where Redis' has never been read: says whether it vouches for ours. Unlike
    /// above, doubt is no agreement: the whole round trip must lie within D of it.
    pub fn vouch(&self, reading: Reading, monotonic: u64) -> bool {
        let Reading { sent, now, received } = reading;
        let d = self.disagree_micros;
        let vouched = sent <= received && received <= now.saturating_add(d) && now <= sent.saturating_add(d);
        if vouched {
            self.marks().vouched = Some(Mark { round_trip: received - sent, now: received, monotonic });
        }
        vouched
    }

    /// What a version is counted from that is issued without Redis, when our clocks show `monotonic` and `wall` (R4).
    #[must_use]
    pub fn extrapolated(&self, monotonic: u64, wall: u64) -> Extrapolated {
        let marks = self.marks();
        let best = marks.latest.iter().min_by_key(|mark| mark.round_trip).or(marks.vouched.as_ref());
        match best.map(|mark| mark.at(monotonic)) {
            None => Extrapolated::Unread,
            Some(now) if now.abs_diff(wall) > self.disagree_micros => Extrapolated::Disagrees,
            Some(now) => Extrapolated::Ahead(now + self.disagree_micros),
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

    const D: u64 = 50;

    fn watch() -> ClockWatch {
        ClockWatch::new(Duration::from_micros(D))
    }

    #[test]
    fn a_clock_that_is_ahead_stops_writes_until_two_readings_agree() {
        let watch = watch();
        assert_eq!(watch.verdict(), Verdict::Unread, "nothing is known before the first reading");
        watch.observe(Reading { sent: 100, now: 105, received: 110 }, 0);
        assert_eq!(watch.verdict(), Verdict::Agree);
        watch.observe(Reading { sent: 200, now: 261, received: 210 }, 0);
        assert_eq!(watch.verdict(), Verdict::Disagree, "Redis is more than D ahead of the moment its answer came");
        watch.observe(Reading { sent: 300, now: 305, received: 310 }, 0);
        assert_eq!(watch.verdict(), Verdict::Disagree, "one reading is not enough");
        watch.observe(Reading { sent: 400, now: 405, received: 410 }, 0);
        assert_eq!(watch.verdict(), Verdict::Agree);
    }

    #[test]
    fn r4_redis_clock_is_extrapolated_from_the_shortest_round_trip_of_the_last_100() {
        let watch = watch();
        assert_eq!(watch.extrapolated(0, 0), Extrapolated::Unread);
        // 2 behind, told in 4; then 99 that took longer and tell of 20 behind.
        watch.observe(Reading { sent: 1000, now: 1000, received: 1004 }, 500);
        for n in 0..99 {
            watch.observe(Reading { sent: 2000 + n, now: 1980 + n, received: 2030 + n }, 1530 + n);
        }
        assert_eq!(watch.extrapolated(9500, 10_000), Extrapolated::Ahead(10_000 + D), "by the one that took 4");
        watch.observe(Reading { sent: 3000, now: 2980, received: 3030 }, 2530);
        assert_eq!(watch.extrapolated(9500, 10_000), Extrapolated::Ahead(9950 + D), "it is the 101st from behind now");
    }

    #[test]
    fn r4_a_reading_that_disagrees_is_never_counted_from_nor_is_any_from_before_it() {
        let watch = watch();
        watch.observe(Reading { sent: 1000, now: 1000, received: 1000 }, 1000);
        watch.observe(Reading { sent: 2000, now: 2051, received: 2000 }, 2000);
        assert_eq!(watch.extrapolated(3000, 3000), Extrapolated::Unread, "one of the clocks was set");
        for at in [4000, 5000] {
            watch.observe(Reading { sent: at, now: at + 51, received: at + 2 }, at);
        }
        assert_eq!((watch.verdict(), watch.knows_none()), (Verdict::Agree, false));
        assert_eq!(watch.extrapolated(6000, 6051), Extrapolated::Ahead(6051 + D));
    }

    /// `k42`: a machine that stood still has a monotonic clock that did, too.
    #[test]
    fn r4_k42_nothing_is_issued_where_the_extrapolated_clock_and_the_wall_clock_are_more_than_d_apart() {
        let watch = watch();
        watch.observe(Reading { sent: 1000, now: 1000, received: 1000 }, 1000);
        assert_eq!(watch.extrapolated(2000, 2000 + D), Extrapolated::Ahead(2000 + D), "D apart are within D");
        assert_eq!(watch.extrapolated(2000, 2001 + D), Extrapolated::Disagrees, "the wall clock is ahead");
        assert_eq!(watch.extrapolated(2001 + D, 2000), Extrapolated::Disagrees, "the wall clock was set back");
    }

    #[test]
    fn r4_before_redis_was_met_the_database_must_vouch_for_our_clock() {
        let near = |sent, now, received| {
            let watch = watch();
            (watch.vouch(Reading { sent, now, received }, 100), watch.extrapolated(200, received + 100))
        };
        assert_eq!(
            near(1000, 1010, 1020),
            (true, Extrapolated::Ahead(1120 + D)),
            "our own clock, which it vouched for"
        );
        assert_eq!(near(1000, 1051, 1020), (false, Extrapolated::Unread), "it may be more than D ahead");
        assert_eq!(near(1000, 969, 1020), (false, Extrapolated::Unread), "it may be more than D behind");
        assert_eq!(
            near(1000, 1050, 1101),
            (false, Extrapolated::Unread),
            "a round trip of more than 2D proves nothing"
        );
        assert_eq!(near(1020, 1010, 1000), (false, Extrapolated::Unread), "our clock was set meanwhile");
    }

    proptest! {
        #[test]
        fn delay_alone_never_looks_like_disagreement(sent in 0u64..1_000_000, there in 0u64..5_000_000, back in 0u64..5_000_000) {
            let watch = watch();
            watch.observe(Reading { sent, now: sent + there, received: sent + there + back }, 0);
            prop_assert_eq!(watch.verdict(), Verdict::Agree);
        }

        /// Delay makes the extrapolated clock late by the shortest delay at most, and never makes it early.
        #[test]
        fn r4_delay_alone_never_puts_the_extrapolated_clock_ahead_of_redis(
            delays in prop::collection::vec((0u64..5_000_000, 0u64..5_000_000), 1..150),
            later in 0u64..10_000_000,
        ) {
            let watch = ClockWatch::new(Duration::from_secs(1000));
            let (mut time, base) = (1_000_000_000, 7_000_000);
            for (there, back) in &delays {
                watch.observe(Reading { sent: time, now: time + there, received: time + there + back }, time + there + back - base);
                time += there + back + 1;
            }
            time += later;
            let latest = &delays[delays.len().saturating_sub(REMEMBERED)..];
            let shortest = latest.iter().map(|(there, back)| there + back).min().unwrap();
            let Extrapolated::Ahead(ahead) = watch.extrapolated(time - base, time) else { panic!("the clocks agree") };
            let now = ahead - 1_000_000_000;
            prop_assert!(now <= time && time - now <= shortest, "at {} it says {}, shortest round trip {}", time, now, shortest);
        }
    }
}
