//! Do topic, table and cache agree about one record? Pure.
//!
//! The sources are read one after the other while writes go on, in an order that the answer rests on:
//!
//! 1. the end of the topic (the fixed point), 2. the group has committed past it, 3. the row, 4. the purge mark, 5. the
//!    cache, 6. the end of the topic again, 7. the events before and behind the fixed point.
//!
//! By 1 to 3 a row is at least as new as every event before the fixed point (PROTOCOL R13, G7). By 6 every version that a row
//! has, or that the cache calls logged or persisted, has its event before the second end (R6). By 3 and 4 a row that a purge
//! took is at or below the mark (R18). What an older row or a newer cache says beyond that is a difference.

use std::cmp::Ordering;

use cache::State;
use record::Version;

use super::seen::{Content, InCache, InTopic, Seen};

/// Everything that was read about one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    /// The events before the fixed point, dead letters left out.
    pub(crate) topic: Option<InTopic>,
    /// Those behind it.
    pub(crate) tail: Option<InTopic>,
    /// Events behind it that have the version of the row or of the cache.
    pub(crate) exact: Vec<Seen>,
    pub(crate) row: Option<Seen>,
    pub(crate) cached: Option<InCache>,
    /// The version that the cache has lies among the dead letters.
    pub(crate) dead: bool,
    pub(crate) purged: Version,
}

/// How a record's sources differ. Each has its sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Difference {
    RowMissing,
    RowBehind,
    RowContent,
    EventMissing,
    WouldComeBack,
    TailBehind,
    CacheAhead,
    CacheBehind,
    CacheContent,
    CacheWithoutRow,
    LoggedWithoutEvent,
    DeadUnsettled,
    MarkPassed,
    Orphan,
    Unindexed,
}

impl Difference {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::RowMissing => "row-missing",
            Self::RowBehind => "row-behind",
            Self::RowContent => "row-content",
            Self::EventMissing => "event-missing",
            Self::WouldComeBack => "would-come-back",
            Self::TailBehind => "tail-behind",
            Self::CacheAhead => "cache-ahead",
            Self::CacheBehind => "cache-behind",
            Self::CacheContent => "cache-content",
            Self::CacheWithoutRow => "cache-without-row",
            Self::LoggedWithoutEvent => "logged-without-event",
            Self::DeadUnsettled => "dead-unsettled",
            Self::MarkPassed => "mark-passed",
            Self::Orphan => "orphan",
            Self::Unindexed => "unindexed",
        }
    }

    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::RowMissing => "the topic has it, the table has no row",
            Self::RowBehind => "the row is older than the topic",
            Self::RowContent => "the row has the version of an event, but other content",
            Self::EventMissing => "the row has a version that the topic does not have: a replay would not bring it",
            Self::WouldComeBack => {
                "it is purged, and the topic's last event of it is no delete: a rebuild would bring it back"
            }
            Self::TailBehind => {
                "the topic's last event of it is older than one before: compaction keeps the older, and a rebuild gets that"
            }
            Self::CacheAhead => "the cache calls a version persisted that neither row nor topic has",
            Self::CacheBehind => "the cache has an older version than the row",
            Self::CacheContent => "the cache has the version of the row, but other content",
            Self::CacheWithoutRow => "the cache calls it persisted, the table has no row",
            Self::LoggedWithoutEvent => "the cache calls it logged, the topic does not have it",
            Self::DeadUnsettled => "the cache still has a version that is a dead letter: it was not told",
            Self::MarkPassed => "the purge mark has passed a write that waits in the cache",
            Self::Orphan => "it is a member of outbox or unsettled, and the cache has no record of it",
            Self::Unindexed => "the cache has not persisted it, and neither outbox nor unsettled knows it",
        }
    }
}

impl Sight {
    /// The content of the event of this version, where one was seen.
    fn event(&self, version: Version) -> Option<Content> {
        self.newest()
            .chain(self.exact.iter().copied())
            .find(|event| event.version == version)
            .map(|event| event.content)
    }

    /// The newest event before the fixed point, and behind it.
    fn newest(&self) -> impl Iterator<Item = Seen> {
        [self.topic, self.tail].into_iter().flatten().map(|events| events.seen)
    }

    /// The newest version in the topic.
    pub(crate) fn newest_in_topic(&self) -> Option<Seen> {
        self.newest().max_by_key(|event| event.version)
    }

    /// The versions whose events are worth looking for.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = Version> {
        let cached = match self.cached {
            Some(InCache::Record { seen, .. }) => Some(seen.version),
            _ => None,
        };
        self.row.map(|row| row.version).into_iter().chain(cached)
    }
}

/// How the sources differ; empty: they agree.
pub(crate) fn judge(sight: &Sight) -> Vec<Difference> {
    let mut found: Vec<_> = of_row(sight).into_iter().chain(of_topic(sight)).chain(of_cache(sight)).collect();
    found.sort_unstable();
    found
}

/// What is inverted before the fixed point was asserted again, at least as new, before the group passed it (R13, G7).
fn of_topic(sight: &Sight) -> Option<Difference> {
    let before = sight.topic.filter(|before| before.tail_behind)?;
    let healed = sight.tail.is_some_and(|behind| behind.seen.version >= before.seen.version);
    (!healed).then_some(Difference::TailBehind)
}

fn of_row(sight: &Sight) -> Option<Difference> {
    match (sight.row, sight.topic.map(|events| events.seen)) {
        (None, None) => None,
        (None, Some(event)) if event.version <= sight.purged => {
            (event.content != Content::Deleted).then_some(Difference::WouldComeBack)
        }
        (None, Some(_)) => Some(Difference::RowMissing),
        (Some(row), Some(event)) if row.version < event.version => Some(Difference::RowBehind),
        (Some(row), before) => match sight.event(row.version) {
            Some(content) => (!content.agrees(row.content)).then_some(Difference::RowContent),
            // It was there before us.
            None if row.version == Version::ZERO => None,
            // The topic keeps a delete for `delete.retention.ms` only, the row longer: to a rebuild both are no record.
            None if row.content == Content::Deleted && before.is_none() && sight.tail.is_none() => None,
            None => Some(Difference::EventMissing),
        },
    }
}

fn of_cache(sight: &Sight) -> Vec<Difference> {
    match sight.cached {
        None => Vec::new(),
        Some(InCache::Orphan) => vec![Difference::Orphan],
        Some(InCache::Record { seen, state: State::Persisted, .. }) => persisted(sight, seen).into_iter().collect(),
        Some(InCache::Record { seen, state, in_outbox, in_unsettled }) => {
            let indexed = if state == State::Cached { in_outbox } else { in_unsettled };
            let unindexed = (!indexed).then_some(Difference::Unindexed);
            waiting(sight, seen, state).into_iter().chain(unindexed).collect()
        }
    }
}

/// Only a settle or a fill marks a record persisted, after MySQL has committed it.
fn persisted(sight: &Sight, seen: Seen) -> Option<Difference> {
    let Some(row) = sight.row else {
        let purged = seen.content == Content::Deleted && seen.version <= sight.purged;
        // An event behind the fixed point, applied and settled since the row was looked for.
        let applied = sight.topic.is_none_or(|events| events.seen.version < seen.version)
            && sight.event(seen.version).is_some_and(|content| content.agrees(seen.content));
        return (!purged && !applied).then_some(Difference::CacheWithoutRow);
    };
    match seen.version.cmp(&row.version) {
        Ordering::Less => Some(Difference::CacheBehind),
        Ordering::Equal => (!seen.content.agrees(row.content)).then_some(Difference::CacheContent),
        // Applied and settled since the row was read.
        Ordering::Greater => {
            let applied = sight.event(seen.version).is_some_and(|content| content.agrees(seen.content));
            (!applied).then_some(Difference::CacheAhead)
        }
    }
}

/// What is on its way to MySQL is at least as new as the row.
fn waiting(sight: &Sight, seen: Seen, state: State) -> Option<Difference> {
    match sight.row.map(|row| (seen.version.cmp(&row.version), row)) {
        Some((Ordering::Less, _)) => Some(Difference::CacheBehind),
        Some((Ordering::Equal, row)) => (!seen.content.agrees(row.content)).then_some(Difference::CacheContent),
        None if seen.version <= sight.purged => Some(Difference::MarkPassed),
        Some((Ordering::Greater, _)) | None => {
            let reached = sight.newest().map(|event| event.version).max() >= Some(seen.version);
            let missing = if sight.dead { Difference::DeadUnsettled } else { Difference::LoggedWithoutEvent };
            (state == State::Logged && !reached).then_some(missing)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(version: u64, content: u8) -> Seen {
        let content = if content == 0 { Content::Deleted } else { Content::Digest([content; 16]) };
        Seen { version: Version::new(version * 16).unwrap(), content }
    }

    fn record(seen: Seen, state: State) -> Option<InCache> {
        let (in_outbox, in_unsettled) = (state == State::Cached, state == State::Logged);
        Some(InCache::Record { seen, state, in_outbox, in_unsettled })
    }

    fn inverted(seen: Seen) -> Option<InTopic> {
        Some(InTopic { seen, tail_behind: true })
    }

    fn calm(seen: Seen) -> Sight {
        Sight {
            topic: Some(InTopic::of(seen)),
            tail: None,
            exact: Vec::new(),
            row: Some(seen),
            cached: record(seen, State::Persisted),
            dead: false,
            purged: Version::ZERO,
        }
    }

    #[test]
    fn each_difference_is_called_by_its_name() {
        use Difference as D;
        let (old, new, other) = (at(1, 1), at(2, 2), at(2, 3));
        let calm = calm(new);
        let cases = [
            (Sight { row: None, cached: None, ..calm.clone() }, vec![D::RowMissing]),
            (Sight { row: Some(old), cached: None, ..calm.clone() }, vec![D::RowBehind]),
            (Sight { row: Some(other), cached: None, ..calm.clone() }, vec![D::RowContent]),
            (Sight { topic: Some(InTopic::of(old)), ..calm.clone() }, vec![D::EventMissing]),
            (Sight { topic: inverted(new), ..calm.clone() }, vec![D::TailBehind]),
            (Sight { topic: inverted(new), tail: Some(InTopic::of(old)), ..calm.clone() }, vec![D::TailBehind]),
            (Sight { topic: None, ..calm.clone() }, vec![D::EventMissing]),
            (Sight { row: None, cached: None, purged: at(3, 0).version, ..calm.clone() }, vec![D::WouldComeBack]),
            (Sight { cached: record(at(3, 3), State::Persisted), ..calm.clone() }, vec![D::CacheAhead]),
            (Sight { cached: record(old, State::Persisted), ..calm.clone() }, vec![D::CacheBehind]),
            (Sight { cached: record(old, State::Logged), ..calm.clone() }, vec![D::CacheBehind]),
            (Sight { cached: record(other, State::Persisted), ..calm.clone() }, vec![D::CacheContent]),
            (Sight { cached: record(other, State::Cached), ..calm.clone() }, vec![D::CacheContent]),
            (Sight { topic: None, row: None, ..calm.clone() }, vec![D::CacheWithoutRow]),
            (Sight { cached: record(at(3, 3), State::Logged), ..calm.clone() }, vec![D::LoggedWithoutEvent]),
            (Sight { cached: record(at(3, 3), State::Logged), dead: true, ..calm.clone() }, vec![D::DeadUnsettled]),
            (
                Sight {
                    topic: None,
                    row: None,
                    cached: record(old, State::Cached),
                    purged: new.version,
                    ..calm.clone()
                },
                vec![D::MarkPassed],
            ),
            (Sight { cached: Some(InCache::Orphan), ..calm.clone() }, vec![D::Orphan]),
            (
                Sight {
                    cached: Some(InCache::Record {
                        seen: new,
                        state: State::Logged,
                        in_outbox: true,
                        in_unsettled: false,
                    }),
                    ..calm.clone()
                },
                vec![D::Unindexed],
            ),
        ];
        for (sight, differences) in cases {
            assert_eq!(judge(&sight), differences, "{sight:?}");
        }
        let unreadable = Seen { content: Content::Unreadable, ..new };
        let damaged = Sight { row: Some(unreadable), cached: record(unreadable, State::Persisted), ..calm };
        assert_eq!(judge(&damaged), vec![D::RowContent, D::CacheContent], "two that cannot be read are not the same");
    }

    #[test]
    fn r13_an_inversion_that_was_asserted_again_is_agreement() {
        let (new, newer) = (at(2, 2), at(3, 3));
        let again = Sight { topic: inverted(new), tail: Some(InTopic::of(new)), ..calm(new) };
        assert_eq!(judge(&again), vec![], "behind the fixed point");
        let again = Sight { tail: inverted(newer), ..again };
        assert_eq!(judge(&again), vec![], "what is inverted behind the fixed point may not be applied yet");
    }

    #[test]
    fn what_a_purge_or_time_took_is_agreement() {
        let tombstone = at(2, 0);
        let purged = Sight { row: None, purged: at(3, 0).version, ..calm(tombstone) };
        assert_eq!(judge(&purged), vec![], "topic and cache still have the delete whose row was purged");
        let aged = Sight { topic: None, cached: None, ..calm(tombstone) };
        assert_eq!(judge(&aged), vec![], "the topic keeps a delete for a while only");
        let adopted = Seen { version: Version::ZERO, ..at(0, 9) };
        let adopted =
            Sight { topic: None, row: Some(adopted), cached: record(adopted, State::Persisted), ..calm(adopted) };
        assert_eq!(judge(&adopted), vec![], "a row that was there before us has no event");
    }

    /// One record's life as the protocol lets it go: each step at its own time, the sources read in the order above.
    #[derive(Clone, Debug)]
    struct Life {
        content: u8,
        cached: usize,
        logged: usize,
        applied: usize,
        settled: usize,
    }

    /// Delays between the steps of each version.
    fn lives() -> impl Strategy<Value = Vec<Life>> {
        let life = (0u8..4, 0usize..6, 0usize..6, 0usize..6, 0usize..6);
        proptest::collection::vec(life, 0..5).prop_map(|lives| {
            let mut begun = 0;
            let mut ends = [0; 3];
            lives
                .into_iter()
                .map(|(content, cached, logged, applied, settled)| {
                    let cached = begun + cached;
                    begun = cached + 1;
                    // One record lies in one partition, whose events are logged, applied and settled in their order.
                    let mut after = |at: usize, step: usize, end: usize| {
                        ends[end] = (at + step + 1).max(ends[end] + 1);
                        ends[end]
                    };
                    let logged = after(cached, logged, 0);
                    let applied = after(logged, applied, 1);
                    let settled = after(applied, settled, 2);
                    Life { content, cached, logged, applied, settled }
                })
                .collect()
        })
    }

    fn versions(lives: &[Life], until: impl Fn(&Life) -> bool) -> Vec<Seen> {
        let seen = lives.iter().zip(1u64..).filter(|(life, _)| until(life));
        seen.map(|(life, number)| at(number, life.content)).collect()
    }

    /// The newest cached version and its state at `time`; a settle of an older version marks nothing.
    fn in_cache(lives: &[Life], time: usize) -> Option<InCache> {
        let (life, number) = lives.iter().zip(1u64..).filter(|(life, _)| life.cached <= time).last()?;
        let state = match () {
            () if life.settled <= time => State::Persisted,
            () if life.logged <= time => State::Logged,
            () => State::Cached,
        };
        record(at(number, life.content), state)
    }

    proptest! {
        /// No false alarm: whatever the moments at which the sources are read, a record that the protocol moves agrees once
        /// the events of the versions that were seen have been looked up.
        #[test]
        fn a_record_that_the_protocol_moves_is_never_called_different(
            lives in lives(), fixed in 0usize..30, waits in proptest::collection::vec(0usize..8, 4)
        ) {
            // The group has passed the fixed point when everything logged by then is applied.
            let passed = lives.iter().filter(|life| life.logged <= fixed).map(|life| life.applied).max().unwrap_or(0);
            let read = passed.max(fixed) + waits[0];
            let looked = read + waits[1];
            let end = looked + waits[2];
            let newest = |seen: Vec<Seen>| seen.into_iter().reduce(|known, next| Seen::newest(Some(known), next));
            let events = |seen: Vec<Seen>| seen.into_iter().map(InTopic::of).reduce(InTopic::then);
            let mut sight = Sight {
                topic: events(versions(&lives, |life| life.logged <= fixed)),
                tail: events(versions(&lives, |life| life.logged > fixed && life.logged <= end)),
                exact: Vec::new(),
                row: newest(versions(&lives, |life| life.applied <= read)),
                cached: in_cache(&lives, looked),
                dead: false,
                purged: Version::ZERO,
            };
            let wanted: Vec<Version> = sight.wanted().collect();
            let behind = versions(&lives, |life| life.logged > fixed && life.logged <= end);
            sight.exact = behind.into_iter().filter(|event| wanted.contains(&event.version)).collect();
            prop_assert_eq!(judge(&sight), vec![], "{:?} of {:?}", sight, lives);
        }
    }
}
