//! What a look at all settings has found, told by their names: a fault names a setting by its flag, and the environment
//! variable, the value and its source are added here.

use std::time::Duration;

use super::Setting;

/// Ample for connecting to a server, for waiting for one's turn, and for a machine that is slow.
pub const MARGIN: Duration = Duration::from_secs(10);

/// What is wrong, and what should be thought over. Each sentence names the settings it is about by their flags
/// (`--redis-timeout-ms`) and says what would be right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// What a process does not start with.
    pub faults: Vec<String>,
    /// What a process starts with all the same.
    pub warnings: Vec<String>,
}

impl Findings {
    /// Both of these.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.faults.extend(other.faults);
        self.warnings.extend(other.warnings);
        self
    }

    /// A fault unless `holds`.
    pub fn demand(&mut self, holds: bool, fault: impl FnOnce() -> String) {
        if !holds {
            self.faults.push(fault());
        }
    }

    /// A fault for each of these times that `span`, the setting `flag`, does not outlast by [`MARGIN`].
    pub fn outlasts(
        &mut self,
        flag: &'static str,
        span: Duration,
        times: impl IntoIterator<Item = (&'static str, Duration)>,
    ) {
        for (time, lasts) in times {
            self.demand(span >= lasts.saturating_add(MARGIN), || {
                format!("{flag} must be at least {MARGIN:?} more than {time}")
            });
        }
    }

    /// A fault for each of these numbers that is 0.
    pub fn at_least_one(&mut self, numbers: impl IntoIterator<Item = (&'static str, usize)>) {
        for (flag, number) in numbers {
            self.demand(number > 0, || format!("{flag} must be at least 1"));
        }
    }
}

/// A value that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The setting's.
    pub(super) flag: String,
    /// With all names already.
    pub(super) text: String,
}

/// The findings in full: those that could not be read first, then what was found, except where it is about a
/// setting that could not be read and was looked at with its default.
pub(super) fn told(settings: &[Setting], unread: &[Fault], found: Findings) -> Findings {
    let readable = |text: &String| !flags(text).any(|(_, flag)| unread.iter().any(|fault| fault.flag == flag));
    let name = |texts: Vec<String>| texts.into_iter().filter(readable).map(|text| named(&text, settings));
    Findings {
        faults: unread.iter().map(|fault| fault.text.clone()).chain(name(found.faults)).collect(),
        warnings: name(found.warnings).collect(),
    }
}

/// The flags in a text, each with where it ends.
fn flags(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let begins = text.match_indices("--").map(|(at, _)| at);
    begins.filter_map(|at| {
        let rest = text.get(at + 2..)?;
        let length =
            rest.find(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '-').unwrap_or(rest.len());
        Some((at + 2 + length, text.get(at..at + 2 + length)?))
    })
}

fn named(text: &str, settings: &[Setting]) -> String {
    let (mut told, mut from) = (String::new(), 0);
    for (end, flag) in flags(text) {
        told.push_str(text.get(from..end).unwrap_or_default());
        from = end;
        if let Some(setting) = settings.iter().find(|setting| setting.flag == flag) {
            let value = setting.shown().map(|value| format!("={value}")).unwrap_or_default();
            told.push_str(&format!(" ({}{value}, {})", setting.variable, setting.source));
        }
    }
    told + text.get(from..).unwrap_or_default()
}
