//! Seeded bugs: what the persister must never do, built only into `persister-with-fail-points`. A campaign that does not
//! find them proves nothing.

use service::fail_points;

/// A bug, and the faults under which it does harm.
#[derive(Clone, Copy, Debug)]
pub struct Bug {
    /// What the command line calls it.
    pub name: &'static str,
    /// Its place in [`service::fail_points`].
    pub place: &'static str,
    /// Names of the faults that are struck while it is looked for; prefixes are enough.
    pub faults: &'static [&'static str],
}

/// All of them.
pub const BUGS: [Bug; 3] = [
    Bug {
        name: "commit-before-apply",
        place: fail_points::BUG_COMMIT_BEFORE_APPLY,
        faults: &["database-killed", "database-frozen"],
    },
    Bug { name: "version-first", place: fail_points::BUG_VERSION_FIRST, faults: &["ingest-killed"] },
    Bug { name: "physical-delete", place: fail_points::BUG_PHYSICAL_DELETE, faults: &["ingest-killed"] },
];

/// The bug of this name.
#[must_use]
pub fn named(name: &str) -> Option<Bug> {
    BUGS.into_iter().find(|bug| bug.name == name)
}
