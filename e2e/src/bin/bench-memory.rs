//! `make bench-memory`: whether the memory of both services stays flat over ten minutes of overload, and the persister's over
//! a backlog of two million events. Prints the curves, and fails where a second half rises above its first.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use e2e::bench::memory::{self, Curve, Sample};
use e2e::bench::{machine, report, stand};
use serde_json::json;
use service::process;

/// Measures on servers of its own.
#[derive(Debug, Parser)]
#[command(name = "bench-memory", version, max_term_width = 120)]
struct Arguments {
    /// What to measure; everything when nothing is named.
    what: Vec<What>,

    /// Minutes of overload.
    #[arg(long, default_value = "10")]
    minutes: u32,

    /// Events of the backlog.
    #[arg(long, default_value = "2000000")]
    events: u64,

    /// How far the second half may rise above the first, in percent.
    #[arg(long, default_value = "10")]
    percent: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// More is offered than can be done.
    Overload,
    /// Far more waits than fits into any bound.
    Backlog,
}

fn main() -> std::process::ExitCode {
    process::run("warn", bench(Arguments::parse()))
}

async fn bench(arguments: Arguments) -> Result<()> {
    let Arguments { what, minutes, events, percent } = arguments;
    let wanted = |one| what.is_empty() || what.contains(&one);
    let servers = stand::servers()?;
    let machine = machine::facts(&servers).await?;
    println!("{}\n", machine::lines(&machine));
    let mut curves = Vec::new();
    if wanted(What::Overload) {
        println!("overload for {minutes} min\n  second   ingest MiB   persister MiB");
        let span = Duration::from_secs(60) * minutes;
        curves.push(("overload", Box::pin(memory::overload(servers, span, line)).await?));
    }
    if wanted(What::Backlog) {
        println!("\nbacklog of {events} events\n  second   ingest MiB   persister MiB");
        curves.push(("backlog", Box::pin(memory::backlog(servers, events, line)).await?));
    }
    let saved: Vec<_> = curves.iter().map(|(name, curve)| saved(name, curve)).collect();
    eprintln!("{}", report::save("memory", &json!({ "machine": machine, "curves": saved }))?.display());
    for (name, curve) in &curves {
        judge(name, curve, f64::from(percent) / 100.0)?;
    }
    Ok(())
}

fn line(Sample { second, ingest, persister }: &Sample) {
    println!("{second:8.0} {ingest:12.1} {persister:15.1}");
}

fn saved(name: &str, curve: &Curve) -> serde_json::Value {
    let sample = |Sample { second, ingest, persister }: &Sample| json!([second, ingest, persister]);
    json!({ "of": name, "done": curve.done, "samples": curve.samples.iter().map(sample).collect::<Vec<_>>() })
}

fn judge(name: &str, curve: &Curve, most: f64) -> Result<()> {
    let (ingest, persister) = (curve.rise(|sample| sample.ingest), curve.rise(|sample| sample.persister));
    println!(
        "\n{name}: {}; the second half's highest is {:+.1} % (ingest), {:+.1} % (persister) beside the first's",
        curve.done,
        ingest * 100.0,
        persister * 100.0
    );
    ensure!(ingest <= most && persister <= most, "{name}: memory rises");
    Ok(())
}
