//! Places where a test may stop a process: between two effects that must not be one (PROTOCOL's counterexamples), where no
//! signal from outside arrives in time. Built only with the feature `fail-points`, into the programs
//! `ingest-with-fail-points` and `persister-with-fail-points`; elsewhere [`reached`] is nothing.
//!
//! The environment says what happens where, in the syntax of the `fail` crate: `FAILPOINTS=lane.applied=2*off->return` ends
//! the process at once, as SIGKILL would, when the lane has applied its third batch; `sleep(500)` and `pause` hold the
//! thread.

/// The places, so that a test cannot name one that is not there.
pub const PLACES: [&str; 1] = [LANE_APPLIED];

/// The persister has committed a batch in MySQL; its offset is not committed yet.
pub const LANE_APPLIED: &str = "lane.applied";

/// Whether this build has any.
#[must_use]
pub const fn built() -> bool {
    fail::has_failpoints()
}

/// Takes in what the environment asks for, for as long as the answer lives.
///
/// # Panics
/// `FAILPOINTS` is not in the syntax of the `fail` crate, or names no place of [`PLACES`].
#[must_use]
pub fn armed() -> Option<fail::FailScenario<'static>> {
    built().then(|| {
        let scenario = fail::FailScenario::setup();
        for (name, _) in fail::list() {
            assert!(PLACES.contains(&name.as_str()), "FAILPOINTS: there is no place {name}, only {PLACES:?}");
        }
        scenario
    })
}

/// Says that the process is at `place`.
#[inline]
pub fn reached(place: &'static str) {
    // Without the feature the macro is empty.
    let _: &str = place;
    fail::fail_point!(place, |_| std::process::abort());
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_default_build_has_none() {
        assert!(!super::built(), "the feature fail-points is on where nobody asked for it");
    }
}
