//! `persister replay`: brings what a topic holds into its table once more (PROTOCOL R19), beside running services.
//!
//! How far it has come is noted in the database about once a second, so that `--resume` goes on after a kill; a second of events
//! then comes twice, which the guard makes harmless.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use cache::{Cache, Connector, RedisSettings};
use prometheus::{IntCounterVec, IntGaugeVec};
use record::{Entity, Version};
use serde_json::json;
use service::process::Ended;
use service::settings::{Findings, ProcessSettings, millis};
use service::{Health, Metrics, Supervisor, admin, schemas, supervisor};
use table::{Database, DatabaseSettings, EntityTable, Letters};
use tokio::sync::mpsc;
use topic::{Envelope, KafkaSettings, Reader, Stretch, TopicError};

use super::{chosen, same_partitions, say, unknown_entities};
use crate::replay::{Pace, Replay, Tally};
use crate::settle::{self, Settler};
use crate::verify::ask;

/// It came to its end, and some events could not be applied.
const POISON: u8 = 1;
/// It did not come to its end.
const NOT_REPLAYED: u8 = 2;

const BATCH_ROWS: usize = 500;
const BATCH_BYTES: usize = 4 << 20;
/// Dead letters that are held in memory.
const LETTERS_MOST: usize = 1_000_000;
/// Settles that may wait; what delivers them is as fast as any replay.
const SETTLES: usize = 200_000;
const TELL_EVERY: Duration = Duration::from_secs(2);
const NOTE_EVERY: Duration = Duration::from_secs(1);
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

    /// How far ahead of the clock a version may be; an event with a later one cannot be applied.
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
    pub process: ProcessSettings,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub redis: RedisSettings,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub kafka: KafkaSettings,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub database: DatabaseSettings,
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
        let mut found = self.redis.findings().and(self.kafka.findings(None)).and(self.database.findings());
        let begins = [self.all, self.since.is_some(), !self.from_offset.is_empty(), self.resume];
        found.demand(begins.iter().filter(|given| **given).count() == 1, || {
            "--all, --since, --from-offset or --resume: give exactly one".to_owned()
        });
        found.demand(self.from_offset.is_empty() || self.entity.len() == 1, || {
            "--from-offset is for one entity: name it with --entity".to_owned()
        });
        found.demand(self.all || !self.reset_purge_mark, || "--reset-purge-mark is used only with --all".to_owned());
        unknown_entities(&self.process, &self.entity, &mut found);
        found
    }
}

/// What of a replay is shown while it runs.
#[derive(Clone, Debug)]
struct ReplayMetrics {
    events: IntCounterVec,
    changed: IntCounterVec,
    poison: IntCounterVec,
    remaining: IntGaugeVec,
}

impl ReplayMetrics {
    fn new(metrics: &Metrics) -> Self {
        let counter = |name, help| metrics.counter_vec(name, help, &["entity"]);
        Self {
            events: counter("replay_events_total", "Events that a replay has brought to the table"),
            changed: counter("replay_rows_changed_total", "Changes of rows by a replay"),
            poison: counter("replay_poison_total", "Events that a replay could not apply"),
            remaining: metrics.gauge_vec(
                "replay_remaining_events",
                "Offsets between where a replay is and its end; of those that compaction took nothing comes",
                &["entity"],
            ),
        }
    }

    fn show(&self, entity: &str, done: &Tally, remaining: i64) {
        for (counter, value) in
            [(&self.events, done.events), (&self.changed, done.changed), (&self.poison, done.poison)]
        {
            let counter = counter.with_label_values(&[entity]);
            counter.inc_by(value.saturating_sub(counter.get()));
        }
        self.remaining.with_label_values(&[entity]).set(remaining);
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
    let catalog = schemas::load(&settings.process.schemas_dir)?;
    let (metrics, supervisor, settling) = (Metrics::new(), Supervisor::new(), Supervisor::new());
    let health = Arc::new(Health::new(&metrics, &["redis", "mysql"], &[]));
    let shown = ReplayMetrics::new(&metrics);
    let serving = settings.replay_listen.map(|address| {
        admin::serve("replay", address, Arc::clone(&health), metrics.clone(), &supervisor)
            .with_context(|| format!("--replay-listen {address}"))
    });
    let serving = serving.transpose()?;
    let database = Database::new(&settings.database)?;
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
        topic: settings.kafka.topic(entity.name()),
        entity: Arc::clone(entity),
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

/// Notes where each begins before the first one does, so that `--resume` finds them all. Says how many events could not be applied.
async fn one_by_one(mut runs: Vec<Run<'_>>, resumed: bool) -> anyhow::Result<u64> {
    let mut stretches = Vec::with_capacity(runs.len());
    for run in &mut runs {
        stretches.push(run.begin().await.with_context(|| format!("entity {}", run.entity.name()))?);
    }
    ensure!(!resumed || stretches.iter().any(|(_, left)| !left.is_empty()), "--resume: no replay was interrupted");
    let mut poison = 0;
    for (run, (reader, left)) in runs.iter().zip(stretches) {
        // Where several were asked for, one that came to its end is not noted any more.
        if !resumed || !left.is_empty() {
            poison += run.to_the_end(reader, left).await.with_context(|| format!("entity {}", run.entity.name()))?;
        }
    }
    Ok(poison)
}

/// One entity's replay.
struct Run<'s> {
    settings: &'s ReplaySettings,
    database: &'s Database,
    shown: &'s ReplayMetrics,
    replay: Replay,
    topic: String,
    entity: Arc<Entity>,
}

impl Run<'_> {
    /// Notes what is to be read.
    async fn begin(&mut self) -> anyhow::Result<(Arc<Mutex<Reader>>, Stretch)> {
        self.replay.letters = self.database.letters(&self.topic, LETTERS_MOST).await?;
        let reader = Arc::new(Mutex::new(Reader::new(&self.settings.kafka, "replay", &self.topic)?));
        let left = self.stretch(&reader).await?;
        self.fits(&reader, &left).await?;
        if !self.settings.resume {
            self.database.forget_replay(&self.topic).await?;
            self.database.note_replay(&self.topic, &left).await?;
        }
        Ok((reader, left))
    }

    /// How many events could not be applied.
    async fn to_the_end(&self, reader: Arc<Mutex<Reader>>, mut left: Stretch) -> anyhow::Result<u64> {
        let (batches, mut queued) = mpsc::channel(2);
        let (stretch, pace) = (left.clone(), Pace(self.settings.rate_most));
        let most = pace.batch(BATCH_ROWS);
        let reading = tokio::task::spawn_blocking(move || {
            let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            read(&mut reader, &stretch, most, &batches)
        });
        let (begun, mut told, mut noted) = (Instant::now(), Instant::now(), Instant::now());
        let mut tally = Tally::default();
        while let Some(batch) = queued.recv().await {
            self.replay.bring(&batch, &mut tally).await?;
            for (number, envelope) in &batch {
                if let Some((next, _)) = left.get_mut(number) {
                    *next = envelope.offset + 1;
                }
            }
            let remaining = remaining(&left);
            self.shown.show(self.entity.name(), &tally, remaining);
            let stopped = self.replay.stopping.is_cancelled();
            if stopped || noted.elapsed() >= NOTE_EVERY {
                noted = Instant::now();
                self.database.note_replay(&self.topic, &left).await?;
            }
            ensure!(!stopped, "told to stop: --resume goes on");
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                self.tell_progress(&tally, remaining, begun.elapsed());
            }
            tokio::select! {
                () = tokio::time::sleep(pace.due(tally.events).saturating_sub(begun.elapsed())) => {}
                () = self.replay.stopping.cancelled() => {}
            }
        }
        reading.await?.context("the topic cannot be read")?;
        self.shown.show(self.entity.name(), &tally, 0);
        self.tell_progress(&tally, 0, begun.elapsed());
        self.database.forget_replay(&self.topic).await?;
        self.tell(&tally);
        Ok(tally.poison)
    }

    /// From where to where.
    async fn stretch(&self, reader: &Arc<Mutex<Reader>>) -> anyhow::Result<Stretch> {
        if self.settings.resume {
            let left = self
                .database
                .replay(&self.topic)
                .await
                .context("is the database there, and was `persister migrate` run?")?;
            tracing::info!(
                topic = self.topic,
                partitions = left.len(),
                "topic {}: {} offsets are left",
                self.topic,
                remaining(&left)
            );
            return Ok(left);
        }
        let bounds = ask(reader, |reader| reader.bounds()).await?;
        ensure!(!bounds.is_empty(), "topic {} does not exist: run `persister migrate`", self.topic);
        let all = bounds.iter().map(|(number, bounds)| (*number, (bounds.low, bounds.end)));
        if let Some(micros) = self.settings.since {
            let asked = bounds.clone();
            let since = ask(reader, move |reader| reader.since(micros, &asked)).await?;
            let from = |(number, (low, end))| (number, (since.get(&number).copied().unwrap_or(low).max(low), end));
            return Ok(all.map(from).collect());
        }
        if self.settings.from_offset.is_empty() {
            return Ok(all.collect());
        }
        let places = self.settings.from_offset.iter().map(|(number, offset)| {
            let bounds =
                bounds.get(number).with_context(|| format!("--from-offset: there is no partition {number}"))?;
            Ok((*number, ((*offset).max(bounds.low), bounds.end)))
        });
        places.collect()
    }

    /// Is the table one that this topic may be brought into?
    async fn fits(&self, reader: &Arc<Mutex<Reader>>, left: &Stretch) -> anyhow::Result<()> {
        let (table, name) = (&self.replay.table, self.entity.name());
        let begun = self.database.partitions(name).await?;
        let begun = begun.with_context(|| format!("table {name} does not exist: run `persister migrate`"))?;
        let bounds = ask(reader, |reader| reader.bounds()).await?;
        same_partitions(&self.topic, i32::try_from(bounds.len()).unwrap_or(i32::MAX), begun)?;
        let gone = left.iter().find(|(number, (_, until))| bounds.get(number).is_none_or(|bounds| bounds.end < *until));
        ensure!(gone.is_none(), "topic {} is another than the one that was begun with: --all", self.topic);
        let purged = table.purged().await?;
        if purged == Version::ZERO || self.settings.resume {
            return Ok(());
        }
        let empty = table.is_empty().await?;
        if self.settings.reset_purge_mark {
            ensure!(empty, "--reset-purge-mark: table {name} is not empty");
            let members = ask(reader, |reader| reader.members()).await?;
            ensure!(members == 0, "--reset-purge-mark: {members} persisters are running: stop them first");
            table.reset_mark().await?;
            tracing::info!(entity = name, mark = purged.get(), "the purge mark of {name} is 0 again");
        } else {
            ensure!(
                !empty || !self.settings.all,
                "table {name} is empty and purged up to {purged}, so that nothing older would get a row: with every persister \
                 stopped, give --reset-purge-mark"
            );
        }
        Ok(())
    }

    fn tell_progress(&self, tally: &Tally, remaining: i64, elapsed: Duration) {
        let (entity, Tally { events, changed, poison, .. }) = (self.entity.name(), tally);
        #[expect(clippy::cast_precision_loss, reason = "for a human")]
        let rate = *events as f64 / elapsed.as_secs_f64().max(0.001);
        tracing::info!(
            entity,
            events,
            changed,
            poison,
            remaining,
            rate,
            "{entity}: {events} events at {rate:.0} a second, {remaining} offsets remain"
        );
    }

    fn tell(&self, tally: &Tally) {
        let (entity, Tally { events, changed, dead, poison, named }) = (self.entity.name(), tally);
        if self.settings.json {
            let object = json!({ "entity": entity, "events": events, "changed": changed, "dead": dead, "poison": poison, "named": named });
            return say(&format!("{object}\n"));
        }
        say(&format!(
            "{entity}: {events} events, {changed} rows changed, {dead} dead letters left out, {poison} cannot be applied\n"
        ));
        for poison in named {
            say(&format!("{entity} {poison}\n"));
        }
    }
}

fn remaining(left: &Stretch) -> i64 {
    left.values().map(|(next, until)| (until - next).max(0)).sum()
}

/// Hands out batches until the end of the stretch, or until nobody takes them any more.
fn read(
    reader: &mut Reader,
    stretch: &Stretch,
    most: usize,
    batches: &mpsc::Sender<Vec<(i32, Envelope)>>,
) -> Result<(), TopicError> {
    reader.begin(stretch)?;
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while let Some((number, envelope)) = reader.read()? {
        bytes += envelope.bytes();
        batch.push((number, envelope));
        if batch.len() >= most || bytes >= BATCH_BYTES {
            bytes = 0;
            if batches.blocking_send(std::mem::take(&mut batch)).is_err() {
                return Ok(());
            }
        }
    }
    if !batch.is_empty() {
        // Whoever has gone needs no batch.
        batches.blocking_send(batch).ok();
    }
    Ok(())
}
