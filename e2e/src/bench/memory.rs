//! Whether memory stays flat: the resident memory of our processes, sampled while more is offered than can be done, and
//! while a backlog is drained that is far larger than any bound.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use stack::Process;

use super::backlog;
use super::rows::Rows;
use crate::system::metric;
use crate::{Load, Servers, System};

/// How much may be offered at once, and how much may wait: reached within seconds.
const CLIENTS: u64 = 64;
const UNSETTLED_MOST: u64 = 16_000;
const SEED: u64 = 5;

/// Resident memory at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Seconds since the beginning.
    pub second: f64,
    /// MiB of ingest; 0 where it does not run.
    pub ingest: f64,
    /// MiB of the persister.
    pub persister: f64,
}

/// What was sampled, and what went through meanwhile.
#[derive(Debug)]
pub struct Curve {
    /// In order of time.
    pub samples: Vec<Sample>,
    /// In a sentence.
    pub done: String,
}

impl Curve {
    /// By how much the highest of the second half is above the highest of the first, as a share of it. The first tenth is
    /// left out: until then the processes have not grown to their size.
    #[must_use]
    pub fn rise(&self, of: fn(&Sample) -> f64) -> f64 {
        let from = self.samples.len() / 10;
        let (first, second) = self.samples.split_at(self.samples.len() / 2);
        let highest = |samples: &[Sample]| samples.iter().map(of).fold(0.0, f64::max);
        let before = highest(first.get(from..).unwrap_or_default());
        if before > 0.0 { highest(second) / before - 1.0 } else { 0.0 }
    }
}

/// For `span`, more writes than the persister can bring to the table, which goes row by row: the unsettled fill up, and what
/// is past them is refused. Afterwards all that was acknowledged is in the table, and nothing waits.
///
/// # Errors
/// It was no overload, something was lost, or a process ended.
pub async fn overload(servers: Servers, span: Duration, told: impl Fn(&Sample)) -> Result<Curve> {
    let system = System::prepare(servers)?
        .with("UNSETTLED_MOST", &UNSETTLED_MOST.to_string())
        .with("BATCH_ROWS_MOST", "1")
        .up()
        .await?;
    let load = Load::start(&system.ingest_url, CLIENTS, 1_000_000, SEED);
    let (begun, mut samples) = (Instant::now(), Vec::new());
    while begun.elapsed() < span {
        tokio::time::sleep(span / 120).await;
        samples.push(sample(&system, begun, &told)?);
    }
    let journal = load.finish().await?;
    let (acknowledged, refused) = journal.counts();
    ensure!(refused > acknowledged / 10, "{refused} refused of {acknowledged}: that was no overload");
    let table = system.table().await?;
    let until = Instant::now() + Duration::from_secs(300);
    let waiting = async || -> Result<bool> {
        let text = system.metrics(&system.ingest_admin_url).await?;
        let waits = ["write_behind_outbox_entries", "write_behind_unsettled_entries"];
        Ok(waits.iter().any(|name| metric(&text, name) != Some(0.0)))
    };
    while waiting().await? {
        ensure!(Instant::now() < until, "what was accepted does not come to its end");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    journal.check(&table).await?;
    let done = format!("{acknowledged} writes acknowledged, {refused} refused, none lost, nothing waits");
    Ok(Curve { samples, done })
}

/// So many events wait in the topic when the persister starts; until the last is in the table.
///
/// # Errors
/// A row is missing, or a process ended.
pub async fn backlog(servers: Servers, events: u64, told: impl Fn(&Sample)) -> Result<Curve> {
    let mut system = System::prepare(servers)?;
    system.migrate()?;
    let backlog = tokio::task::block_in_place(|| backlog::produce(&system, events))?;
    let last: Vec<_> = backlog.last.iter().map(String::as_str).collect();
    let mut rows = Rows::of(&system, backlog.entity.name()).await?;
    system.start_persister().await?;
    let (begun, mut samples) = (Instant::now(), Vec::new());
    while !rows.has(&last).await? {
        tokio::time::sleep(Duration::from_secs(1)).await;
        samples.push(sample(&system, begun, &told)?);
    }
    let seconds = begun.elapsed().as_secs();
    let found = rows.count().await?;
    ensure!(found == events, "{found} rows of {events} events");
    Ok(Curve { samples, done: format!("{events} events drained in {seconds} s") })
}

pub(super) fn sample(system: &System, begun: Instant, told: &impl Fn(&Sample)) -> Result<Sample> {
    let of = |process: &Option<Process>| process.as_ref().map_or(Ok(0.0), resident);
    let sample = Sample {
        second: begun.elapsed().as_secs_f64(),
        ingest: of(&system.ingest)?,
        persister: of(&system.persister)?,
    };
    told(&sample);
    Ok(sample)
}

/// Resident memory in MiB.
///
/// # Errors
/// It has ended.
pub fn resident(process: &Process) -> Result<f64> {
    let file = format!("/proc/{}/status", process.pid());
    let text = std::fs::read_to_string(&file).with_context(|| format!("{} has ended", process.name()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(values: &[f64]) -> Curve {
        let sample = |value: &f64| Sample { second: 0.0, ingest: *value, persister: 0.0 };
        Curve { samples: values.iter().map(sample).collect(), done: String::new() }
    }

    #[test]
    fn a_leak_is_a_rise_and_growing_to_size_is_none() {
        let leak: Vec<_> = (0..100).map(|second| 100.0 + f64::from(second)).collect();
        assert!(curve(&leak).rise(|sample| sample.ingest) > 0.3);
        let sized: Vec<_> = (0..100).map(|second| f64::from(second.min(9)) * 10.0 + f64::from(second % 3)).collect();
        assert!(curve(&sized).rise(|sample| sample.ingest).abs() < 0.03);
        assert_eq!(curve(&sized).rise(|sample| sample.persister).to_bits(), 0.0_f64.to_bits());
    }
}
