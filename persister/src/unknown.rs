//! An event whose schema id is unknown here (PROTOCOL section 5): is it poison, or is this persister older than ingest?
//! Pure: the time is handed in.

use std::time::Duration;

/// What an unknown schema id means, as far as it can be told yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Too early to tell: old and new ingests may write side by side for a while.
    Open,
    /// Writers still use schemas that are known here, so nobody will ever explain this id.
    Poison,
    /// Nothing behind it can be read either: ingest writes with a schema that this persister was started without.
    Older,
}

/// `held` is how long the event has held its lane, `hold` how long it does so undecided (`--unknown-schema-hold-ms`);
/// `later_decodes` whether any event of the batch behind it can be read.
pub(crate) fn meaning(held: Duration, hold: Duration, later_decodes: bool) -> Meaning {
    match (held >= hold, later_decodes) {
        (false, _) => Meaning::Open,
        (true, true) => Meaning::Poison,
        (true, false) => Meaning::Older,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_decided_before_the_hold_is_over_whatever_is_behind() {
        let hold = Duration::from_mins(15);
        for held in [Duration::ZERO, hold - Duration::from_nanos(1)] {
            for later_decodes in [false, true] {
                assert_eq!(meaning(held, hold, later_decodes), Meaning::Open, "{held:?}");
            }
        }
    }

    #[test]
    fn from_then_on_what_is_behind_decides_and_may_still_come() {
        let hold = Duration::from_mins(15);
        for held in [hold, hold * 1000] {
            assert_eq!(meaning(held, hold, false), Meaning::Older, "{held:?}");
            assert_eq!(meaning(held, hold, true), Meaning::Poison, "{held:?}");
        }
    }
}
