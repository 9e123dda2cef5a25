//! Brings a plan's faults about while the clients work: one or two at a time, never two on one target.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::faults::{Bite, Fault, Target};
use super::schedule::Planned;
use super::stage::Stage;

/// How many faults are on at one time at most.
const AT_ONCE: usize = 2;

/// Longest time that a fault may take in all, its healing included: a stuck server must not hold the campaign.
const LONGEST: Duration = Duration::from_secs(240);

/// A fault that struck.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Struck {
    /// Its name.
    pub fault: String,
    /// What shows that it bit.
    pub bite: Bite,
    /// When it struck and when it was healed, in milliseconds of the round.
    pub between: (u64, u64),
}

type Done = (Target, Result<Struck>);

/// Strikes all of them, each at its time or as soon as there is room; ends when the last is healed.
///
/// # Errors
/// A fault could not be brought about or healed; the first one. The others are healed all the same.
pub(super) async fn strike_all(
    stage: &Arc<Stage>,
    faults: &[Arc<dyn Fault>],
    planned: &[Planned],
) -> Result<Vec<Struck>> {
    let begun = Instant::now();
    let (mut on, mut busy, mut ended) = (JoinSet::new(), HashSet::new(), Vec::new());
    for Planned { fault, at, hold } in planned {
        let fault = Arc::clone(faults.get(*fault).context("a fault of this plan")?);
        sleep_until(begun + *at).await;
        while on.len() >= AT_ONCE || busy.contains(&fault.target()) {
            take(on.join_next().await, &mut busy, &mut ended)?;
        }
        busy.insert(fault.target());
        on.spawn(one(Arc::clone(stage), fault, *hold));
    }
    while let Some(done) = on.join_next().await {
        take(Some(done), &mut busy, &mut ended)?;
    }
    ended.into_iter().collect()
}

async fn one(stage: Arc<Stage>, fault: Arc<dyn Fault>, hold: Duration) -> Done {
    let from = stage.journal.now();
    let name = fault.name();
    let bite = tokio::time::timeout(LONGEST, fault.strike(&stage, hold)).await;
    let bite = bite.unwrap_or_else(|late| Err(late.into())).with_context(|| name.clone());
    let between = (from / 1000, stage.journal.now() / 1000);
    (fault.target(), bite.map(|bite| Struck { fault: name, bite, between }))
}

fn take(
    done: Option<Result<Done, tokio::task::JoinError>>,
    busy: &mut HashSet<Target>,
    ended: &mut Vec<Result<Struck>>,
) -> Result<()> {
    let (target, struck) = done.context("a fault that is on")??;
    busy.remove(&target);
    ended.push(struck);
    Ok(())
}
