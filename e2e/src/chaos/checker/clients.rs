//! What clients were told, against what they were told before.

use std::collections::{BTreeSet, HashMap};

use super::{Case, Rule, Verdict, history};
use crate::chaos::evidence::Row;
use crate::chaos::journal::{Content, Micros, Op, Seen, Written, is_past_redis};

/// Of two writes to a record, one acknowledged before the other began never wins over it (G1); and no two share a version.
pub(super) fn order(case: &Case<'_>, verdict: &mut Verdict) {
    for (id, writes) in &case.writes {
        let acknowledged =
            Ladder::new(writes.iter().flat_map(|write| write.acknowledged.iter().map(|told| (told.at, told.version))));
        let mut owners: HashMap<u64, &Written> = HashMap::new();
        for write in writes {
            for told in &write.acknowledged {
                if let Some(before) = acknowledged.before(write.begun)
                    && before >= told.version
                {
                    let at = write.begun;
                    let detail =
                        format!("{id}: a write that began at {at} has {}, before it there was {before}", told.version);
                    verdict.add(Rule::Order, detail);
                }
                if owners.insert(told.version, write).is_some_and(|other| other != *write) {
                    verdict.add(Rule::SharedVersion, format!("{id}: {} belongs to two writes", told.version));
                }
            }
        }
    }
}

/// Versions never go back for a reader (GUARANTEES, what cannot be promised, 6).
pub(super) fn reads(case: &Case<'_>, verdict: &mut Verdict) {
    let mut by_id: HashMap<&str, Vec<&Seen>> = HashMap::new();
    for seen in &case.evidence.told.reads {
        by_id.entry(&seen.id).or_default().push(seen);
    }
    for (id, reads) in by_id {
        let writes = case.writes_of(id);
        let known = known(case, writes, &reads);
        for seen in reads {
            if let Some((version, content)) = &seen.found
                && let Some(why) = foreign(writes, *version, Some(content))
            {
                verdict.add(Rule::Phantom, format!("a reader of {id} was shown {}: {why}", content.name));
            }
            let older = seen.least.is_some_and(|least| match &seen.found {
                Some((version, _)) => *version < least,
                None => !may_be_deleted(writes, least, seen.ended),
            });
            if older {
                verdict.add(
                    Rule::StaleRead,
                    format!("{id}: {:?} was asked for at least, shown {:?}", seen.least, seen.found),
                );
            }
            let before =
                known.iter().take_while(|known| known.at < seen.begun).filter(|known| is_held(case, known, seen));
            let Some(before) = before.map(|known| known.version).max() else { continue };
            let rule = Rule::StaleRead;
            match &seen.found {
                // The answer says that the table may be older (GUARANTEES, what cannot be promised, 6).
                _ if seen.unchecked => {}
                Some((version, _)) if *version < before => {
                    let what = format!("{id}: shown {version} at {}, {before} was known before", seen.begun);
                    verdict.add(rule, told(case, what, seen));
                }
                None if !may_be_deleted(writes, before, seen.ended) => {
                    let what = format!("{id}: not found at {}, {before} was known before", seen.begun);
                    verdict.add(rule, told(case, what, seen));
                }
                _ => {}
            }
        }
    }
}

fn told(case: &Case<'_>, what: String, seen: &Seen) -> String {
    format!("{what}\n         {}", history::of(case, &seen.id, seen.begun))
}

/// That a record has a version, because a writer was told so or a reader was shown it.
struct Known {
    /// When it was asked for.
    begun: Micros,
    /// When it was answered.
    at: Micros,
    version: u64,
    /// From then on a write that the table refuses may have taken it out of the cache with itself (section 3, 1).
    until: Micros,
}

/// By the time of the answer. What the table refuses leaves the cache again.
fn known(case: &Case<'_>, writes: &[&Written], reads: &[&Seen]) -> Vec<Known> {
    let kept = writes.iter().filter(|write| !write.op.is_poison());
    let told = kept.flat_map(|write| write.acknowledged.iter().map(move |told| (*write, told)));
    let told: Vec<_> = told
        .map(|(write, told)| {
            let until = case.lost_below(write, told).unwrap_or(Micros::MAX);
            Known { begun: write.begun, at: told.at, version: told.version, until }
        })
        .collect();
    let ends: HashMap<u64, Micros> = told.iter().map(|known| (known.version, known.until)).collect();
    let shown = reads.iter().filter_map(|seen| {
        let (version, _) = seen.found.as_ref()?;
        Some(Known { begun: seen.begun, at: seen.ended, version: *version, until: *ends.get(version)? })
    });
    let mut known: Vec<_> = shown.collect();
    known.extend(told);
    known.sort_by_key(|known| known.at);
    known
}

/// Whether the cache must have this, or a newer version, when it is read: what was written past it is there only once the
/// table has it, and what it forgot is not.
fn is_held(case: &Case<'_>, known: &Known, seen: &Seen) -> bool {
    !is_past_redis(known.version) && seen.ended < known.until && !case.was_forgotten(known.begun, known.at, seen.ended)
}

/// Whether a delete of at least this version may have happened before `ended`.
fn may_be_deleted(writes: &[&Written], version: u64, ended: Micros) -> bool {
    let deletes = writes.iter().filter(|write| write.op == Op::Delete && write.begun < ended);
    deletes.into_iter().any(|write| write.indeterminate || write.version().is_some_and(|own| own >= version))
}

/// One key, one version (G9), as long as Redis remembers the key: an answer says where it was not looked up.
pub(super) fn retries(case: &Case<'_>, verdict: &mut Verdict) {
    for write in case.evidence.told.writes.iter().filter(|write| write.keyed) {
        let checked: Vec<_> = write.acknowledged.iter().filter(|told| told.checked).collect();
        for (first, next) in checked.iter().zip(checked.iter().skip(1)) {
            let forgotten = case.was_forgotten(write.begun, first.at, next.at);
            if first.version != next.version && !forgotten {
                let detail = format!("{}: one key was given {} and {}", write.id, first.version, next.version);
                verdict.add(Rule::SecondVersion, detail);
            }
        }
    }
}

/// If-Match loses no update. It does not see what was written past Redis, nor what the table refused (section 3, 3); after a
/// loss of Redis it is not answered before it can see everything (R16).
pub(super) fn conditions(case: &Case<'_>, verdict: &mut Verdict) {
    for (id, writes) in &case.writes {
        let seen = writes.iter().flat_map(|write| {
            let owed = write.acknowledged.iter().filter(|told| case.is_owed(write, told));
            owed.map(|told| told.version).filter(|version| !is_past_redis(*version))
        });
        let seen: BTreeSet<u64> = seen.collect();
        for write in writes {
            let (Some(depends_on), Some(version)) = (write.depends_on, write.version()) else { continue };
            if let Some(between) = seen.range(depends_on + 1..version.max(depends_on + 1)).next() {
                let detail = format!("{id}: {version} was made on {depends_on}, {between} stood between");
                verdict.add(Rule::LostUpdate, detail);
            }
        }
    }
}

/// Why nobody can have brought this row about; `None`: somebody may have.
pub(super) fn unaccountable(writes: &[&Written], row: &Row) -> Option<String> {
    foreign(writes, row.version, row.content.as_ref())
}

fn foreign(writes: &[&Written], version: u64, content: Option<&Content>) -> Option<String> {
    let same = |write: &&&Written| match (&write.op, content) {
        (Op::Put(sent), Some(content)) => sent == content,
        (Op::Delete, None) => true,
        _ => false,
    };
    let mut candidates = writes.iter().filter(same).peekable();
    if candidates.peek().is_none() {
        return Some("nobody sent it".to_owned());
    }
    let mut refused = true;
    for write in candidates {
        refused &= write.was_refused();
        if write.may_have(version) {
            return None;
        }
    }
    Some(if refused { "it was refused".to_owned() } else { format!("nobody was told version {version} for it") })
}

/// The highest version that was known at each time.
struct Ladder(Vec<(Micros, u64)>);

impl Ladder {
    fn new(known: impl Iterator<Item = (Micros, u64)>) -> Self {
        let mut steps: Vec<_> = known.collect();
        steps.sort_unstable();
        let mut highest = 0;
        for (_, version) in &mut steps {
            highest = highest.max(*version);
            *version = highest;
        }
        Self(steps)
    }

    /// What was known before `at`.
    fn before(&self, at: Micros) -> Option<u64> {
        let upto = self.0.partition_point(|(known, _)| *known < at);
        self.0.get(upto.checked_sub(1)?).map(|(_, version)| *version)
    }
}
