//! `make bench-seed`: the load at which the original project's lag grew to 150,000 events. 1,000 writes a second over six
//! partitions for a minute, in an open loop, and before it the latency of an idle system. Exits with 1 when a target is missed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use e2e::System;
use e2e::bench::open_loop::{self, Load, Outcome};
use e2e::bench::statistics::quantile;
use e2e::bench::{idle, machine, report, stand};
use serde_json::json;
use service::process;

const BEHIND_MOST: u64 = 1_000;
const ZERO_WITHIN: Duration = Duration::from_secs(1);
const IDLE_MEDIAN_MILLIS: f64 = 100.0;
const IDLE_WRITES: usize = 100;

/// Measures how far the table falls behind under a steady load, on servers of its own.
#[derive(Clone, Copy, Debug, Parser)]
#[command(name = "bench-seed", version, max_term_width = 120)]
struct Arguments {
    /// Writes a second.
    #[arg(long, default_value = "1000", value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,

    /// How long the load lasts.
    #[arg(long, default_value = "60", value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

fn main() -> std::process::ExitCode {
    process::run("warn", bench(Arguments::parse()))
}

async fn bench(Arguments { rate, seconds }: Arguments) -> Result<()> {
    let servers = stand::servers()?;
    let machine = machine::facts(&servers).await?;
    println!("{}\n", machine::lines(&machine));
    let system = System::prepare(servers)?.with("TOPIC_PARTITIONS", "6").up().await?;

    idle::latencies(&system, "warm", 20).await?;
    let idle = idle::latencies(&system, "idle", IDLE_WRITES).await?;
    let at = |share| quantile(&idle, share).context("no idle writes");
    let (median, p99) = (at(0.5)?, at(0.99)?);
    println!("idle: from the request to the row in the database, {IDLE_WRITES} writes one by one:");
    println!("      median {median:.1} ms, p99 {p99:.1} ms\n");

    println!("load: {rate} writes a second for {seconds} s, six partitions, open loop");
    println!("second     sent  acknowledged  uncommitted  without a row  write lag p50    p99 (ms)");
    let outcome = open_loop::run(&system, Load { rate, seconds }, |s| {
        let (second, sent, acknowledged, uncommitted, rowless) =
            (s.second, s.sent, s.acknowledged, s.uncommitted, s.rowless);
        let (p50, p99) = (s.lag_p50_millis, s.lag_p99_millis);
        println!("{second:6} {sent:8} {acknowledged:13} {uncommitted:12} {rowless:14} {p50:14.1} {p99:6.1}");
    })
    .await?;
    judge(&outcome, &machine, (median, p99))
}

fn judge(outcome: &Outcome, machine: &serde_json::Value, (median, p99): (f64, f64)) -> Result<()> {
    let most = |behind: fn(&open_loop::Second) -> u64| outcome.seconds.iter().map(behind).max().unwrap_or(0);
    let (uncommitted, rowless) = (most(|second| second.uncommitted), most(|second| second.rowless));
    let answer = |share| quantile(&outcome.answers_millis, share).unwrap_or(0.0);
    println!("\nanswers: p50 {:.1} ms, p99 {:.1} ms from the planned time of each request", answer(0.5), answer(0.99));
    println!("at most {rowless} acknowledged writes without a row, {uncommitted} events uncommitted");
    println!(
        "after the last request: all rows there in {:.0} ms, nothing uncommitted in {:.0} ms",
        outcome.until_rows.as_secs_f64() * 1e3,
        outcome.until_zero.as_secs_f64() * 1e3
    );
    let file = report::save(
        "seed",
        &json!({
            "machine": machine,
            "idle_millis": { "median": median, "p99": p99 },
            "answer_millis": { "p50": answer(0.5), "p99": answer(0.99) },
            "behind_most": { "rows": rowless, "uncommitted": uncommitted },
            "after_the_end_millis": {
                "rows": outcome.until_rows.as_secs_f64() * 1e3,
                "uncommitted": outcome.until_zero.as_secs_f64() * 1e3,
            },
        }),
    )?;
    eprintln!("{}", file.display());
    ensure!(median < IDLE_MEDIAN_MILLIS, "the idle median is not under {IDLE_MEDIAN_MILLIS} ms");
    ensure!(uncommitted.max(rowless) <= BEHIND_MOST, "it was more than {BEHIND_MOST} events behind");
    ensure!(outcome.until_zero <= ZERO_WITHIN, "it took more than {ZERO_WITHIN:?} to come to rest");
    Ok(())
}
