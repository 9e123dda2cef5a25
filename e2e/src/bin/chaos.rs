//! `make chaos`: plays rounds of a campaign, tells how each ended, and how to play one that failed again alone.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};
use e2e::chaos::bug::{self, Bug};
use e2e::chaos::faults::{Fault, catalogue};
use e2e::chaos::ground::{self, Ground};
use e2e::chaos::record::Record;
use e2e::chaos::round::{Game, Outcome, play};
use e2e::chaos::schedule::{Membership, Names};

/// Hurts a whole system in every way that is known, and judges what became of the writes.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many rounds.
    #[arg(long, default_value = "10")]
    rounds: u64,
    /// The first round's seed; each further one has the next number.
    #[arg(long, default_value = "1")]
    seed: u64,
    /// Only faults whose names begin so, several with commas between.
    #[arg(long, value_delimiter = ',')]
    faults: Vec<String>,
    /// A seeded bug that has to be found: see the list.
    #[arg(long)]
    bug: Option<String>,
    /// Not those whose names begin so, several with commas between.
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// Begins no round after so many seconds.
    #[arg(long)]
    within: Option<u64>,
    /// Whether persisters have names of their own in their group (`--group-instance-id`).
    #[arg(long, value_enum, default_value_t)]
    names: Names,
    /// How long the clients of a round work, in seconds.
    #[arg(long, default_value = "25")]
    load: u64,
    /// Adds the rounds to docs/faults.json and to the table of docs/FAULTS.md.
    #[arg(long)]
    record: bool,
    /// Lists faults and bugs, and plays nothing.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match ground::apart().and_then(|()| begin(&arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn begin(arguments: &Arguments) -> Result<bool> {
    if arguments.list {
        list();
        return Ok(true);
    }
    let bug = match arguments.bug.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => match bug::named(name) {
            Some(bug) => Some(bug),
            None => bail!("there is no bug {name}; make chaos ARGS=--list names them"),
        },
        None => None,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(campaign(arguments, bug));
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

fn list() {
    for fault in catalogue() {
        println!("{}", fault.name());
    }
    for bug in bug::BUGS {
        println!("bug {}", bug.name);
    }
}

/// Those that were asked for, else all, but those that are to be left out.
fn chosen(names: &[String], without: &[String]) -> Result<Vec<Arc<dyn Fault>>> {
    let names: Vec<_> = names.iter().filter(|name| !name.is_empty()).collect();
    let begins = |fault: &Arc<dyn Fault>, name: &String| !name.is_empty() && fault.name().starts_with(name.as_str());
    let asked = |fault: &Arc<dyn Fault>| names.is_empty() || names.iter().any(|name| begins(fault, name));
    let left_out = |fault: &Arc<dyn Fault>| without.iter().any(|name| begins(fault, name));
    let found: Vec<_> = catalogue().into_iter().filter(|fault| asked(fault) && !left_out(fault)).collect();
    if found.is_empty() {
        bail!("no fault begins with {names:?}; make chaos ARGS=--list names them");
    }
    Ok(found)
}

/// Whether it ended as it should.
async fn campaign(arguments: &Arguments, bug: Option<Bug>) -> Result<bool> {
    let names = match bug {
        Some(bug) if arguments.faults.iter().all(String::is_empty) => {
            bug.faults.iter().map(|name| (*name).to_owned()).collect()
        }
        _ => arguments.faults.clone(),
    };
    let game = Game {
        faults: chosen(&names, &arguments.without)?,
        load: Duration::from_secs(arguments.load),
        names: arguments.names,
        bug: bug.map(|bug| bug.place),
    };
    let (mut ground, mut session, mut failed) = (Ground::default(), Record::default(), Vec::new());
    let (begun, mut played) = (Instant::now(), 0);
    for seed in arguments.seed..arguments.seed + arguments.rounds {
        let at = begun.elapsed();
        if arguments.within.is_some_and(|most| at.as_secs() >= most) {
            break;
        }
        played += 1;
        match play(&mut ground, &game, seed).await {
            Ok(outcome) => {
                tell(&outcome, begun.elapsed() - at);
                session.add(&outcome);
                // At once: a long campaign may be ended before its end.
                if arguments.record {
                    let mut record = Record::load()?;
                    record.add(&outcome);
                    record.save()?;
                }
                if bug.is_some() && !outcome.verdict.is_clean() {
                    println!("\nthe bug was found, in the round of seed {seed}");
                    return Ok(true);
                }
                if !outcome.is_good() {
                    println!("   again, alone: {}", command(arguments, &names, seed));
                    failed.push(seed);
                }
            }
            Err(error) => {
                println!("seed {seed}: COULD NOT BE PLAYED: {error:#}");
                println!("   again, alone: {}", command(arguments, &names, seed));
                failed.push(seed);
                // A server may be in any state.
                std::mem::take(&mut ground).end()?;
            }
        }
    }
    println!("\n{}", session.table());
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    println!("{played} rounds in {minutes:.1} minutes, {} failed {failed:?}", failed.len());
    if bug.is_some() {
        println!("THE BUG WAS NOT FOUND: the campaign proves nothing");
        return Ok(false);
    }
    Ok(failed.is_empty())
}

fn command(arguments: &Arguments, names: &[String], seed: u64) -> String {
    let mut text = format!("make chaos ROUNDS=1 SEED={seed}");
    if !names.is_empty() {
        text += &format!(" FAULTS={}", names.join(","));
    }
    if let Some(bug) = &arguments.bug {
        text += &format!(" BUG={bug}");
    }
    let mut more = Vec::new();
    if arguments.without.iter().any(|name| !name.is_empty()) {
        more.push(format!("--without={}", arguments.without.join(",")));
    }
    let said = arguments.names.to_possible_value().filter(|_| arguments.names != Names::Drawn);
    more.extend(said.map(|names| format!("--names={}", names.get_name())));
    if arguments.load != 25 {
        more.push(format!("--load={}", arguments.load));
    }
    if !more.is_empty() {
        text += &format!(" ARGS=\"{}\"", more.join(" "));
    }
    text
}

fn tell(outcome: &Outcome, took: Duration) {
    let counts = outcome.counts;
    let nodes = if outcome.plan.needs.three_nodes == Some(true) { 3 } else { 1 };
    let Membership { by_broker, named } = outcome.plan.members;
    let members = match (by_broker, named) {
        (false, false) => "classic group",
        (false, true) => "classic group with names",
        (true, false) => "KIP-848",
        (true, true) => "KIP-848 with names",
    };
    println!(
        "seed {}: {} · {} faults · {} acknowledged, {} refused, {} unknown · recovered in {:.1} s · Redis {:?}, Kafka of {nodes}, {members} · {:.0} s",
        outcome.plan.seed,
        if outcome.is_good() { "good" } else { "FAILED" },
        outcome.struck.len(),
        counts.acknowledged,
        counts.refused,
        counts.indeterminate,
        outcome.recovery.as_secs_f64(),
        outcome.plan.fsync,
        took.as_secs_f64(),
    );
    for struck in &outcome.struck {
        let (from, to) = struck.between;
        println!("   {from:>6}..{to:>6} ms {}: {} ({})", struck.fault, struck.bite.what, struck.bite.count);
    }
    for struck in outcome.toothless() {
        println!("   {} DID NOT BITE", struck.fault);
    }
    if !outcome.died.is_empty() {
        println!("   ended by themselves and were started again: {:?}", outcome.died);
    }
    if !outcome.verdict.is_clean() {
        print!("{}", outcome.verdict);
        println!("{}", outcome.logs);
    }
}
