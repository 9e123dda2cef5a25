//! How much one caller may ask for, as a bucket that refills steadily (GCRA, by `governor`).

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

/// Beyond it nobody is limited by anything.
pub(crate) const PER_SECOND_MOST: u32 = 1_000_000;

/// So many requests a second, and so many at once after a rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    pub(crate) per_second: NonZeroU32,
    pub(crate) burst: NonZeroU32,
}

impl Allowance {
    /// `None`, at 0 a second: no limit. A burst of 0 is what a second brings.
    pub(crate) fn new(per_second: u32, burst: u32) -> Option<Self> {
        let per_second = NonZeroU32::new(per_second.min(PER_SECOND_MOST))?;
        Some(Self { per_second, burst: NonZeroU32::new(burst).unwrap_or(per_second) })
    }

    /// Seconds, rounded up, until so many have come back.
    fn seconds(self, count: u32) -> u32 {
        count.div_ceil(self.per_second.get())
    }

    /// The field `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10): the burst, and how long it takes to come back.
    pub(crate) fn policy(self) -> String {
        format!(r#""caller";q={};w={}"#, self.burst, self.seconds(self.burst.get()))
    }

    /// The field `RateLimit` with so many left: when the whole burst is back.
    pub(crate) fn standing(self, left: u32) -> String {
        format!(r#""caller";r={left};t={}"#, self.seconds(self.burst.get().saturating_sub(left)))
    }
}

/// What is left of an allowance.
#[derive(Debug)]
pub(crate) struct Rate<C: Clock = MonotonicClock> {
    pub(crate) allowance: Allowance,
    clock: C,
    limiter: RateLimiter<NotKeyed, InMemoryState, C, StateInformationMiddleware>,
}

impl Rate {
    /// All of it.
    pub(crate) fn new(allowance: Allowance) -> Self {
        Self::by(allowance, MonotonicClock)
    }
}

impl<C: Clock + Clone> Rate<C> {
    fn by(allowance: Allowance, clock: C) -> Self {
        let quota = Quota::per_second(allowance.per_second).allow_burst(allowance.burst);
        let limiter = RateLimiter::direct_with_clock(quota, clock.clone()).with_middleware();
        Self { allowance, clock, limiter }
    }

    /// Takes one, and says how many are left; else how long until there is one.
    pub(crate) fn take(&self) -> Result<u32, Duration> {
        match self.limiter.check() {
            Ok(state) => Ok(state.remaining_burst_capacity()),
            Err(until) => Err(until.wait_time_from(self.clock.now())),
        }
    }
}

/// Of the same allowance, whatever is left of it.
impl PartialEq for Rate {
    fn eq(&self, other: &Self) -> bool {
        self.allowance == other.allowance
    }
}

impl Eq for Rate {}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;
    use proptest::prelude::*;

    use super::*;

    fn rate(per_second: u32, burst: u32) -> (Rate<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (Rate::by(Allowance::new(per_second, burst).unwrap(), clock.clone()), clock)
    }

    #[test]
    fn exactly_the_burst_passes_at_once_and_then_one_whenever_one_has_come_back() {
        let (rate, clock) = rate(10, 3);
        assert_eq!([rate.take(), rate.take(), rate.take()], [Ok(2), Ok(1), Ok(0)]);
        assert_eq!(rate.take(), Err(Duration::from_millis(100)), "the fourth");
        clock.advance(Duration::from_millis(99));
        assert_eq!(rate.take(), Err(Duration::from_millis(1)), "a millisecond too early");
        clock.advance(Duration::from_millis(1));
        assert_eq!(rate.take(), Ok(0));
        clock.advance(Duration::from_secs(9));
        assert_eq!(rate.take(), Ok(2), "never more than the burst");
    }

    #[test]
    fn fields_say_the_burst_and_when_it_is_back() {
        let allowance = Allowance::new(10, 25).unwrap();
        assert_eq!(allowance.policy(), r#""caller";q=25;w=3"#);
        assert_eq!(allowance.standing(25), r#""caller";r=25;t=0"#);
        assert_eq!(allowance.standing(0), r#""caller";r=0;t=3"#);
        assert_eq!(Allowance::new(10, 0).unwrap().burst.get(), 10, "a second's worth unless it is said");
        assert_eq!(Allowance::new(0, 5), None);
    }

    proptest! {
        #[test]
        fn no_span_lets_more_pass_than_the_burst_and_what_came_back_in_it(
            (per_second, burst) in (1_u32..50, 1_u32..50),
            waits in prop::collection::vec(0_u64..300, 1..200),
        ) {
            let (rate, clock) = rate(per_second, burst);
            let (mut passed, mut millis) = (0_u64, 0_u64);
            for wait in waits {
                clock.advance(Duration::from_millis(wait));
                millis += wait;
                match rate.take() {
                    Ok(left) => {
                        passed += 1;
                        prop_assert!(left < burst);
                    }
                    Err(wait) => prop_assert!(!wait.is_zero() && wait <= Duration::from_secs(1)),
                }
                prop_assert!(passed <= u64::from(burst) + millis * u64::from(per_second) / 1000);
            }
        }
    }
}
