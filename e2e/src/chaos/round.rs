//! A round: load and faults, heal, drain, collect, judge.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use stack::RedisOptions;

use super::checker::{Verdict, judge};
use super::client::{Crowd, Habits};
use super::collect;
use super::evidence::{Drain, Evidence, Sample};
use super::faults::{Fault, is_poison};
use super::ground::Ground;
use super::journal::{Counts, Journal, State};
use super::operator;
use super::orchestrator::Orchestrator;
use super::schedule::{Candidate, Names, Plan, plan};
use super::stage::{Service, Stage};
pub use super::strikes::Struck;
use super::strikes::strike_all;
use crate::{Servers, System};

/// Within which a write must be acknowledged as logged once all is healed.
const PROGRESS_WITHIN: Duration = Duration::from_secs(30);

/// Within which everything must have arrived once the load has ended.
const DRAINED_WITHIN: Duration = Duration::from_secs(60);

/// How often offsets and table are looked at meanwhile.
const SAMPLE_EVERY: Duration = Duration::from_millis(700);

/// Megabytes of a disk that runs full.
const REDIS_DISK: u64 = 64;
const DATABASE_DISK: u64 = 400;

/// What a campaign plays.
#[derive(Debug)]
pub struct Game {
    /// What may strike.
    pub faults: Vec<Arc<dyn Fault>>,
    /// How long the clients work at least.
    pub load: Duration,
    /// Whether its persisters have names in their group.
    pub names: Names,
    /// The place of the bug that it has.
    pub bug: Option<&'static str>,
}

/// How a round ended.
#[derive(Debug)]
pub struct Outcome {
    /// What it was drawn from.
    pub plan: Plan,
    /// What struck.
    pub struck: Vec<Struck>,
    /// How the writes ended.
    pub counts: Counts,
    /// What was broken.
    pub verdict: Verdict,
    /// From the end of the last fault until everything had arrived.
    pub recovery: Duration,
    /// Services that ended by themselves and were started again, as an orchestrator would.
    pub died: Vec<Service>,
    /// The ends of the services' logs, for a round that failed.
    pub logs: String,
}

impl Outcome {
    /// Every fault bit and nothing was broken.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.verdict.is_clean() && self.toothless().next().is_none()
    }

    /// Faults that did not bite.
    pub fn toothless(&self) -> impl Iterator<Item = &Struck> {
        self.struck.iter().filter(|struck| struck.bite.count == 0)
    }
}

/// Plays the round of this seed.
///
/// # Errors
/// Something that is not tried failed: a server that does not start, a fault that cannot be brought about or healed.
pub async fn play(ground: &mut Ground, game: &Game, seed: u64) -> Result<Outcome> {
    let candidates: Vec<_> =
        game.faults.iter().map(|fault| Candidate { needs: fault.needs(), weight: fault.weight() }).collect();
    let plan = game.names.of(plan(seed, &candidates, game.load));
    let stage = Arc::new(set(ground, game, &plan).await?);
    let orchestrator = Orchestrator::of(&stage);
    let struck = hurt(&stage, game, &plan).await;
    let Hurt { struck, samples, crowd } = match struck {
        Ok(hurt) => hurt,
        Err(error) => return Err(error.context(stage.logs(8).await)),
    };
    let healed = Instant::now();
    let progress = progress(&stage.journal).await;
    crowd.stop().await?;
    let poisoned = struck.iter().any(|struck| is_poison(&struck.fault));
    let drain = drain(&stage, poisoned).await;
    let recovery = healed.elapsed();
    let died = orchestrator.started();
    drop(orchestrator);
    let evidence = collect(&stage, samples, drain, progress).await;
    let evidence = match evidence {
        Ok(evidence) => evidence,
        Err(error) => return Err(error.context(stage.logs(8).await)),
    };
    let verdict = judge(&evidence);
    let logs = if verdict.is_clean() { String::new() } else { stage.logs(15).await };
    let counts = stage.journal.counts();
    clear(&stage, plan.needs.database_disk).await?;
    Ok(Outcome { plan, struck, counts, verdict, recovery, died, logs })
}

async fn set(ground: &mut Ground, game: &Game, plan: &Plan) -> Result<Stage> {
    let needs = plan.needs;
    let kafka = ground.kafka(needs.three_nodes == Some(true)).await?;
    let database = ground.database(needs.database_disk.then_some(DATABASE_DISK))?;
    let options = RedisOptions { fsync: plan.fsync, clock: needs.clock };
    let (redis, dir) = ground.redis(options, needs.redis_disk.then_some(REDIS_DISK))?;
    let node = kafka.nodes.first().copied();
    let node = node.ok_or_else(|| anyhow::anyhow!("Kafka has no node"))?;
    let system = System::prepare(Servers { kafka: node, redis, database })?;
    Stage::set(system, kafka, (dir, plan.fsync), plan.members, game.bug).await
}

/// What came of the faults; the clients are still at work.
struct Hurt {
    struck: Vec<Struck>,
    samples: Vec<Sample>,
    crowd: Crowd,
}

#[expect(clippy::disallowed_methods, reason = "the sampler is awaited below")]
async fn hurt(stage: &Arc<Stage>, game: &Game, plan: &Plan) -> Result<Hurt> {
    let habits = Habits { clients: 8, ids: 200, rest: Duration::from_millis(30), seed: plan.seed };
    let begun = Instant::now();
    let crowd = Crowd::start(&stage.system.ingest_url, habits, &stage.journal, &stage.spoilt)?;
    let over = Arc::new(AtomicBool::new(false));
    let sampling = tokio::spawn(sample(Arc::clone(stage), Arc::clone(&over)));
    let struck = strike_all(stage, &game.faults, &plan.planned).await;
    tokio::time::sleep(game.load.saturating_sub(begun.elapsed())).await;
    over.store(true, Ordering::Relaxed);
    let samples = sampling.await??;
    Ok(Hurt { struck: struck?, samples, crowd })
}

/// Looks every now and then; where a store does not answer there is nothing to be seen.
async fn sample(stage: Arc<Stage>, over: Arc<AtomicBool>) -> Result<Vec<Sample>> {
    let (table, mut samples) = (collect::table(&stage)?, Vec::new());
    while !over.load(Ordering::Relaxed) {
        let look = tokio::time::timeout(Duration::from_secs(5), collect::sample(&stage, &table)).await;
        samples.extend(look.ok().and_then(Result::ok));
        tokio::time::sleep(SAMPLE_EVERY).await;
    }
    Ok(samples)
}

/// The first write that began after the last fault and was logged.
async fn progress(journal: &Journal) -> Option<Duration> {
    let (since, begun) = (journal.now(), Instant::now());
    while begun.elapsed() < PROGRESS_WITHIN {
        let told = journal.so_far();
        let after = told.writes.iter().rev().take_while(|write| write.ended >= since);
        let mut logged = after.filter(|write| write.begun >= since).flat_map(|write| &write.acknowledged);
        if logged.any(|told| told.state != State::Cached) {
            return Some(begun.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    None
}

/// Nobody does anything, but where there was poison: what the brake has stopped, an operator lets go.
async fn drain(stage: &Stage, poisoned: bool) -> Drain {
    let begun = Instant::now();
    loop {
        if poisoned
            && operator::braked(stage).await > 0
            && let Err(error) = operator::accept(stage).await
        {
            return Drain::NotWithin(begun.elapsed(), format!("{error:#}"));
        }
        let what = match left(stage).await {
            Ok((0, 0, 0)) => return Drain::After(begun.elapsed()),
            Ok((outbox, unsettled, behind)) => {
                format!("{outbox} in the outbox, {unsettled} unsettled, {behind} events not committed")
            }
            Err(error) => format!("{error:#}"),
        };
        if begun.elapsed() > DRAINED_WITHIN {
            return Drain::NotWithin(DRAINED_WITHIN, what);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Outbox, unsettled, events that are not committed.
async fn left(stage: &Stage) -> Result<(u64, u64, i64)> {
    let (outbox, unsettled) = collect::waiting(&mut collect::redis(stage).await?).await?;
    Ok((outbox, unsettled, collect::behind(stage).await?))
}

async fn collect(stage: &Stage, samples: Vec<Sample>, drain: Drain, progress: Option<Duration>) -> Result<Evidence> {
    let (table, losses) = (collect::table(stage)?, stage.losses().clone());
    let mut redis = collect::redis(stage).await?;
    // The cache before the table: what leaves it meanwhile is missing, not different.
    let cached = collect::cached(&mut redis).await?;
    let rows = collect::rows(&table).await?;
    let shown = match drain {
        Drain::After(_) => collect::views(stage, rows.keys()).await?,
        Drain::NotWithin(..) => Default::default(),
    };
    Ok(Evidence {
        told: stage.journal.so_far(),
        rows,
        events: collect::events(stage).await?,
        dead: collect::dead(stage).await?,
        noted: collect::noted(&table, &stage.topic()).await?,
        cached,
        shown,
        waiting: collect::waiting(&mut redis).await?,
        committed: collect::offsets(stage).await?,
        samples,
        losses,
        drain,
        progress,
    })
}

/// The next round has servers that nobody else uses.
async fn clear(stage: &Stage, has_disk: bool) -> Result<()> {
    for service in [Service::Ingest, Service::Persister] {
        if let Some(process) = stage.process(service).await.take() {
            process.kill()?;
        }
    }
    // One on a disk of its own is nobody else's either.
    if has_disk {
        stage.system.servers.database.kill()?;
    }
    stage.redis().kill()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::faults::Bite;

    fn outcome(count: u64) -> Outcome {
        let bite = Bite { what: "bytes were hurt", count };
        Outcome {
            plan: plan(1, &[], Duration::ZERO),
            struck: vec![Struck { fault: "one".to_owned(), bite, between: (0, 1) }],
            counts: Counts::default(),
            verdict: judge(&Evidence::none()),
            recovery: Duration::ZERO,
            died: Vec::new(),
            logs: String::new(),
        }
    }

    #[test]
    fn a_round_with_a_fault_that_did_not_bite_proves_nothing() {
        assert!(outcome(1).is_good());
        let toothless = outcome(0);
        assert!(!toothless.is_good());
        assert_eq!(toothless.toothless().map(|struck| &*struck.fault).collect::<Vec<_>>(), ["one"]);
    }

    #[test]
    fn a_round_in_which_something_was_broken_is_not_good() {
        let mut broken = outcome(1);
        broken.verdict = judge(&Evidence { progress: None, ..Evidence::none() });
        assert!(!broken.is_good());
    }
}
