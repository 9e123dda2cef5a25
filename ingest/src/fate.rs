//! What became of a write: decided on what cache and database know of it. Pure.
//!
//! Facts are gathered in an order that makes a denial true: how far the topic is drained, then the cache, then the database. What
//! leaves the cache is in the database before, and what the topic has acknowledged is there before the group has passed it.

use std::time::Duration;

use cache::{HeldVersion, Newest, Place, State};
use record::Version;
use service::clock;
use table::{InTable, Letter};

/// How far ahead of ours another clock may have been that gave out a version: what is further in the future, nobody has made.
const FUTURE: Duration = Duration::from_secs(60);

/// What is known of a write, its record, and those that could know more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// In microseconds.
    pub(crate) now: u64,
    /// Until when everything that the topic had acknowledged is committed, in microseconds; `None` where that is not known.
    pub(crate) drained: Option<u64>,
    /// Longer than any request takes (PROTOCOL R16).
    pub(crate) grace: Duration,
    /// `None`: it cannot be asked.
    pub(crate) cache: Option<Newest>,
    /// `None`: it cannot be asked.
    pub(crate) table: Option<InTable>,
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// In the cache alone.
    Cached,
    /// The topic has it.
    Logged,
    /// The table has it, since then (microseconds) if the table could be asked.
    Persisted(Option<u64>),
    /// A newer version of the record is there, and how far that has come. It may still be refused by the table; then that of this
    /// write is another.
    Superseded { by: Version, state: State },
    /// The table refused it.
    Dead(Letter),
}

/// Why nothing is said of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Untold {
    /// There is nothing to be known of it.
    Unknown,
    CacheAway,
    TableAway,
    /// The cache has lost something that may have been this write.
    Incomplete,
    /// It was made past the cache, or stood beneath a dead letter, and may be on its way to the table.
    NotThereYet,
}

impl Fate {
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Cached => State::Cached.as_str(),
            Self::Logged => State::Logged.as_str(),
            Self::Persisted(_) => State::Persisted.as_str(),
            Self::Superseded { .. } => "superseded",
            Self::Dead(_) => "dead",
        }
    }
}

/// Where the event of this version stands, where the cache still knows it.
pub(crate) fn place(version: Version, facts: &Facts) -> Option<Place> {
    facts.cache?.held.filter(|held| held.version == version)?.place
}

/// The table's word first, since it is the last one: it has this version, or it has refused it, or it has a newer one. Then the
/// cache's. Only where both were asked, and neither can have missed it, is a write denied.
pub(crate) fn decide(version: Version, facts: &Facts) -> Result<Fate, Untold> {
    // Those of rows that were there before us, and of purge marks: no write's.
    if version == Version::ZERO || version.is_mark() {
        return Err(Untold::Unknown);
    }
    if let Some(InTable { row, letter, .. }) = &facts.table {
        match (row, letter) {
            (Some(row), _) if row.version == version => return Ok(Fate::Persisted(Some(row.since))),
            (_, Some(letter)) => return Ok(Fate::Dead(letter.clone())),
            (Some(row), None) if row.version > version => {
                return Ok(Fate::Superseded { by: row.version, state: State::Persisted });
            }
            _ => {}
        }
    }
    match facts.cache.and_then(|cache| cache.held).filter(|held| held.version >= version) {
        Some(held) => cached(version, held, facts.table.is_some()),
        None => Err(missed(version, facts)),
    }
}

fn cached(version: Version, held: HeldVersion, table_asked: bool) -> Result<Fate, Untold> {
    match held.state {
        None => Err(Untold::NotThereYet),
        Some(State::Cached) if held.version == version => Ok(Fate::Cached),
        Some(State::Logged) if held.version == version => Ok(Fate::Logged),
        Some(State::Persisted) if held.version == version => Ok(Fate::Persisted(None)),
        // What is newer may stand over a dead letter.
        Some(_) if !table_asked => Err(Untold::TableAway),
        Some(state) => Ok(Fate::Superseded { by: held.version, state }),
    }
}

/// Why neither knows of it.
fn missed(version: Version, facts: &Facts) -> Untold {
    let (Some(cache), Some(table)) = (&facts.cache, &facts.table) else {
        return if facts.table.is_none() { Untold::TableAway } else { Untold::CacheAway };
    };
    // R4: it was given out without Redis, which need not have heard of it.
    let past = version.slot() != 0 && version > table.purged;
    let birth = version.birth_micros();
    if birth > facts.now.saturating_add(clock::micros(FUTURE)) {
        Untold::Unknown
    } else if !cache.whole {
        Untold::Incomplete
    } else if past && facts.drained.is_none_or(|until| until < birth.saturating_add(clock::micros(facts.grace))) {
        Untold::NotThereYet
    } else {
        Untold::Unknown
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use table::StandingRow;

    use super::*;

    const NOW: u64 = 1_700_000_000_000_000;
    const GRACE: Duration = Duration::from_secs(30);

    fn version(number: u64) -> Version {
        Version::new(number).unwrap()
    }

    /// That of the write that is asked for, one second old.
    fn asked() -> Version {
        version(NOW - 1_000_000)
    }

    fn newer() -> Version {
        version(asked().get() + 16)
    }

    fn older() -> Version {
        version(asked().get() - 16)
    }

    fn letter() -> Letter {
        Letter { reason: "refused".to_owned(), topic: "users".to_owned(), partition: 0, offset: 7, at: NOW }
    }

    fn row(version: Version) -> Option<StandingRow> {
        Some(StandingRow { version, since: 5 })
    }

    fn held(version: Version, state: Option<State>) -> Option<HeldVersion> {
        Some(HeldVersion { version, state, place: None })
    }

    fn facts(cached: Option<HeldVersion>, row: Option<StandingRow>) -> Facts {
        let table = InTable { row, letter: None, purged: Version::ZERO };
        let cache = Newest { held: cached, whole: true };
        Facts { now: NOW, drained: None, grace: GRACE, cache: Some(cache), table: Some(table) }
    }

    fn noted(facts: Facts) -> Facts {
        let table = facts.table.map(|table| InTable { letter: Some(letter()), ..table });
        Facts { table, ..facts }
    }

    fn without_cache(facts: Facts) -> Facts {
        Facts { cache: None, ..facts }
    }

    fn without_table(facts: Facts) -> Facts {
        Facts { table: None, ..facts }
    }

    fn in_doubt(facts: Facts) -> Facts {
        let cache = facts.cache.map(|cache| Newest { whole: false, ..cache });
        Facts { cache, ..facts }
    }

    #[test]
    fn the_table_decides_then_the_cache_and_nobody_guesses() {
        let by = |by, state| Ok(Fate::Superseded { by, state });
        let (cached, logged, persisted) = (Some(State::Cached), Some(State::Logged), Some(State::Persisted));
        let cases = [
            ("cached", facts(held(asked(), cached), None), Ok(Fate::Cached)),
            ("logged", facts(held(asked(), logged), row(older())), Ok(Fate::Logged)),
            ("applied, not settled yet", facts(held(asked(), logged), row(asked())), Ok(Fate::Persisted(Some(5)))),
            ("settled", facts(held(asked(), persisted), row(asked())), Ok(Fate::Persisted(Some(5)))),
            ("left the cache", facts(None, row(asked())), Ok(Fate::Persisted(Some(5)))),
            ("overwritten in the table", facts(None, row(newer())), by(newer(), State::Persisted)),
            ("overwritten in the cache", facts(held(newer(), cached), row(older())), by(newer(), State::Cached)),
            ("dead", noted(facts(None, row(older()))), Ok(Fate::Dead(letter()))),
            ("dead, and overwritten in the table", noted(facts(None, row(newer()))), Ok(Fate::Dead(letter()))),
            ("dead, and overwritten in the cache", noted(facts(held(newer(), logged), None)), Ok(Fate::Dead(letter()))),
            ("refused once, applied by a replay since", noted(facts(None, row(asked()))), Ok(Fate::Persisted(Some(5)))),
            ("beneath a dead letter", facts(held(asked(), None), None), Err(Untold::NotThereYet)),
            ("overwritten by what is awaited", facts(held(newer(), None), None), Err(Untold::NotThereYet)),
            ("never made", facts(None, None), Err(Untold::Unknown)),
            ("never made, an older one there", facts(held(older(), logged), row(older())), Err(Untold::Unknown)),
            ("the cache lost something", in_doubt(facts(None, None)), Err(Untold::Incomplete)),
            ("brought back by a failover", in_doubt(facts(held(older(), logged), None)), Err(Untold::Incomplete)),
            ("in doubt, and in the table", in_doubt(facts(None, row(asked()))), Ok(Fate::Persisted(Some(5)))),
            ("Redis away", without_cache(facts(None, row(older()))), Err(Untold::CacheAway)),
            ("Redis away, in the table", without_cache(facts(None, row(asked()))), Ok(Fate::Persisted(Some(5)))),
            ("Redis away, dead", without_cache(noted(facts(None, None))), Ok(Fate::Dead(letter()))),
            ("MySQL away, logged", without_table(facts(held(asked(), logged), None)), Ok(Fate::Logged)),
            ("MySQL away, settled", without_table(facts(held(asked(), persisted), None)), Ok(Fate::Persisted(None))),
            ("MySQL away, overwritten", without_table(facts(held(newer(), logged), None)), Err(Untold::TableAway)),
            ("MySQL away, not cached", without_table(facts(None, None)), Err(Untold::TableAway)),
            ("both away", without_table(without_cache(facts(None, None))), Err(Untold::TableAway)),
        ];
        for (what, facts, expected) in cases {
            assert_eq!(decide(asked(), &facts), expected, "{what}");
        }
    }

    #[test]
    fn r4_a_write_past_the_cache_is_denied_only_when_the_topic_is_drained_behind_it() {
        let past = version(asked().get() + 3);
        let decided = |drained, purged| {
            let facts = facts(None, None);
            let table = facts.table.map(|table| InTable { purged, ..table });
            decide(past, &Facts { drained, table, ..facts })
        };
        let enough = past.birth_micros() + clock::micros(GRACE);
        assert_eq!(decided(None, Version::ZERO), Err(Untold::NotThereYet));
        assert_eq!(decided(Some(enough - 1), Version::ZERO), Err(Untold::NotThereYet));
        assert_eq!(decided(Some(enough), Version::ZERO), Err(Untold::Unknown));
        assert_eq!(
            decided(None, version(past.get() | 15)),
            Err(Untold::Unknown),
            "R18: the mark is below all that is on its way"
        );
    }

    #[test]
    fn what_nobody_gives_out_was_never_a_write() {
        for (what, never) in [("an adopted row", 0), ("a mark", asked().get() + 15), ("the future", NOW + 61_000_000)] {
            assert_eq!(decide(version(never), &facts(None, None)), Err(Untold::Unknown), "{what}");
        }
        let adopted = facts(None, row(Version::ZERO));
        assert_eq!(decide(Version::ZERO, &adopted), Err(Untold::Unknown));
    }

    fn any_version() -> impl Strategy<Value = Version> {
        (0u64..4, 0u64..16).prop_map(|(at, slot)| version(NOW - 1_000_000 + at * 16 + slot))
    }

    prop_compose! {
        fn any_facts()(
            held in proptest::option::of((any_version(), proptest::option::of(prop_oneof![Just(State::Cached), Just(State::Logged), Just(State::Persisted)]))),
            whole: bool,
            row in proptest::option::of(any_version()),
            dead: bool,
            purged in prop_oneof![Just(Version::ZERO), any_version()],
            drained in proptest::option::of(NOW - 2_000_000..NOW + 60_000_000),
            cache_asked: bool,
            table_asked: bool,
        ) -> Facts {
            let held = held.map(|(version, state)| HeldVersion { version, state, place: None });
            let row = row.map(|version| StandingRow { version, since: 5 });
            let table = InTable { row, letter: dead.then(letter), purged };
            Facts {
                now: NOW, drained, grace: GRACE,
                cache: cache_asked.then_some(Newest { held, whole }),
                table: table_asked.then_some(table),
            }
        }
    }

    proptest! {
        /// Whatever is missing of the facts: nothing is denied that one of them could know, and nothing said that they do not hold.
        #[test]
        fn less_knowledge_never_denies_and_never_invents(version in any_version(), facts in any_facts()) {
            let held = facts.cache.and_then(|cache| cache.held);
            let row = facts.table.as_ref().and_then(|table| table.row);
            match decide(version, &facts) {
                Err(Untold::Unknown) if !version.is_mark() => {
                    prop_assert!(facts.table.is_some() && facts.cache.is_some_and(|cache| cache.whole));
                    prop_assert!(held.is_none_or(|held| held.version < version));
                    prop_assert!(row.is_none_or(|row| row.version < version));
                }
                Ok(Fate::Superseded { by, .. }) => {
                    prop_assert!(by > version && facts.table.as_ref().is_some_and(|table| table.letter.is_none()));
                }
                Ok(Fate::Persisted(_)) => prop_assert!(
                    row.is_some_and(|row| row.version == version)
                        || held.is_some_and(|held| held.version == version && held.state == Some(State::Persisted))
                ),
                _ => {}
            }
        }
    }
}
