//! `make bench-memory`: whether the memory of both services stays flat over ten minutes of overload, and the persister's over
//! a backlog of two million events, and ingest's over one request with a million lines. Prints the curves, and fails where a second half rises above its first. And what a write
//! costs in memory and disk that waits for a store which is away.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use e2e::bench::memory::{self, Curve, Sample};
use e2e::bench::outage::{self, Cost};
use e2e::bench::{bulk, machine, report, stand};
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

    /// Lines of the bulk request.
    #[arg(long, default_value = "1000000")]
    lines: u64,

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
    /// One request with very many lines.
    Bulk,
    /// A store is away.
    Outage,
}

/// Records of each size that wait in the outage.
const WAITING: usize = 10_000;

fn main() -> std::process::ExitCode {
    process::run("warn", bench(Arguments::parse()))
}

async fn bench(arguments: Arguments) -> Result<()> {
    let Arguments { what, minutes, events, lines, percent } = arguments;
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
    if wanted(What::Bulk) {
        println!("\nbulk of {lines} lines\n  second   ingest MiB   persister MiB");
        curves.push(("bulk", Box::pin(bulk::memory(servers, lines, line)).await?));
    }
    let mut costs = Vec::new();
    if wanted(What::Outage) {
        println!(
            "\nbytes for each write that waits\n    body   unsettled in Redis   in the topic   in the outbox of Redis   its key"
        );
        for name in [10, 200] {
            costs.push(outage::cost(servers, WAITING, name).await?);
        }
        costs.iter().for_each(cost);
    }
    let saved: Vec<_> = curves.iter().map(|(name, curve)| saved(name, curve)).collect();
    eprintln!(
        "{}",
        report::save(
            "memory",
            &json!({ "machine": machine, "curves": saved, "costs": costs.iter().map(saved_cost).collect::<Vec<_>>() })
        )?
        .display()
    );
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

fn cost(Cost { body, unsettled, topic, outbox, key }: &Cost) {
    println!("{body:8} {unsettled:20.0} {topic:14.0} {outbox:24.0} {key:9.0}");
}

fn saved_cost(Cost { body, unsettled, topic, outbox, key }: &Cost) -> serde_json::Value {
    json!({ "body": body, "unsettled": unsettled, "topic": topic, "outbox": outbox, "key": key })
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
