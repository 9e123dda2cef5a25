//! `make bench-overload`: ten times what ingest can take. Its capacity is set by the bound of requests in progress and by the
//! latency of the link to Redis; what is accepted must be answered nearly as fast as without the load, and none of it be lost.
//! Exits with 1 when a target is missed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use e2e::System;
use e2e::bench::open_loop::Load;
use e2e::bench::overload::{self, Outcome};
use e2e::bench::statistics::quantile;
use e2e::bench::{machine, report, stand};
use e2e::chaos::proxy::{Mode, Proxy};
use serde_json::json;
use service::process;

/// How much slower than unloaded the slowest hundredth of the accepted writes may be.
const P99_TIMES_MOST: f64 = 2.0;

/// Offers ingest more than it can take, on servers of its own.
#[derive(Clone, Copy, Debug, Parser)]
#[command(name = "bench-overload", version, max_term_width = 120)]
struct Arguments {
    /// Writes a second that ingest can take.
    #[arg(long, default_value = "1000", value_parser = clap::value_parser!(u32).range(1..))]
    capacity: u32,

    /// Writes a second that are offered.
    #[arg(long, default_value = "10000", value_parser = clap::value_parser!(u32).range(1..))]
    offered: u32,

    /// Milliseconds that the link to Redis takes, there and back.
    #[arg(long, default_value = "40", value_parser = clap::value_parser!(u32).range(2..))]
    latency_ms: u32,

    /// How long each load lasts.
    #[arg(long, default_value = "20", value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

fn main() -> std::process::ExitCode {
    process::run("warn", bench(Arguments::parse()))
}

async fn bench(Arguments { capacity, offered, latency_ms, seconds }: Arguments) -> Result<()> {
    let servers = stand::servers()?;
    let machine = machine::facts(&servers).await?;
    println!("{}\n", machine::lines(&machine));
    let (system, _link) = bounded(servers, capacity, latency_ms).await?;

    let unloaded = Load { rate: (capacity / 10).max(1), seconds };
    overload::run(&system, "warm", Load { rate: unloaded.rate, seconds: 5 }).await?;
    let calm = overload::run(&system, "calm", unloaded).await?;
    ensure!(calm.refused_millis.is_empty() && calm.others.is_empty(), "refused without a load: {:?}", calm.others);
    tell("unloaded", unloaded, &calm);
    let loaded = Load { rate: offered, seconds };
    let storm = overload::run(&system, "storm", loaded).await?;
    tell("overloaded", loaded, &storm);

    let unasked =
        overload::settled(&system, "calm", &calm).await? + overload::settled(&system, "storm", &storm).await?;
    println!("every accepted write has its row in its version; rows of writes that were not accepted: {unasked}");
    let p99 = |outcome: &Outcome| quantile(&outcome.accepted_millis, 0.99).context("nothing was accepted");
    let times = p99(&storm)? / p99(&calm)?;
    println!("p99 of the accepted, overloaded to unloaded: {times:.2}");
    let figures = |outcome: &Outcome| {
        json!({
            "accepted": outcome.accepted.len(),
            "refused": outcome.refused_millis.len(),
            "others": outcome.others,
            "accepted_p99_millis": quantile(&outcome.accepted_millis, 0.99),
            "refused_p99_millis": quantile(&outcome.refused_millis, 0.99),
        })
    };
    let (calm, storm) = (figures(&calm), figures(&storm));
    let saved = json!({ "machine": machine, "unloaded": calm, "overloaded": storm, "p99_times": times });
    eprintln!("{}", report::save("overload", &saved)?.display());
    ensure!(times <= P99_TIMES_MOST, "the accepted writes are more than {P99_TIMES_MOST} times slower");
    Ok(())
}

/// Little's law: so many in progress, each for its time, are so many a second. A write waits for the call to Redis that is under
/// way, then for its own.
async fn bounded(servers: e2e::Servers, capacity: u32, latency_ms: u32) -> Result<(System, Proxy)> {
    let mut system = System::prepare(servers)?;
    let url = system.redis_url.clone();
    let port = url.rsplit_once(':').and_then(|(_, rest)| rest.split('/').next()?.parse::<u16>().ok());
    let port = port.context("the URL of Redis has a port")?;
    let link = Proxy::to(port).await?;
    link.set(Mode::Latency(Duration::from_millis(u64::from(latency_ms) / 2)));
    let in_progress = (capacity * latency_ms * 11 / 5000).max(1);
    let mut system = {
        system.migrate()?;
        system.start_persister().await?;
        system.redis_url = url.replace(&format!(":{port}"), &format!(":{}", link.port()));
        system.with("IN_FLIGHT_MOST", &in_progress.to_string())
    };
    system.start_ingest().await?;
    println!("capacity: {in_progress} in progress, {latency_ms} ms to Redis and back: {capacity} writes a second\n");
    Ok((system, link))
}

fn tell(what: &str, load: Load, outcome: &Outcome) {
    let at = |values: &[f64], share| quantile(values, share).unwrap_or(0.0);
    let (accepted, refused) = (&outcome.accepted_millis, &outcome.refused_millis);
    let offered = f64::from(load.rate * load.seconds) / outcome.took.as_secs_f64();
    let rate = accepted.len() as f64 / outcome.took.as_secs_f64();
    println!("{what}: {} offered a second for {} s ({offered:.0} sent and answered)", load.rate, load.seconds);
    println!(
        "   accepted {} ({rate:.0}/s): p50 {:.1} ms, p99 {:.1} ms",
        accepted.len(),
        at(accepted, 0.5),
        at(accepted, 0.99)
    );
    println!("   refused  {}: p50 {:.1} ms, p99 {:.1} ms", refused.len(), at(refused, 0.5), at(refused, 0.99));
    for (what, count) in &outcome.others {
        println!("   {count} times {what}");
    }
}
