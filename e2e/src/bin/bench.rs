//! `make bench`: what each decision costs, as ratios taken in one run. Method and reading: `docs/BENCHMARKS.md`.

use anyhow::ensure;
use clap::{Parser, ValueEnum};
use e2e::bench::{Extent, bulk, ingest, persist, stand};
use service::process;

/// Measures ingest and persist on servers of its own.
#[derive(Debug, Parser)]
#[command(name = "bench", version, max_term_width = 120)]
struct Arguments {
    /// What to measure; everything when nothing is named.
    what: Vec<What>,

    /// Rounds in which the contenders alternate; odd, at least 3.
    #[arg(long, default_value = "5")]
    rounds: usize,

    /// For a look: three short rounds and a small backlog.
    #[arg(long)]
    quick: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// `logged` writes beside a handler that does nothing.
    Ingest,
    /// Lines of a bulk request beside requests of their own.
    Bulk,
    /// A drained backlog beside a bare consumer.
    Persist,
}

fn main() -> std::process::ExitCode {
    process::run("warn", bench(Arguments::parse()))
}

async fn bench(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { what, rounds, quick } = arguments;
    ensure!(rounds >= 3 && rounds % 2 == 1, "--rounds must be odd and at least 3");
    let extent = Extent { rounds: if quick { 3 } else { rounds }, quick };
    let wanted = |one| what.is_empty() || what.contains(&one);
    let servers = stand::servers()?;
    let mut reports = Vec::new();
    if wanted(What::Ingest) {
        reports.push(ingest::run(servers, extent).await?);
    }
    if wanted(What::Bulk) {
        reports.push(Box::pin(bulk::run(servers, extent)).await?);
    }
    if wanted(What::Persist) {
        reports.push(persist::run(servers, extent).await?);
    }
    for report in reports {
        println!("\n{}", report.table());
        eprintln!("{}", report.save()?.display());
    }
    Ok(())
}
