//! What stands in the stores, against what clients were told and against each other.

use std::collections::{HashMap, HashSet};

use super::clients::unaccountable;
use super::{Case, Rule, Verdict};
use crate::chaos::evidence::Event;
use crate::chaos::journal::{Op, State};

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

/// At no time was an offset committed past an event that was not applied (G7).
pub(super) fn offsets(case: &Case<'_>, verdict: &mut Verdict) {
    for sample in &case.evidence.samples {
        let passed =
            case.evidence.events.iter().filter(|event| {
                sample.committed.get(&event.partition).is_some_and(|committed| event.offset < *committed)
            });
        for event in passed.filter(|event| !is_in(event, &sample.table, &case.evidence.dead)) {
            let held = sample.table.get(&event.id);
            let detail = format!("at {} {} was passed, the table had {held:?}", sample.at, told(event));
            verdict.add(Rule::OffsetPassed, detail);
        }
    }
}

fn told(event: &Event) -> String {
    format!("{}@{} ({} at {:?})", event.partition, event.offset, event.id, event.version)
}

/// Applied or superseded, or dead.
fn is_in(event: &Event, table: &HashMap<String, u64>, dead: &HashSet<(i32, i64)>) -> bool {
    let held = table.get(&event.id).copied();
    let applied = event.version.is_some_and(|version| held.is_some_and(|held| held >= version));
    applied || dead.contains(&(event.partition, event.offset))
}

/// Per partition: events = applied + superseded + dead, all of them committed, and the last of each record is its row.
pub(super) fn accounts(case: &Case<'_>, verdict: &mut Verdict) {
    let evidence = case.evidence;
    let table: HashMap<String, u64> = evidence.rows.iter().map(|(id, row)| (id.clone(), row.version)).collect();
    let mut last: HashMap<&str, &Event> = HashMap::new();
    for event in &evidence.events {
        if !is_in(event, &table, &evidence.dead) {
            verdict.add(Rule::Unaccounted, format!("{} is neither applied nor superseded nor dead", told(event)));
        }
        if evidence.committed.get(&event.partition).is_none_or(|committed| *committed <= event.offset) {
            verdict.add(Rule::NotDrained, format!("{} is not committed", told(event)));
        }
        last.insert(&event.id, event);
    }
    for (id, event) in last {
        let poison = evidence.dead.contains(&(event.partition, event.offset));
        if !poison && event.version != table.get(id).copied() {
            let detail = format!("the last of {id} is {}, the table has {:?}", told(event), table.get(id));
            verdict.add(Rule::TailDiffers, detail);
        }
    }
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
