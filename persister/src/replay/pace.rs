//! How fast a replay may go. Pure.

use std::time::Duration;

/// At most so many events a second; `None`: as fast as the database takes them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace(pub(crate) Option<u32>);

impl Pace {
    /// How long after its begin a replay may have brought so many events.
    pub(crate) fn due(self, events: u64) -> Duration {
        let Self(Some(rate)) = self else { return Duration::ZERO };
        Duration::from_micros(events.saturating_mul(1_000_000) / u64::from(rate.max(1)))
    }

    /// So few at once that the rate holds within each second.
    pub(crate) fn batch(self, most: usize) -> usize {
        self.0.map_or(most, |rate| most.min(usize::try_from(rate / 4).unwrap_or(most).max(1)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whoever_waits_until_it_is_due_is_never_faster(rate in 1u32..100_000, batches in proptest::collection::vec(1u64..500, 1..50)) {
            let pace = Pace(Some(rate));
            let events: u64 = batches.iter().sum();
            let seconds = pace.due(events).as_secs_f64();
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let fastest = events as f64 / f64::from(rate);
            prop_assert!(seconds >= fastest - 1e-5, "{} events are due after {} s at {} a second", events, seconds, rate);
            prop_assert!(pace.batch(500) as u64 <= u64::from(rate).max(1));
        }
    }
}
