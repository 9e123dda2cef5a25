//! The load generator `wrk` with our script: distinct users from a fixed number of connections, each answer awaited.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use stack::shared;

const SCRIPT: &str = include_str!("users.lua");

/// One run of the load generator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run {
    /// Requests sent; when the time is over some are without an answer, one a connection at most.
    pub sent: u64,
    /// Requests answered with 2xx.
    pub answered: u64,
    /// Answers a second.
    pub rate: f64,
    /// Half of the answers came within so many milliseconds. In a closed loop: a slow server is asked less often.
    pub p50_millis: f64,
    /// 99 of 100 answers.
    pub p99_millis: f64,
}

/// The load generator, ready to run.
#[derive(Debug)]
pub struct Wrk {
    script: PathBuf,
    runs: u32,
}

impl Wrk {
    /// Writes the script where `wrk` finds it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn new() -> Result<Self> {
        let script = shared::scratch("wrk").join("users.lua");
        std::fs::write(&script, SCRIPT)?;
        Ok(Self { script, runs: 0 })
    }

    /// Loads `url` for `time`, each write waiting for `state` where one is given, and demands that every answer is 2xx. Blocks its
    /// thread.
    ///
    /// # Errors
    /// There is no `wrk`, an answer is not 2xx, or a connection broke.
    pub fn run(&mut self, url: &str, state: Option<&str>, connections: u32, time: Duration) -> Result<Run> {
        self.runs += 1;
        let mut command = Command::new("wrk");
        command.args(["-t2", &format!("-c{connections}"), &format!("-d{}s", time.as_secs()), "--timeout", "10s", "-s"]);
        command.arg(&self.script).args([url, "--", &format!("{:04}", self.runs)]).args(state);
        let output = tokio::task::block_in_place(|| command.output()).context("wrk: crates/stack/packages.sh bench")?;
        let printed = String::from_utf8_lossy(&output.stdout);
        let line = printed.lines().rev().find(|line| line.starts_with('{'));
        let line = line.with_context(|| format!("wrk: {printed}{}", String::from_utf8_lossy(&output.stderr)))?;
        let told: Value = serde_json::from_str(line)?;
        let number = |name: &str| told.get(name).and_then(Value::as_u64).with_context(|| format!("wrk: no {name}"));
        let (refused, broken) = (number("refused")?, number("broken")?);
        ensure!(refused == 0 && broken == 0, "{refused} answers were not 2xx, {broken} connections broke: {line}");
        #[expect(clippy::cast_precision_loss, reason = "counts and microseconds of a bench are far below 2^53")]
        let float = |name: &str| Ok::<_, anyhow::Error>(number(name)? as f64);
        Ok(Run {
            sent: number("sent")?,
            answered: number("answered")?,
            rate: float("answered")? * 1e6 / float("micros")?,
            p50_millis: float("p50")? / 1e3,
            p99_millis: float("p99")? / 1e3,
        })
    }
}
