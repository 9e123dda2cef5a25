//! What time it is for a purge, and how high the mark may rise (PROTOCOL R18). Pure.

use std::time::Duration;

use record::Version;
use service::clock;

/// What a mark must stay below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// The oldest version in an outbox.
    pub(crate) outbox: Option<Version>,
    /// The oldest among the unsettled.
    pub(crate) unsettled: Option<Version>,
    /// The oldest in the topic that the group has not committed.
    pub(crate) unapplied: Option<Version>,
}

/// What a server's clock said, and ours before it was asked and after: all in microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) of: &'static str,
    pub(crate) asked: u64,
    pub(crate) told: u64,
    pub(crate) heard: u64,
}

/// The time by the clock that is furthest behind, ours among them: by one that is ahead a mark would be younger than the
/// purge age.
///
/// # Errors
/// One disagrees with ours by more than `skew`, and which of them is wrong cannot be told.
pub(crate) fn earliest(readings: &[Reading], skew: Duration) -> Result<u64, String> {
    let most = clock::micros(skew);
    for Reading { of, asked, told, heard } in readings {
        if *told < asked.saturating_sub(most) || *told > heard.saturating_add(most) {
            let (by, side) = if told < asked { (asked - told, "behind") } else { (told - heard, "ahead of") };
            return Err(format!(
                "the clock of {of} is {:?} {side} this machine's, more than --clock-skew-ms",
                Duration::from_micros(by)
            ));
        }
    }
    readings.iter().map(|reading| reading.told.min(reading.asked)).min().ok_or_else(|| "no clock was read".to_owned())
}

/// The least age of what may be purged. A write that goes past Redis is seen nowhere until the topic has it: its handler
/// produces until its deadline, which is the shorter one, and its event may then be as long on its way.
pub(crate) fn least_age(produce_deadline: Duration, skew: Duration) -> Duration {
    produce_deadline.saturating_mul(2).saturating_add(skew)
}

/// A mark, and what kept it from being higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) version: Version,
    pub(crate) held_by: &'static str,
}

/// The highest mark that is nobody's version, at least `age` old, and below everything that waits. `None`: there is none.
pub(crate) fn mark(now: u64, age: Duration, waiting: Waiting) -> Option<Mark> {
    let aged = Version::new(now.saturating_sub(clock::micros(age))).ok();
    let Waiting { outbox, unsettled, unapplied } = waiting;
    let bounds = [
        ("the purge age", aged),
        ("the oldest outbox entry", outbox),
        ("the oldest unsettled entry", unsettled),
        ("the oldest unapplied event", unapplied),
    ];
    let known = bounds.into_iter().filter_map(|(held_by, version)| Some((version?, held_by)));
    let (lowest, held_by) = known.min_by_key(|(version, _)| *version)?;
    Some(Mark { version: lowest.mark_below()?, held_by })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version() -> impl Strategy<Value = Option<Version>> {
        proptest::option::of((1u64..1 << 40).prop_map(|number| Version::new(number).unwrap()))
    }

    proptest! {
        /// k15, k34, k16c: never at or above anything that waits, nor a version that anybody can have.
        #[test]
        fn the_mark_is_nobodys_and_below_all_that_waits(
            now in 1u64..1 << 40, age in 0u64..1 << 30, outbox in version(), unsettled in version(), unapplied in version()
        ) {
            let waiting = Waiting { outbox, unsettled, unapplied };
            let lowest = [outbox, unsettled, unapplied].into_iter().flatten().map(Version::get).min().unwrap_or(u64::MAX);
            let highest = now.saturating_sub(age).min(lowest);
            match mark(now, Duration::from_micros(age), waiting) {
                None => prop_assert!(highest < 16, "a mark below {} is possible", highest),
                Some(mark) => {
                    prop_assert!(mark.version.is_mark(), "{} is somebody's version", mark.version);
                    prop_assert!(mark.version.get() < highest, "{} is not below {}", mark.version, highest);
                    prop_assert!(mark.version.get() + 16 >= highest, "{} could be higher below {}", mark.version, highest);
                }
            }
        }
    }

    proptest! {
        /// Whoever's clock is ahead, no mark is younger than the age by any of them.
        #[test]
        fn r18_the_time_is_nobodys_future_and_clocks_that_disagree_give_none(
            asked in 1_000_000u64..1 << 40, took in 0u64..5000, off in proptest::collection::vec(-200_000i64..200_000, 1..3)
        ) {
            let skew = Duration::from_millis(50);
            let heard = asked + took;
            let reading = |off: &i64| Reading { of: "one", asked, told: asked.saturating_add_signed(*off), heard };
            let readings: Vec<_> = off.iter().map(reading).collect();
            let agree = readings.iter().all(|r| r.told + 50_000 >= asked && r.told <= heard + 50_000);
            match earliest(&readings, skew) {
                Ok(now) => {
                    prop_assert!(agree, "{:?} are no agreement", readings);
                    prop_assert!(now <= asked && readings.iter().all(|r| now <= r.told), "{} is somebody's future", now);
                    prop_assert!(now + 50_000 >= asked);
                }
                Err(why) => prop_assert!(!agree, "{:?} agree: {}", readings, why),
            }
        }
    }

    #[test]
    fn what_holds_the_mark_is_named() {
        let waiting = Waiting { outbox: None, unsettled: Version::new(320).ok(), unapplied: Version::new(640).ok() };
        let mark = mark(1000, Duration::ZERO, waiting).unwrap();
        assert_eq!((mark.version.get(), mark.held_by), (319, "the oldest unsettled entry"));
    }
}
