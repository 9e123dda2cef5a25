//! A short part of the chaos campaign: a round of each kind of fault that needs no root, and the three seeded bugs, which
//! must be found. `make chaos` runs as much of it as one likes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use e2e::chaos::bug::{self, Bug};
use e2e::chaos::checker::Rule;
use e2e::chaos::client::Capabilities;
use e2e::chaos::faults::{Fault, catalogue};
use e2e::chaos::ground::Ground;
use e2e::chaos::round::{Game, play};
use tokio::sync::Mutex;

/// One at a time: a machine that is busy with two of them learns less from both.
static TURN: Mutex<()> = Mutex::const_new(());

/// Of the catalogue those whose names begin so.
fn faults(names: &[&str]) -> Vec<Arc<dyn Fault>> {
    let wanted = |fault: &Arc<dyn Fault>| names.iter().any(|name| fault.name().starts_with(name));
    catalogue().into_iter().filter(wanted).collect()
}

/// Plays rounds of these faults, each of which must be survived.
async fn survived(names: &[&str], seeds: std::ops::Range<u64>) -> Result<()> {
    let _turn = TURN.lock().await;
    let game = Game { faults: faults(names), load: Duration::from_secs(12), can: Capabilities::default(), bug: None };
    let mut ground = Ground::default();
    for seed in seeds {
        let outcome = play(&mut ground, &game, seed).await?;
        let toothless: Vec<_> = outcome.toothless().collect();
        assert!(toothless.is_empty(), "seed {seed}: these did not bite: {toothless:?}");
        let (verdict, struck, logs) = (&outcome.verdict, &outcome.struck, &outcome.logs);
        assert!(verdict.is_clean(), "seed {seed}, faults {names:?}: {struck:?}\n{verdict}\n{logs}");
        assert!(outcome.counts.acknowledged > 50, "seed {seed}: hardly anything was written: {:?}", outcome.counts);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_processes_and_servers_die_or_stand_still() -> Result<()> {
    survived(&["ingest-killed", "ingest-frozen", "database-", "kafka-killed", "kafka-frozen"], 1..3).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_links_to_kafka_and_the_database_misbehave() -> Result<()> {
    survived(&["ingest-kafka", "persister-database"], 1..3).await
}

/// Plays rounds until the judge finds the bug by this rule.
async fn found(bug: Bug, by: Rule) -> Result<()> {
    let load = Duration::from_secs(8);
    let game = Game { faults: faults(bug.faults), load, can: Capabilities::default(), bug: Some(bug.place) };
    let mut ground = Ground::default();
    for seed in 1..=3 {
        if play(&mut ground, &game, seed).await?.verdict.count(by) > 0 {
            return Ok(());
        }
    }
    panic!("{} was not found by {by:?}: the campaign proves nothing", bug.name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_seeded_bug_is_found() -> Result<()> {
    let _turn = TURN.lock().await;
    for bug in bug::BUGS {
        let by = match bug.name {
            "commit-before-apply" => Rule::OffsetPassed,
            "version-first" => Rule::Mixed,
            _ => Rule::Lost,
        };
        found(bug, by).await?;
    }
    Ok(())
}
