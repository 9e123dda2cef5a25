//! `persister replay`: brings what a topic holds into its table once more (PROTOCOL R19), beside running services.
//!
//! How far it has come is noted in the database about once a second, so that `--resume` goes on after a kill; a second of events
//! then comes twice, which the guard makes harmless.

mod run;
mod shown;
mod stretch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use cache::{Cache, Connector, RedisSettings};
use record::Entity;
use service::process::Ended;
use service::settings::{Findings, millis};
use service::{Health, Metrics, Supervisor, admin, schemas, supervisor};
use table::{Database, EntityTable, Letters};

use self::run::{Run, one_by_one};
use self::shown::ReplayMetrics;
use super::{BaseSettings, chosen, unknown_entities};
use crate::replay::Replay;
use crate::settle::{self, Settler};

/// It came to its end, and some events could not be applied.
const POISON: u8 = 1;
/// It did not come to its end.
const NOT_REPLAYED: u8 = 2;

/// Settles that may wait; what delivers them is as fast as any replay.
const SETTLES: usize = 200_000;
const SETTLE_BUDGET: Duration = Duration::from_secs(30);
const TASKS_BUDGET: Duration = Duration::from_secs(10);

/// Settings of `persister replay`. Exactly one of --all, --since, --from-offset and --resume says where it begins; it ends where
/// the topic ended when it began. Into an existing table it changes only rows that are older than the topic. To rebuild a table
/// in place: stop every persister, TRUNCATE the table, `replay --all --reset-purge-mark`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Replay")]
pub struct ReplaySettings {
    /// Only these entities; may be given several times, or with commas. Left out: all.
    #[arg(long, env = "ENTITY", value_delimiter = ',')]
    pub entity: Vec<String>,

    /// Begin with the first event that there is.
    #[arg(long)]
    pub all: bool,

    /// Begin with the first event that the topic took at this time (RFC 3339, such as 2026-11-28T06:00:00Z) or later.
    #[arg(long, env = "SINCE", value_parser = time)]
    pub since: Option<u64>,

    /// Begin with this offset of this partition (`3=1200`); may be given several times, or with commas, for one entity.
    /// Partitions that are not named are left out.
    #[arg(long, env = "FROM_OFFSET", value_parser = place, value_delimiter = ',', value_name = "PARTITION=OFFSET")]
    pub from_offset: Vec<(i32, i64)>,

    /// Go on where an interrupted replay stopped, to its end.
    #[arg(long)]
    pub resume: bool,

    /// Put the purge mark of a table that is empty back to 0 first, with --all and no persister running: else what was deleted
    /// before the last purge would be missing its guard, and what lies below the mark its row.
    #[arg(long)]
    pub reset_purge_mark: bool,

    /// Most events a second. Left out: as many as the database takes.
    #[arg(long, env = "RATE_MOST", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate_most: Option<u32>,

    /// How far ahead of this machine's clock and the database's a version may be; an event with a later one cannot be applied.
    #[arg(long, env = "FUTURE_MOST_MS", default_value = "60000", value_parser = millis)]
    pub future_most_ms: Duration,

    /// Where its health and metrics (`write_behind_replay_*`) are shown. Left out: nowhere.
    #[arg(long, env = "REPLAY_LISTEN")]
    pub replay_listen: Option<SocketAddr>,

    /// Print one JSON object an entity instead of text.
    #[arg(long)]
    pub json: bool,

    // Groups stand last, since each goes on under its own heading.
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub redis: RedisSettings,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub base: BaseSettings,
}

fn time(text: &str) -> Result<u64, String> {
    let time = chrono::DateTime::parse_from_rfc3339(text).map_err(|error| error.to_string())?;
    u64::try_from(time.timestamp_micros()).map_err(|_| "before 1970".to_owned())
}

fn place(text: &str) -> Result<(i32, i64), String> {
    let parsed =
        text.split_once('=').and_then(|(partition, offset)| Some((partition.parse().ok()?, offset.parse().ok()?)));
    let valid = parsed.filter(|(partition, offset): &(i32, i64)| *partition >= 0 && *offset >= 0);
    valid.ok_or_else(|| "expected a partition and an offset, such as 3=1200".to_owned())
}

impl ReplaySettings {
    /// Everything that is wrong, each naming its flag.
    #[must_use]
    pub fn findings(&self) -> Findings {
        let mut found = self.redis.findings().and(self.base.kafka.findings(None)).and(self.base.database.findings());
        let begins = [self.all, self.since.is_some(), !self.from_offset.is_empty(), self.resume];
        found.demand(begins.iter().filter(|given| **given).count() == 1, || {
            "--all, --since, --from-offset or --resume: give exactly one".to_owned()
        });
        found.demand(self.from_offset.is_empty() || self.entity.len() == 1, || {
            "--from-offset is for one entity: name it with --entity".to_owned()
        });
        found.demand(self.all || !self.reset_purge_mark, || "--reset-purge-mark is used only with --all".to_owned());
        unknown_entities(&self.base.process, &self.entity, &mut found);
        found
    }
}

/// # Errors
/// [`Ended`] with 1 where events could not be applied, and with 2 where it did not come to its end.
pub(crate) async fn replay(settings: ReplaySettings) -> anyhow::Result<()> {
    let ended = |code: u8, why: String| Err(Ended { code, why }.into());
    match replay_all(&settings).await {
        Ok(0) => Ok(()),
        Ok(poison) => ended(POISON, format!("replayed but for {poison} events that cannot be applied")),
        Err(error) => ended(NOT_REPLAYED, format!("not replayed to the end: {error:#}")),
    }
}

/// Every entity; says how many events could not be applied.
async fn replay_all(settings: &ReplaySettings) -> anyhow::Result<u64> {
    let catalog = schemas::load(&settings.base.process.schemas_dir)?;
    let (metrics, supervisor, settling) = (Metrics::new(), Supervisor::new(), Supervisor::new());
    let health = Arc::new(Health::new(&metrics, &["redis", "mysql"], &[]));
    let shown = ReplayMetrics::new(&metrics);
    let serving = settings.replay_listen.map(|address| {
        admin::serve("replay", address, Arc::clone(&health), metrics.clone(), &supervisor)
            .with_context(|| format!("--replay-listen {address}"))
    });
    let serving = serving.transpose()?;
    let database = Database::new(&settings.base.database)?;
    let connector = Connector::new(&settings.redis, Arc::new(|_| {}))?;
    let cache =
        Cache::new(connector.clone(), settings.redis.clone(), &format!("replay-{:016x}", rand::random::<u64>()));
    let up = |name: &str| health.dependency(name).with_context(|| format!("{name} is no dependency"));
    connector.supervise(up("redis")?, &supervisor);
    database.clone().supervise(up("mysql")?, &supervisor);
    let dropped = metrics.counter("settles_dropped_total", "Settles that Redis did not take in time");
    let (settler, queued) = Settler::new(SETTLES, cache.clone(), dropped.clone());
    settling.spawn_passing(
        "settle",
        settle::deliver(cache, queued, dropped.clone(), settling.stopping(), settling.pulse("settle")),
    );
    health.set_serving(true);

    let stopping = supervisor.stopping();
    let told = stopping.clone();
    // A batch must come to its end, so that the work itself looks whether it is to stop.
    supervisor.spawn_passing("signals", async move {
        tokio::select! {
            _ = supervisor::terminated() => told.cancel(),
            () = told.cancelled() => {}
        }
    });
    let run = |entity: &Arc<Entity>| Run {
        settings,
        database: &database,
        shown: &shown,
        replay: Replay {
            table: EntityTable::new(database.clone(), Arc::clone(entity)),
            settler: settler.clone(),
            letters: Letters::default(),
            future_most: settings.future_most_ms,
            stopping: stopping.clone(),
        },
        topic: settings.base.kafka.topic(entity.name()),
        entity: Arc::clone(entity),
        number: rand::random(),
    };
    let runs: Vec<Run<'_>> = chosen(&catalog, &settings.entity).map(run).collect();
    let outcome = Box::pin(one_by_one(runs, settings.resume)).await;
    drop(settler);
    if !settling.drained(SETTLE_BUDGET).await {
        settling.stop();
        tracing::warn!(dropped = dropped.get(), "settles are given up: the sweep brings them");
    }
    health.set_serving(false);
    supervisor.stop();
    if let Some((admin, _)) = serving {
        admin.stop(true).await;
    }
    supervisor.drained(TASKS_BUDGET).await;
    outcome
}
