//! The only place that reads the wall clock, and the arithmetic of its unit. Everything pure takes the time as an argument.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since 1970 by this machine's clock: the unit of versions (`mine` in PROTOCOL R1).
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is where the wall clock is read")]
pub fn now_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, micros)
}

/// Microseconds by a clock that nobody sets, from some moment of this process on: how much time has passed, whatever the
/// wall clock says meanwhile.
#[must_use]
pub fn monotonic_micros() -> u64 {
    static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
    micros(BEGUN.elapsed())
}

/// A duration in the unit of versions.
#[must_use]
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// From `earlier` to `later`, both in microseconds, in the unit of metrics; 0 where they are the other way round.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a difference of clocks is far below 2^53")]
pub fn seconds_between(earlier: u64, later: u64) -> f64 {
    later.saturating_sub(earlier) as f64 / 1e6
}
