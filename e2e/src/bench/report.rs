//! What is told: a table for people, a file for programs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::machine;
use super::statistics::{Spread, ratios};

/// The figures of one bench, round by round.
#[derive(Debug)]
pub struct Report {
    name: &'static str,
    machine: Value,
    figures: Vec<Figure>,
}

#[derive(Debug)]
struct Figure {
    what: String,
    unit: &'static str,
    values: Vec<f64>,
    /// The figure of the contender that it is compared with.
    beside: Option<String>,
}

impl Report {
    /// Nothing measured yet.
    #[must_use]
    pub fn new(name: &'static str, machine: Value) -> Self {
        Self { name, machine, figures: Vec::new() }
    }

    /// One round's value of a figure.
    pub fn add(&mut self, what: &str, unit: &'static str, value: f64) {
        match self.figures.iter_mut().find(|figure| figure.what == what) {
            Some(figure) => figure.values.push(value),
            None => self.figures.push(Figure { what: what.to_owned(), unit, values: vec![value], beside: None }),
        }
    }

    /// `what` is to be shown as a ratio to `beside`.
    pub fn compare(&mut self, what: &str, beside: &str) {
        if let Some(figure) = self.figures.iter_mut().find(|figure| figure.what == what) {
            figure.beside = Some(beside.to_owned());
        }
    }

    fn ratio<'f>(&self, figure: &'f Figure) -> Option<(&'f str, Vec<f64>)> {
        let beside = figure.beside.as_deref()?;
        let other = self.figures.iter().find(|other| other.what == beside)?;
        Some((beside, ratios(&figure.values, &other.values)))
    }

    /// A Markdown table: what, median, spread, ratio.
    #[must_use]
    pub fn table(&self) -> String {
        let rounds = self.figures.iter().map(|figure| figure.values.len()).max().unwrap_or(0);
        let mut text = format!("### {}, {rounds} rounds\n\n{}\n\n", self.name, machine::lines(&self.machine));
        text += &row(["what", "median", "least – most", "ratio (least – most) to"].map(str::to_owned));
        text += &row([42, 14, 17, 44].map(|width| "-".repeat(width)));
        for figure in &self.figures {
            let Some(spread) = Spread::of(&figure.values) else { continue };
            let ratio = self.ratio(figure).and_then(|(beside, values)| {
                let Spread { median, least, most } = Spread::of(&values)?;
                Some(format!("**{median:.2}** ({least:.2} – {most:.2}) {beside}"))
            });
            text += &row([
                figure.what.clone(),
                format!("{} {}", short(spread.median), figure.unit),
                format!("{} – {}", short(spread.least), short(spread.most)),
                ratio.unwrap_or_default(),
            ]);
        }
        text
    }

    /// Writes `.stack/bench/<name>.json` and says where it is.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self) -> Result<PathBuf> {
        let figures: BTreeMap<_, _> = self.figures.iter().map(|figure| (&figure.what, self.saved(figure))).collect();
        save(self.name, &json!({ "machine": self.machine, "figures": figures }))
    }

    fn saved(&self, figure: &Figure) -> Value {
        let spread = |values: &[f64]| Spread::of(values).map(|s| json!([s.least, s.median, s.most]));
        let ratio = self.ratio(figure).map(|(to, values)| json!({ "to": to, "spread": spread(&values) }));
        json!({ "unit": figure.unit, "rounds": figure.values, "spread": spread(&figure.values), "ratio": ratio })
    }
}

/// Writes `.stack/bench/<name>.json`.
///
/// # Errors
/// It cannot be written.
pub fn save(name: &str, content: &Value) -> Result<PathBuf> {
    let folder = stack::workspace().join(".stack/bench");
    std::fs::create_dir_all(&folder)?;
    let file = folder.join(format!("{name}.json"));
    std::fs::write(&file, format!("{content:#}\n")).with_context(|| format!("writing {}", file.display()))?;
    Ok(file)
}

fn row([what, median, spread, ratio]: [String; 4]) -> String {
    format!("| {what:<42} | {median:>18} | {spread:>17} | {ratio:<50} |\n")
}

/// Three digits that matter, whole numbers from a hundred on.
fn short(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}
