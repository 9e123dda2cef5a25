//! Places where a test may stop a process: between two effects that must not be one (PROTOCOL's counterexamples), where no
//! signal from outside arrives in time. Built only with the feature `fail-points`, into the programs
//! `ingest-with-fail-points` and `persister-with-fail-points`; elsewhere [`reached`] is nothing.
//!
//! The environment says what happens where, in the syntax of the `fail` crate: `FAILPOINTS=lane.applied=2*off->return` ends
//! the process at once, as SIGKILL would, when the lane has applied its third batch; `sleep(500)` and `pause` hold the
//! thread.

/// The places, so that a test cannot name one that is not there.
pub const PLACES: [&str; 13] = [
    HTTP_ADMITTED,
    BULK_LINE,
    WRITE_STORED,
    PRODUCER_LOST,
    LANE_APPLIED,
    TABLE_WRITTEN,
    INTAKE_REVOKING,
    LETTERS_ACKNOWLEDGED,
    LETTERS_NOTED,
    STOP_BEGUN,
    BUG_COMMIT_BEFORE_APPLY,
    BUG_VERSION_FIRST,
    BUG_PHYSICAL_DELETE,
];

/// A request is in progress; nobody has looked yet at who asks.
pub const HTTP_ADMITTED: &str = "http.admitted";

/// A line of a bulk is at its end; its result has not gone out yet.
pub const BULK_LINE: &str = "bulk.line";

/// Redis has taken a write, or it goes past it; nothing is published yet.
pub const WRITE_STORED: &str = "write.stored";

/// Not a place but a fault of librdkafka's: the producer finds no broker any more.
pub const PRODUCER_LOST: &str = "producer.lost";

/// The persister has committed a batch in MySQL; its offset is not committed yet.
pub const LANE_APPLIED: &str = "lane.applied";

/// The topic of dead letters has acknowledged; nothing is noted, and no offset has moved.
pub const LETTERS_ACKNOWLEDGED: &str = "letters.acknowledged";

/// The dead letters are noted; their offset is not committed yet.
pub const LETTERS_NOTED: &str = "letters.noted";

/// The persister has written a batch in its transaction, which is not committed yet.
pub const TABLE_WRITTEN: &str = "table.written";

/// The persister's lanes have drained inside a revoke; nothing is committed yet.
pub const INTAKE_REVOKING: &str = "intake.revoking";

/// Not a place but a bug, which the chaos campaign must find: offsets may be committed before their batch is applied.
pub const BUG_COMMIT_BEFORE_APPLY: &str = "bug.commit-before-apply";

/// Another: the guarded upsert assigns `version` first.
pub const BUG_VERSION_FIRST: &str = "bug.version-first";

/// Another: a deleted row is removed instead of becoming a tombstone.
pub const BUG_PHYSICAL_DELETE: &str = "bug.physical-delete";

/// The process was told to stop, and has done nothing about it yet.
pub const STOP_BEGUN: &str = "stop.begun";

/// The tasks that may be held or made to panic at their next beat: `FAILPOINTS=task.rounds=pause`.
pub const TASKS: [&str; 13] = [
    "task.acknowledge",
    "task.depths",
    "task.intake",
    "task.kafka",
    "task.lag",
    "task.lane",
    "task.mysql",
    "task.redis",
    "task.rounds",
    "task.runtime",
    "task.settle",
    "task.slot",
    "task.write",
];

/// Whether this build has any.
#[must_use]
pub const fn built() -> bool {
    fail::has_failpoints()
}

/// Takes in what the environment asks for, for as long as the answer lives.
///
/// # Panics
/// `FAILPOINTS` is not in the syntax of the `fail` crate, or names no place of [`PLACES`] or [`TASKS`].
#[must_use]
pub fn armed() -> Option<fail::FailScenario<'static>> {
    built().then(|| {
        let scenario = fail::FailScenario::setup();
        for (name, _) in fail::list() {
            let known = PLACES.contains(&name.as_str()) || TASKS.contains(&name.as_str());
            assert!(known, "FAILPOINTS: there is no place {name}, only {PLACES:?} and {TASKS:?}");
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

/// Whether the process was told to behave otherwise at `place`: for seeded bugs. Never, but with the feature.
#[inline]
#[must_use]
pub fn told(place: &'static str) -> bool {
    let _: &str = place;
    fail::fail_point!(place, |_| true);
    false
}

/// Says that the task beats (`service::pulse`).
#[inline]
pub(crate) fn beaten(task: &'static str) {
    if built() {
        let place = format!("task.{task}");
        // Without the feature the macro is empty.
        let _: &str = &place;
        fail::fail_point!(&place, |_| std::process::abort());
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_default_build_has_none() {
        assert!(!super::built(), "the feature fail-points is on where nobody asked for it");
    }
}
