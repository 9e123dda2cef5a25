//! The judge: from the evidence of a round to what was broken. Pure, and independent of the product: it takes no decision
//! with its code, reads no Avro, and knows only what docs/PROTOCOL.md promises (section 3: what it does not).

mod clients;
mod history;
mod stores;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

pub(crate) use self::stores::POISON;
use super::evidence::{Drain, Evidence};
use super::journal::{Acknowledged, Micros, State, Written};

/// What can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// An acknowledged write is not in the table, nor is a newer one.
    Lost,
    /// Something stands there that nobody sent, or that was refused.
    Phantom,
    /// A record is back whose newest acknowledged write is a delete.
    Resurrected,
    /// A row has an acknowledged version and another write's content.
    Mixed,
    /// Of two writes, one acknowledged before the other began has the higher version.
    Order,
    /// Two writes have one version.
    SharedVersion,
    /// A reader was shown something older than what was acknowledged, or shown, before it asked.
    StaleRead,
    /// A retry with the same Idempotency-Key was given a second version.
    SecondVersion,
    /// A conditional write was acknowledged although another write stood in between.
    LostUpdate,
    /// An offset was committed past an event that was in neither table nor dead letters.
    OffsetPassed,
    /// An event is neither applied nor superseded nor dead, or it is dead and not noted as such.
    Unaccounted,
    /// A dead letter of which nothing was bad.
    WronglyDead,
    /// Cache and table differ once drained.
    CacheDiffers,
    /// What a client is shown and the table differ once drained.
    ViewDiffers,
    /// The last event of a record is not what the table holds: a rebuild of the compacted topic would differ.
    TailDiffers,
    /// The pipeline did not drain, or something was left waiting.
    NotDrained,
    /// No write was acknowledged as logged once all was healed.
    NoProgress,
}

/// Something that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What.
    pub rule: Rule,
    /// With whom and how.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.detail)
    }
}

/// How many of each rule's violations are told.
const TOLD: usize = 5;

/// What the judge found.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// By rule: how many, and the first few.
    broken: BTreeMap<Rule, (u64, Vec<Violation>)>,
}

impl Verdict {
    /// Nothing was broken.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.broken.is_empty()
    }

    /// How often a rule was broken.
    #[must_use]
    pub fn count(&self, rule: Rule) -> u64 {
        self.broken.get(&rule).map_or(0, |(count, _)| *count)
    }

    /// The first few of each rule.
    pub fn told(&self) -> impl Iterator<Item = &Violation> {
        self.broken.values().flat_map(|(_, told)| told)
    }

    fn add(&mut self, rule: Rule, detail: String) {
        let (count, told) = self.broken.entry(rule).or_default();
        *count += 1;
        if told.len() < TOLD {
            told.push(Violation { rule, detail });
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (rule, (count, told)) in &self.broken {
            writeln!(f, "   {rule:?}: {count}")?;
            for violation in told {
                writeln!(f, "      {}", violation.detail)?;
            }
        }
        Ok(())
    }
}

/// Judges a round.
#[must_use]
pub fn judge(evidence: &Evidence) -> Verdict {
    let case = Case::new(evidence);
    let mut verdict = Verdict::default();
    clients::order(&case, &mut verdict);
    clients::reads(&case, &mut verdict);
    clients::retries(&case, &mut verdict);
    clients::conditions(&case, &mut verdict);
    stores::table(&case, &mut verdict);
    stores::offsets(&case, &mut verdict);
    ended(evidence, &mut verdict);
    // What never arrived differs everywhere: said once is enough.
    if matches!(evidence.drain, Drain::After(_)) {
        stores::accounts(&case, &mut verdict);
        stores::letters(&case, &mut verdict);
        stores::cache(&case, &mut verdict);
        stores::views(&case, &mut verdict);
    }
    verdict
}

fn ended(evidence: &Evidence, verdict: &mut Verdict) {
    match &evidence.drain {
        Drain::NotWithin(bound, what) => verdict.add(Rule::NotDrained, format!("after {bound:?}: {what}")),
        Drain::After(_) if evidence.waiting != (0, 0) => {
            let (outbox, unsettled) = evidence.waiting;
            verdict.add(Rule::NotDrained, format!("{outbox} in the outbox, {unsettled} unsettled"));
        }
        Drain::After(_) => {}
    }
    if evidence.progress.is_none() {
        verdict.add(Rule::NoProgress, "no write was logged after the last fault".to_owned());
    }
}

/// The evidence, by record.
struct Case<'e> {
    evidence: &'e Evidence,
    writes: HashMap<&'e str, Vec<&'e Written>>,
    /// The versions of each record in the topic that are no dead letters.
    logged: HashMap<&'e str, BTreeSet<u64>>,
}

impl<'e> Case<'e> {
    fn new(evidence: &'e Evidence) -> Self {
        let mut writes: HashMap<&str, Vec<&Written>> = HashMap::new();
        for write in &evidence.told.writes {
            writes.entry(&write.id).or_default().push(write);
        }
        let mut logged: HashMap<&str, BTreeSet<u64>> = HashMap::new();
        for event in evidence.events.iter().filter(|event| !evidence.dead.contains_key(&event.place())) {
            logged.entry(&event.id).or_default().extend(event.version);
        }
        Self { evidence, writes, logged }
    }

    fn writes_of(&self, id: &str) -> &[&'e Written] {
        self.writes.get(id).map_or(&[], Vec::as_slice)
    }

    /// Whether an acknowledged version, or a newer one, must be in the table (PROTOCOL section 3, 1): what the table refuses
    /// never is; and `cached` rests on Redis alone until the topic has it, or a write on top of it that is refused.
    fn is_owed(&self, write: &Written, told: &Acknowledged) -> bool {
        !write.op.is_poison()
            && (told.state != State::Cached
                || self.reached_the_topic(write, told)
                || !(self.was_forgotten(write.begun, told.at, Micros::MAX) || self.lost_below(write, told).is_some()))
    }

    /// From when on a refused write may have taken this one with it (`x08`): it was only `cached`, and nothing of what that had
    /// overwritten came to the topic.
    fn lost_below(&self, write: &Written, told: &Acknowledged) -> Option<Micros> {
        let alone = told.state == State::Cached && !self.reached_the_topic(write, told);
        let on_top = self.refused_above(&write.id, told.version).map(|other| other.begun);
        on_top.min().filter(|_| alone)
    }

    /// Whether the topic has it, or what overwrote it, below the first refused write: what came later says nothing of it.
    fn reached_the_topic(&self, write: &Written, told: &Acknowledged) -> bool {
        let refused = self.refused_above(&write.id, told.version).map(|other| match other.indeterminate {
            true => told.version + 1,
            false => other.version().unwrap_or(u64::MAX),
        });
        let until = refused.min().unwrap_or(u64::MAX);
        self.logged.get(&*write.id).is_some_and(|logged| logged.range(told.version..until).next().is_some())
    }

    /// The writes that the table refuses and that may have overwritten this version.
    fn refused_above(&self, id: &str, version: u64) -> impl Iterator<Item = &'e Written> {
        let above =
            move |other: &&Written| other.op.is_poison() && (other.indeterminate || other.version() > Some(version));
        self.writes_of(id).iter().copied().filter(above)
    }

    /// Whether Redis may have forgotten before `by` what came into it between these times.
    fn was_forgotten(&self, begun: Micros, known: Micros, by: Micros) -> bool {
        self.evidence.losses.iter().any(|loss| loss.from <= by && loss.covers(begun, known))
    }

    /// The newest write of a record that must be kept, with its version.
    fn newest_owed(&self, id: &str) -> Option<(u64, &'e Written)> {
        let owed = self.writes_of(id).iter().flat_map(|write| {
            write.acknowledged.iter().filter(|told| self.is_owed(write, told)).map(|told| (told.version, *write))
        });
        owed.max_by_key(|(version, _)| *version)
    }
}
