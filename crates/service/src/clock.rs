//! The only place that reads the wall clock. Everything pure takes the time as an argument.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since 1970 by this machine's clock: the unit of versions (`mine` in PROTOCOL R1).
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is where the wall clock is read")]
pub fn now_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX))
}
