//! How high the purge mark may rise (PROTOCOL R18). Pure.

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

    #[test]
    fn what_holds_the_mark_is_named() {
        let waiting = Waiting { outbox: None, unsettled: Version::new(320).ok(), unapplied: Version::new(640).ok() };
        let mark = mark(1000, Duration::ZERO, waiting).unwrap();
        assert_eq!((mark.version.get(), mark.held_by), (319, "the oldest unsettled entry"));
    }
}
