//! What happened to one record shortly before and after a moment: so that whoever reads a verdict sees how it came about.

use super::Case;
use crate::chaos::journal::{Acknowledged, Micros, Op, Written};

/// What is told before and behind the moment.
const AROUND: Micros = 5_000_000;

/// Writes, reads, events and looks at the table, in the order of their beginnings.
pub(super) fn of(case: &Case<'_>, id: &str, moment: Micros) -> String {
    let near = |begun: Micros, ended: Micros| begun <= moment + AROUND && ended + AROUND >= moment;
    let writes = case.writes_of(id).iter().filter(|write| near(write.begun, write.ended));
    let writes = writes.map(|write| (write.begun, wrote(write)));
    let reads = case.evidence.told.reads.iter().filter(|seen| seen.id == id && near(seen.begun, seen.ended));
    let reads = reads.map(|seen| {
        let found = seen.found.as_ref().map(|(version, _)| version);
        let unchecked = if seen.unchecked { " unchecked" } else { "" };
        (seen.begun, format!("{}..{} read: {found:?}{unchecked}", seen.begun, seen.ended))
    });
    let looks = case.evidence.samples.iter().filter(|sample| near(sample.at, sample.at));
    let looks = looks.map(|sample| (sample.at, format!("{} table: {:?}", sample.at, sample.table.get(id))));
    let mut all: Vec<_> = writes.chain(reads).chain(looks).collect();
    all.sort();
    let events = case.evidence.events.iter().filter(|event| event.id == id).map(|event| {
        let dead = case.evidence.dead.get(&event.place()).map(|at| format!(" dead at {at}"));
        format!("{}@{} {:?}{}", event.partition, event.offset, event.version, dead.unwrap_or_default())
    });
    let all: Vec<_> = all.into_iter().map(|(_, told)| told).chain(events).collect();
    all.join("\n         ")
}

fn wrote(Written { op, depends_on, keyed, begun, ended, acknowledged, indeterminate, .. }: &Written) -> String {
    let told = |told: &Acknowledged| format!(" {:?} {} at {}", told.state, told.version, told.at);
    let told: String = acknowledged.iter().map(told).collect();
    let kind = match op {
        op if op.is_poison() => "refused put",
        Op::Put(_) => "put",
        Op::Delete => "delete",
    };
    let (key, unknown) = (if *keyed { " keyed" } else { "" }, if *indeterminate { " unknown" } else { "" });
    format!("{begun}..{ended} {kind}{key}{unknown} on {depends_on:?}:{told}")
}
