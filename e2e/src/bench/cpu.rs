//! How much processor time processes take, from /proc: what a figure of throughput hides on a machine that all share.

use std::time::Duration;

use anyhow::{Context, Result};

/// Ticks of /proc in a second: part of Linux' interface to programs, on every architecture.
const TICKS: u64 = 100;

/// The processor time that some processes take from now on.
#[derive(Clone, Debug)]
pub struct Meter {
    begun: Vec<(i32, Duration)>,
}

impl Meter {
    /// Begins to measure these processes.
    ///
    /// # Errors
    /// One of them does not exist.
    pub fn start(pids: &[i32]) -> Result<Self> {
        let begun = pids.iter().map(|pid| Ok((*pid, spent(*pid)?))).collect::<Result<_>>()?;
        Ok(Self { begun })
    }

    /// Microseconds of each since then, in their order, divided by `count`.
    ///
    /// # Errors
    /// One of them has ended.
    pub fn micros_per(&self, count: u64) -> Result<Vec<f64>> {
        let each = |(pid, begun): &(i32, Duration)| {
            let spent = spent(*pid)?.saturating_sub(*begun);
            #[expect(clippy::cast_precision_loss, reason = "counts of a bench are far below 2^53")]
            Ok(spent.as_secs_f64() * 1e6 / count.max(1) as f64)
        };
        self.begun.iter().map(each).collect()
    }
}

/// User and system time of all threads of a process.
fn spent(pid: i32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
    // The second field is the program's name in brackets and may hold anything.
    let (_, rest) = stat.rsplit_once(')').context("no name in /proc/<pid>/stat")?;
    let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_seen() {
        let own = i32::try_from(std::process::id()).unwrap();
        let meter = Meter::start(&[own]).unwrap();
        let until = std::time::Instant::now() + Duration::from_millis(100);
        while std::time::Instant::now() < until {}
        let micros = meter.micros_per(1).unwrap();
        assert!(micros.first().is_some_and(|micros| *micros >= 20_000.0), "{micros:?}");
    }
}
