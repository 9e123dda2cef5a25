//! The figures of all rounds in one table. The ratio is the result: a time says little on another machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::{DATUM, PLAIN};

/// Nanoseconds by entity and conversion, one for each round.
#[derive(Debug)]
pub(crate) struct Table {
    out: PathBuf,
    rounds: BTreeMap<(String, String), Vec<f64>>,
}

impl Table {
    /// Forgets what an earlier run has left there.
    pub(crate) fn new(out: PathBuf) -> Table {
        std::fs::remove_dir_all(&out).unwrap_or_default();
        Table { out, rounds: BTreeMap::new() }
    }

    /// Where criterion writes.
    pub(crate) fn out(&self) -> &Path {
        &self.out
    }

    /// Takes what criterion wrote of this round.
    pub(crate) fn round(&mut self) {
        for (entity, conversion, estimates) in self.estimates() {
            let nanos = estimates.pointer("/median/point_estimate").and_then(Json::as_f64).unwrap();
            self.rounds.entry((entity, conversion)).or_default().push(nanos);
        }
    }

    /// None where nothing was measured: under `cargo test --benches` everything is done once.
    fn estimates(&self) -> Vec<(String, String, Json)> {
        let mut found = Vec::new();
        let read = |path: PathBuf| serde_json::from_slice::<Json>(&std::fs::read(path).ok()?).ok();
        for entity in std::fs::read_dir(&self.out).into_iter().flatten().flatten() {
            for conversion in std::fs::read_dir(entity.path()).into_iter().flatten().flatten() {
                let new = conversion.path().join("new");
                if let Some((about, estimates)) = read(new.join("benchmark.json")).zip(read(new.join("estimates.json")))
                {
                    let text = |name| about.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
                    found.push((text("group_id"), text("function_id"), estimates));
                }
            }
        }
        found
    }

    pub(crate) fn print(&self) {
        if self.rounds.is_empty() {
            return;
        }
        println!("\n| entity | conversion | median | ratio (least – most) to |\n|---|---|---|---|");
        for ((entity, conversion), nanos) in &self.rounds {
            let reference = if [DATUM, "read_avro"].contains(&conversion.as_str()) { DATUM } else { PLAIN };
            let beside = self.rounds.get(&(entity.clone(), reference.to_owned()));
            let ratios = sorted(nanos.iter().zip(beside.into_iter().flatten()).map(|(ours, theirs)| ours / theirs));
            let ratio = match (ratios.first(), ratios.get(ratios.len() / 2), ratios.last()) {
                (Some(least), Some(median), Some(most)) if conversion != reference => {
                    format!("**{median:.2}** ({least:.2} – {most:.2}) {reference}")
                }
                _ => String::new(),
            };
            let nanos = sorted(nanos.iter().copied());
            let median = nanos.get(nanos.len() / 2).copied().unwrap_or(f64::NAN);
            println!("| {entity} | {conversion} | {median:.0} ns | {ratio} |");
        }
    }
}

fn sorted(numbers: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut numbers: Vec<_> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers
}
