//! `persister purge`: raises the purge mark and deletes the tombstones below it (PROTOCOL R18). One run is one purge: a timer
//! starts it, once a day is plenty.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, ensure};
use cache::{Inspector, RedisSettings};
use record::{Decoded, Version};
use serde_json::json;
use service::process::Ended;
use service::settings::{Findings, millis, seconds};
use service::{Backoff, FailureClass, clock, schemas};
use table::{Database, EntityTable, PurgedChunk, TableError};
use topic::{Reader, TopicError};

use super::{BaseSettings, chosen, say, unknown_entities};
use crate::purge::{Mark, Reading, Waiting, earliest, least_age, mark};
use crate::verify::ask;

/// Nothing was purged, and why.
const NOT_PURGED: u8 = 2;
/// How often a step is tried again.
const TRIES: u32 = 10;

/// Settings of `persister purge`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Purge")]
pub struct PurgeSettings {
    /// Only these entities; may be given several times, or with commas. Left out: all.
    #[arg(long, env = "ENTITY", value_delimiter = ',')]
    pub entity: Vec<String>,

    /// Print one JSON object an entity instead of text.
    #[arg(long)]
    pub json: bool,

    /// Say what would be purged, and purge nothing.
    #[arg(long)]
    pub dry_run: bool,

    /// Tombstones younger than this stay. An event that reaches the table later than that after its birth, for an id without a
    /// row, is dropped. Longer than --idempotency-ttl-s, since a retry may bring a write to the topic as long as its key lives, and
    /// at least twice --produce-deadline-ms, since a write that goes past Redis may be so long on its way before anybody
    /// sees it: both are to be ingest's.
    #[arg(long, env = "PURGE_AGE_S", default_value = "604800", value_parser = seconds)]
    pub purge_age_s: Duration,

    /// Rows that one step looks at.
    #[arg(long, env = "CHUNK", default_value = "1000")]
    pub chunk: u32,

    /// A pause between two steps.
    #[arg(long, env = "PAUSE_MS", default_value = "10", value_parser = millis)]
    pub pause_ms: Duration,

    // Groups stand last, since each goes on under its own heading.
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub redis: RedisSettings,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub base: BaseSettings,
}

impl PurgeSettings {
    /// Everything that is wrong, each naming its flag.
    #[must_use]
    pub fn findings(&self) -> Findings {
        let mut found = self.redis.findings().and(self.base.kafka.findings(None)).and(self.base.database.findings());
        found.demand((1..=10_000).contains(&self.chunk), || "--chunk must be 1 to 10000".to_owned());
        let least = least_age(self.base.kafka.produce_deadline_ms, self.redis.clock_skew_ms);
        found.demand(self.purge_age_s >= least, || {
            format!(
                "--purge-age-s must be at least {least:?}, twice --produce-deadline-ms and --clock-skew-ms: a write that is \
                 acknowledged and not in the topic yet would be dropped (PROTOCOL R18)"
            )
        });
        found.demand(self.purge_age_s > self.redis.idempotency_ttl_s, || {
            "--purge-age-s must be longer than --idempotency-ttl-s: a retry of a key brings its first version to the topic, which \
             would be dropped (PROTOCOL R18)"
                .to_owned()
        });
        unknown_entities(&self.base.process, &self.entity, &mut found);
        found
    }
}

/// # Errors
/// [`Ended`] with 2 where no mark could be found; anything else: the purge ended early, and the next one goes on.
pub(crate) async fn purge(settings: PurgeSettings) -> anyhow::Result<()> {
    let refused = |why: String| anyhow::Error::from(Ended { code: NOT_PURGED, why });
    let catalog = schemas::load(&settings.base.process.schemas_dir)?;
    let database = Database::new(&settings.base.database)?;
    for entity in chosen(&catalog, &settings.entity) {
        let table = EntityTable::new(database.clone(), Arc::clone(entity));
        let found = find(&settings, &database, entity.name()).await;
        let found = found.map_err(|error| refused(format!("{}: not purged: {error:#}", entity.name())))?;
        let before =
            table.purged().await.map_err(|error| refused(format!("{}: not purged: {error}", entity.name())))?;
        let in_force = if settings.dry_run {
            before.max(found.version)
        } else {
            table.raise_mark(found.version).await.context("the purge mark")?
        };
        let rows = delete(&settings, &table, in_force).await?;
        tell(&settings, entity.name(), found, in_force, rows);
    }
    Ok(())
}

/// How high the mark may rise. Everything that waits is looked at from where it comes from to where it goes: what moves on
/// meanwhile is seen at least once.
async fn find(settings: &PurgeSettings, database: &Database, entity: &str) -> anyhow::Result<Mark> {
    let mut cache = Inspector::connect(&settings.redis).await.context("the cache cannot be read")?;
    let now = now(&mut cache, database, settings.redis.clock_skew_ms).await?;
    let heads = cache.heads().await.context("the cache cannot be read")?;
    ensure!(heads.doubts.is_empty(), "the cache cannot be believed: {}", heads.doubts.join("; "));
    let topic = settings.base.kafka.topic(entity);
    let reader = Arc::new(Mutex::new(Reader::new(&settings.base.kafka, "purge", &topic)?));
    let unapplied = ask(&reader, oldest_unapplied).await?;
    let waiting = Waiting { outbox: heads.outbox, unsettled: heads.unsettled, unapplied };
    mark(now, settings.purge_age_s, waiting).context("nothing is old enough")
}

/// The time, where all agree on it.
async fn now(cache: &mut Inspector, database: &Database, skew: Duration) -> anyhow::Result<u64> {
    let asked = clock::now_micros();
    let told = cache.now().await.context("the cache cannot be read")?;
    let between = clock::now_micros();
    let redis = Reading { of: "Redis", asked, told, heard: between };
    let told = database.now().await.context("the database cannot be read")?;
    let mysql = Reading { of: "the database", asked: between, told, heard: clock::now_micros() };
    earliest(&[redis, mysql], skew).map_err(anyhow::Error::msg)
}

/// The oldest version behind the group's commits, of all of them: events need not come in the order of their versions.
fn oldest_unapplied(reader: &mut Reader) -> Result<Option<Version>, TopicError> {
    let partitions: Vec<i32> = reader.bounds()?.into_keys().collect();
    let committed = reader.committed(partitions)?;
    let bounds = reader.bounds()?;
    let from = |number: &i32, low: i64| committed.get(number).copied().flatten().map_or(low, |next| next.max(low));
    let behind = bounds.iter().map(|(number, bounds)| (*number, (from(number, bounds.low), bounds.end))).collect();
    reader.begin(&behind)?;
    let mut oldest = None;
    while let Some((_, envelope)) = reader.read()? {
        if let Decoded::Event(event) = envelope.decode() {
            oldest = Some(oldest.map_or(event.version, |known: Version| known.min(event.version)));
        }
    }
    Ok(oldest)
}

/// Deletes, or counts, step by step.
async fn delete(settings: &PurgeSettings, table: &EntityTable, mark: Version) -> anyhow::Result<u64> {
    let (mut behind, mut rows) = (String::new(), 0);
    loop {
        let chunk = step(settings, table, &behind, mark).await?;
        rows += chunk.deleted;
        let Some(last) = chunk.last else { return Ok(rows) };
        behind = last;
        tokio::time::sleep(settings.pause_ms).await;
    }
}

/// Tried again for a while where the database is busy or away: a step that comes twice is harmless.
async fn step(
    settings: &PurgeSettings,
    table: &EntityTable,
    behind: &str,
    mark: Version,
) -> Result<PurgedChunk, TableError> {
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(5));
    loop {
        let done = if settings.dry_run {
            table.count_chunk(behind, mark, settings.chunk).await
        } else {
            table.purge_chunk(behind, mark, settings.chunk).await
        };
        match done {
            Err(error) if error.class() != FailureClass::Fatal && backoff.attempts() < TRIES => {
                tracing::warn!(%error, "the purge waits: {error}");
                tokio::time::sleep(backoff.next(rand::random())).await;
            }
            ended => return ended,
        }
    }
}

fn tell(settings: &PurgeSettings, entity: &str, found: Mark, in_force: Version, rows: u64) {
    let Mark { version, held_by } = found;
    let age = clock::seconds_between(version.get(), clock::now_micros());
    let done = if settings.dry_run { "would be purged" } else { "purged" };
    tracing::info!(entity, mark = in_force.get(), held_by, rows, "{entity}: {rows} tombstones {done}");
    say(&if settings.json {
        let dry_run = settings.dry_run;
        let (mark, found) = (in_force.get(), version.get());
        let object = json!({ "entity": entity, "mark": mark, "found": found, "held_by": held_by, "rows": rows, "dry_run": dry_run });
        format!("{object}\n")
    } else {
        format!("{entity}: {rows} tombstones {done}; mark {in_force} (found {version}, {age:.0} s old, by {held_by})\n")
    });
}
