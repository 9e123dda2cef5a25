//! What clients were told, against what they were told before.

use std::collections::HashMap;

use super::{Case, Rule, Verdict};
use crate::chaos::evidence::Row;
use crate::chaos::journal::{Content, Micros, Op, Seen, Written};

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

/// Versions never go back for a reader, as long as Redis was not hurt.
pub(super) fn reads(case: &Case<'_>, verdict: &mut Verdict) {
    let mut by_id: HashMap<&str, Vec<&Seen>> = HashMap::new();
    for seen in &case.evidence.told.reads {
        by_id.entry(&seen.id).or_default().push(seen);
    }
    for (id, reads) in by_id {
        let writes = case.writes_of(id);
        let told = writes.iter().flat_map(|write| write.acknowledged.iter().map(|told| (told.at, told.version)));
        let shown = reads.iter().filter_map(|seen| Some((seen.ended, seen.found.as_ref()?.0)));
        let known = Ladder::new(told.chain(shown));
        for seen in reads {
            if let Some((version, content)) = &seen.found
                && let Some(why) = foreign(writes, *version, Some(content))
            {
                verdict.add(Rule::Phantom, format!("a reader of {id} was shown {}: {why}", content.name));
            }
            let Some(before) = known.before(seen.begun).filter(|_| !case.is_blind(seen.begun, seen.ended)) else {
                continue;
            };
            match &seen.found {
                Some((version, _)) if *version < before => {
                    let detail = format!("{id}: shown {version} at {}, {before} was known before", seen.begun);
                    verdict.add(Rule::StaleRead, detail);
                }
                None if !may_be_deleted(writes, before, seen.ended) => {
                    let detail = format!("{id}: not found at {}, {before} was known before", seen.begun);
                    verdict.add(Rule::StaleRead, detail);
                }
                _ => {}
            }
        }
    }
}

/// Whether a delete of at least this version may have happened before `ended`.
fn may_be_deleted(writes: &[&Written], version: u64, ended: Micros) -> bool {
    let deletes = writes.iter().filter(|write| write.op == Op::Delete && write.begun < ended);
    deletes.into_iter().any(|write| write.indeterminate || write.version().is_some_and(|own| own >= version))
}

/// One key, one version (G9), as long as Redis remembers the key.
pub(super) fn retries(case: &Case<'_>, verdict: &mut Verdict) {
    for write in case.evidence.told.writes.iter().filter(|write| write.keyed && !case.is_disturbed_at(write.ended)) {
        let mut versions: Vec<_> = write.acknowledged.iter().map(|told| told.version).collect();
        versions.dedup();
        if versions.len() > 1 {
            verdict.add(Rule::SecondVersion, format!("{}: one key was given {versions:?}", write.id));
        }
    }
}

/// If-Match loses no update, as long as everybody wrote through Redis.
pub(super) fn conditions(case: &Case<'_>, verdict: &mut Verdict) {
    for (id, writes) in &case.writes {
        for write in writes {
            let (Some(depends_on), Some(version)) = (write.depends_on, write.version()) else { continue };
            let between = writes.iter().filter_map(|other| other.version()).find(|v| *v > depends_on && *v < version);
            if let Some(between) = between.filter(|_| !case.is_disturbed_at(write.ended)) {
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
        // A try without an answer may have been given any version.
        if write.indeterminate || write.acknowledged.iter().any(|told| told.version == version) {
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
