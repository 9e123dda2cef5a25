//! The three seeded bugs, which the chaos campaign must find. `make test` plays some minutes of the campaign itself, and
//! `make chaos` as much of it as one likes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use e2e::chaos::bug::{self, Bug};
use e2e::chaos::checker::Rule;
use e2e::chaos::faults::{Fault, catalogue};
use e2e::chaos::ground::Ground;
use e2e::chaos::round::{Game, play};
use e2e::chaos::schedule::Names;

/// Of the catalogue those whose names begin so.
fn faults(names: &[&str]) -> Vec<Arc<dyn Fault>> {
    let wanted = |fault: &Arc<dyn Fault>| names.iter().any(|name| fault.name().starts_with(name));
    catalogue().into_iter().filter(wanted).collect()
}

/// Plays rounds until the judge finds the bug by this rule.
async fn found(bug: Bug, by: Rule) -> Result<()> {
    let load = Duration::from_secs(8);
    let game = Game { faults: faults(bug.faults), load, names: Names::Drawn, bug: Some(bug.place) };
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
