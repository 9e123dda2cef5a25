//! How long to wait before trying again: exponential with full jitter. Pure: the random number is handed in.

use std::time::Duration;

/// Delays that double from `first` up to `most`, each scaled by a random factor in `[0.5, 1)`.
///
/// Full jitter as in Brooker, "Exponential Backoff And Jitter", with a floor of one half so that a retry is never
/// immediate.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    attempt: u32,
}

impl Backoff {
    /// Starts at `first`; never waits longer than `most`.
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, attempt: 0 }
    }

    /// The next delay; `random` is uniform in `[0, 1)`.
    pub fn next(&mut self, random: f64) -> Duration {
        let doubled = self.first.saturating_mul(1u32.checked_shl(self.attempt.min(20)).unwrap_or(u32::MAX));
        self.attempt = self.attempt.saturating_add(1);
        doubled.min(self.most).mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }

    /// After a success: the next delay is the first one again.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }

    /// How many delays were handed out since the last reset.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_most_and_start_over_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(35));
        let full: Vec<_> = (0..4).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(full, [10, 20, 35, 35]);
        backoff.reset();
        assert_eq!(backoff.next(1.0).as_millis(), 10);
    }

    #[test]
    fn jitter_never_makes_a_retry_immediate_nor_longer_than_the_most() {
        for step in 0..100 {
            let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
            for _ in 0..40 {
                let delay = backoff.next(f64::from(step) / 100.0);
                assert!(delay >= Duration::from_millis(5) && delay <= Duration::from_secs(1), "{delay:?}");
            }
        }
    }
}
