//! What was run, by fault: kept as data in `docs/faults.json`, shown as the table of `docs/FAULTS.md`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::checker::Rule;
use super::round::Outcome;

/// All rounds in which a fault struck. A round counts for every fault in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Rounds.
    pub rounds: u64,
    /// How often it struck.
    pub struck: u64,
    /// Writes acknowledged in them.
    pub acknowledged: u64,
    /// Records lost, or mixed up with another write's content.
    pub lost: u64,
    /// Records that nobody sent.
    pub phantom: u64,
    /// Records that came back.
    pub resurrected: u64,
    /// Everything else that the judge found.
    pub other: u64,
    /// The longest time from the end of the last fault of a round until everything had arrived, in milliseconds.
    pub longest_recovery_ms: u64,
}

/// The tallies, by fault.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Every round once.
    pub all: Tally,
    /// By the fault's name.
    pub faults: BTreeMap<String, Tally>,
}

const OTHERS: [Rule; 12] = [
    Rule::Order,
    Rule::SharedVersion,
    Rule::StaleRead,
    Rule::SecondVersion,
    Rule::LostUpdate,
    Rule::OffsetPassed,
    Rule::Unaccounted,
    Rule::WronglyDead,
    Rule::CacheDiffers,
    Rule::ViewDiffers,
    Rule::TailDiffers,
    Rule::NotDrained,
];

impl Tally {
    fn add(&mut self, outcome: &Outcome, struck: u64) {
        let verdict = &outcome.verdict;
        self.rounds += 1;
        self.struck += struck;
        self.acknowledged += outcome.counts.acknowledged;
        self.lost += verdict.count(Rule::Lost) + verdict.count(Rule::Mixed);
        self.phantom += verdict.count(Rule::Phantom);
        self.resurrected += verdict.count(Rule::Resurrected);
        self.other += OTHERS.iter().map(|rule| verdict.count(*rule)).sum::<u64>() + verdict.count(Rule::NoProgress);
        let recovery = u64::try_from(outcome.recovery.as_millis()).unwrap_or(u64::MAX);
        self.longest_recovery_ms = self.longest_recovery_ms.max(recovery);
    }
}

impl Record {
    /// Adds a round.
    pub fn add(&mut self, outcome: &Outcome) {
        let mut times: BTreeMap<&str, u64> = BTreeMap::new();
        for struck in &outcome.struck {
            *times.entry(&struck.fault).or_default() += 1;
        }
        self.all.add(outcome, times.values().sum());
        for (fault, times) in times {
            self.faults.entry(fault.to_owned()).or_default().add(outcome, times);
        }
    }

    /// The table, in Markdown.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = "| fault | rounds | struck | acknowledged writes | lost | phantom | resurrected | other | longest recovery, s |\n\
                        |---|---|---|---|---|---|---|---|---|\n"
            .to_owned();
        let named = self.faults.iter().map(|(name, tally)| (name.as_str(), tally));
        for (name, tally) in named.chain([("**all**", &self.all)]) {
            let Tally { rounds, struck, acknowledged, lost, phantom, resurrected, other, longest_recovery_ms } = tally;
            #[expect(clippy::cast_precision_loss, reason = "for people")]
            let recovery = *longest_recovery_ms as f64 / 1000.0;
            // Writing to a String cannot fail.
            writeln!(
                text,
                "| {name} | {rounds} | {struck} | {acknowledged} | {lost} | {phantom} | {resurrected} | {other} | {recovery:.1} |"
            )
            .ok();
        }
        text
    }

    /// What was recorded so far.
    ///
    /// # Errors
    /// The file is not ours.
    pub fn load() -> Result<Self> {
        match std::fs::read_to_string(data()) {
            Ok(text) => serde_json::from_str(&text).with_context(|| data().display().to_string()),
            Err(_) => Ok(Self::default()),
        }
    }

    /// Writes the data, and the table into its page.
    ///
    /// # Errors
    /// A file cannot be written, or the page has no place for the table.
    pub fn save(&self) -> Result<()> {
        std::fs::write(data(), serde_json::to_string_pretty(self)? + "\n")?;
        let page = std::fs::read_to_string(page())?;
        std::fs::write(self::page(), with_table(&page, &self.table())?)?;
        Ok(())
    }
}

const BEGIN: &str = "<!-- written by `make chaos RECORD=1` -->\n";
const END: &str = "<!-- end -->\n";

fn data() -> PathBuf {
    stack::workspace().join("docs/faults.json")
}

fn page() -> PathBuf {
    stack::workspace().join("docs/FAULTS.md")
}

fn with_table(page: &str, table: &str) -> Result<String> {
    let (before, rest) = page.split_once(BEGIN).context("docs/FAULTS.md has no place for the table")?;
    let (_, after) = rest.split_once(END).context("docs/FAULTS.md has no end of the table")?;
    Ok(format!("{before}{BEGIN}{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_what_was_recorded() {
        let (page, record) = (std::fs::read_to_string(page()).unwrap(), Record::load().unwrap());
        assert_eq!(with_table(&page, &record.table()).unwrap(), page, "docs/FAULTS.md and docs/faults.json differ");
    }
}
