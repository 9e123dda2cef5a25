//! What stands in the stores, against what clients were told and against each other.

use std::collections::HashMap;

use super::clients::unaccountable;
use super::{Case, Rule, Verdict};
use crate::chaos::evidence::{Drain, Event, Evidence};
use crate::chaos::journal::{Op, State, Written};

/// Nothing lost, nothing phantom, nothing resurrected.
pub(super) fn table(case: &Case<'_>, verdict: &mut Verdict) {
    let rows = &case.evidence.rows;
    for (id, row) in rows {
        if let Some(why) = unaccountable(case.writes_of(id), row).filter(|_| !is_poison(id)) {
            let what = row.content.as_ref().map_or("a tombstone", |content| &content.name);
            // An acknowledged version with content that is not its write's is told below.
            if case.newest_owed(id).is_none_or(|(version, _)| version != row.version) {
                verdict.add(Rule::Phantom, format!("{id} is {what} at {}: {why}", row.version));
            }
        }
    }
    for id in case.writes.keys() {
        let Some((owed, write)) = case.newest_owed(id) else { continue };
        if is_on_its_way(case, id, owed) {
            continue;
        }
        let Some(row) = rows.get(*id) else {
            verdict.add(Rule::Lost, format!("{id} was acknowledged at {owed} ({}) and has no row", said(&write.op)));
            continue;
        };
        let deleted = write.op == Op::Delete;
        if row.version < owed {
            let rule = if deleted && row.content.is_some() { Rule::Resurrected } else { Rule::Lost };
            let detail =
                format!("{id} was acknowledged at {owed} ({}), the table has {}", said(&write.op), row.version);
            verdict.add(rule, detail);
        } else if row.version == owed {
            match (&write.op, &row.content) {
                (Op::Delete, None) => {}
                (Op::Put(sent), Some(held)) if sent == held => {}
                (Op::Delete, Some(held)) => {
                    verdict.add(Rule::Resurrected, format!("{id}: deleted at {owed}, and {} is there", held.name));
                }
                (Op::Put(sent), held) => {
                    let held = held.as_ref().map_or("a tombstone", |held| &held.name);
                    verdict.add(Rule::Mixed, format!("{id} at {owed} holds {held}, acknowledged was {}", sent.name));
                }
            }
        }
    }
}

/// What is still in the topic, where not all has arrived in time, is late, not lost.
fn is_on_its_way(case: &Case<'_>, id: &str, version: u64) -> bool {
    let Evidence { events, committed, drain, .. } = case.evidence;
    let is_late = |event: &Event| committed.get(&event.partition).is_none_or(|next| event.offset >= *next);
    let late = events.iter().filter(|event| event.id == id && event.version >= Some(version) && is_late(event));
    matches!(drain, Drain::NotWithin(..)) && late.count() > 0
}

fn said(op: &Op) -> &str {
    match op {
        Op::Put(content) => &content.name,
        Op::Delete => "a delete",
    }
}

/// Records that the campaign itself put into the topic: nobody wrote them.
pub(crate) const POISON: &str = "poison-";

fn is_poison(id: &str) -> bool {
    id.starts_with(POISON)
}

/// At no time was an offset committed past an event that was neither applied nor, by then, a dead letter (G7).
pub(super) fn offsets(case: &Case<'_>, verdict: &mut Verdict) {
    let evidence = case.evidence;
    for sample in &evidence.samples {
        let passed = |event: &&Event| sample.committed.get(&event.partition).is_some_and(|next| event.offset < *next);
        let dead = |event: &Event| evidence.dead.get(&event.place()).is_some_and(|sent| *sent <= sample.at);
        for event in evidence.events.iter().filter(passed) {
            if !is_in(event, &sample.table) && !dead(event) {
                let held = sample.table.get(&event.id);
                let detail = format!("at {} {} was passed, the table had {held:?}", sample.at, told(event));
                verdict.add(Rule::OffsetPassed, detail);
            }
        }
    }
}

fn told(event: &Event) -> String {
    format!("{}@{} ({} at {:?})", event.partition, event.offset, event.id, event.version)
}

/// Applied or superseded.
fn is_in(event: &Event, table: &HashMap<String, u64>) -> bool {
    let held = table.get(&event.id).copied();
    event.version.is_some_and(|version| held.is_some_and(|held| held >= version))
}

/// Per partition: events = applied + superseded + dead, all of them committed, and the last of each record is its row.
pub(super) fn accounts(case: &Case<'_>, verdict: &mut Verdict) {
    let evidence = case.evidence;
    let table: HashMap<String, u64> = evidence.rows.iter().map(|(id, row)| (id.clone(), row.version)).collect();
    let mut last: HashMap<&str, &Event> = HashMap::new();
    for event in &evidence.events {
        if !is_in(event, &table) && !evidence.dead.contains_key(&event.place()) {
            verdict.add(Rule::Unaccounted, format!("{} is neither applied nor superseded nor dead", told(event)));
        }
        if evidence.committed.get(&event.partition).is_none_or(|committed| *committed <= event.offset) {
            verdict.add(Rule::NotDrained, format!("{} is not committed", told(event)));
        }
        last.insert(&event.id, event);
    }
    for (id, event) in last {
        let held = table.get(id).copied();
        // Behind a dead letter the row is produced again. Where there is none the letter stays the last, on purpose (R13).
        let is_dead = evidence.dead.contains_key(&event.place());
        if if is_dead { held.is_some() } else { held != event.version } {
            verdict.add(Rule::TailDiffers, format!("the last of {id} is {}, the table has {held:?}", told(event)));
        }
    }
}

/// A dead letter is one for a reason, and is noted (G8).
pub(super) fn letters(case: &Case<'_>, verdict: &mut Verdict) {
    let Evidence { dead, noted, events, .. } = case.evidence;
    for event in events.iter().filter(|event| dead.contains_key(&event.place())) {
        if !event.foreign && !may_be_poison(case.writes_of(&event.id), event.version) {
            verdict.add(Rule::WronglyDead, format!("{} is a dead letter, and nothing is bad about it", told(event)));
        }
    }
    for (partition, offset) in noted.iter().filter(|place| !dead.contains_key(place)) {
        verdict.add(Rule::Unaccounted, format!("a dead letter of {partition}@{offset} is noted, and there is none"));
    }
    // Whoever dies between letter and note may find the event superseded when it comes again: then no note is owed.
    let table: HashMap<String, u64> = case.evidence.rows.iter().map(|(id, row)| (id.clone(), row.version)).collect();
    let owed = |event: &&Event| dead.contains_key(&event.place()) && !is_in(event, &table);
    for event in events.iter().filter(owed).filter(|event| !noted.contains(&event.place())) {
        verdict.add(Rule::Unaccounted, format!("{} is a dead letter, and not noted", told(event)));
    }
}

fn may_be_poison(writes: &[&Written], version: Option<u64>) -> bool {
    let mut poison = writes.iter().filter(|write| write.op.is_poison());
    poison.any(|write| version.is_some_and(|version| write.may_have(version)))
}

/// What is cached is settled and is the row.
pub(super) fn cache(case: &Case<'_>, verdict: &mut Verdict) {
    for entry in case.evidence.cached.iter().filter(|entry| !entry.in_doubt) {
        let id = &entry.id;
        let Some(row) = case.evidence.rows.get(id) else {
            verdict.add(Rule::CacheDiffers, format!("{id} is cached at {} and has no row", entry.version));
            continue;
        };
        if entry.state != State::Persisted {
            verdict.add(Rule::CacheDiffers, format!("{id} at {} is still {:?}", entry.version, entry.state));
        }
        if (entry.version, &entry.content) != (row.version, &row.content) {
            let detail =
                format!("{id} is cached at {}, the table has {}, or their contents differ", entry.version, row.version);
            verdict.add(Rule::CacheDiffers, detail);
        }
    }
}

/// What clients are shown is the row.
pub(super) fn views(case: &Case<'_>, verdict: &mut Verdict) {
    for (id, shown) in &case.evidence.shown {
        let row = case.evidence.rows.get(id);
        let live = row.and_then(|row| row.content.as_ref().map(|content| (row.version, content.clone())));
        if *shown != live {
            verdict.add(Rule::ViewDiffers, format!("{id} is shown as {shown:?}, the table has {live:?}"));
        }
    }
}
