//! Reads what stands in the stores: directly, past every link, and with nothing of the product.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use redis::aio::MultiplexedConnection;
use serde_json::Value;
use sqlx::mysql::MySqlPoolOptions;
use sqlx::{MySqlPool, Row as _};

use super::client::{content, shown};
use super::evidence::{Entry, Event, Row, Sample};
use super::journal::{Content, Micros, State};
use super::stage::Stage;
use crate::topic_reader::{committed, read_all};

/// Shards of the key space, as docs/PROTOCOL.md has them.
const SHARDS: u32 = 16;

/// A pool of readers of the table.
pub(super) fn table(stage: &Stage) -> Result<MySqlPool> {
    let options = MySqlPoolOptions::new().max_connections(2).acquire_timeout(Duration::from_secs(2));
    Ok(options.connect_lazy(&stage.system.accounts.reader)?)
}

pub(super) async fn rows(table: &MySqlPool) -> Result<HashMap<String, Row>> {
    let rows = sqlx::query("SELECT id, version, deleted, name, age, occupation FROM users").fetch_all(table).await?;
    let row = |row: sqlx::mysql::MySqlRow| -> Result<(String, Row)> {
        let content = match row.try_get::<bool, _>("deleted")? {
            true => None,
            false => Some(Content {
                name: row.try_get("name")?,
                age: i64::from(row.try_get::<i32, _>("age")?),
                occupation: row.try_get("occupation")?,
            }),
        };
        Ok((row.try_get("id")?, Row { version: row.try_get("version")?, content }))
    };
    rows.into_iter().map(row).collect()
}

/// Offsets first, then the table: what was committed must be in it.
pub(super) async fn sample(stage: &Stage, table: &MySqlPool) -> Result<Sample> {
    let committed = offsets(stage).await?;
    let at = stage.journal.now();
    let rows = sqlx::query("SELECT id, version FROM users").fetch_all(table).await?;
    let table = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_>>()?;
    Ok(Sample { at, committed, table })
}

/// What the group has committed.
pub(super) async fn offsets(stage: &Stage) -> Result<HashMap<i32, i64>> {
    let (brokers, group, topic) = (stage.kafka.direct(), stage.system.group.clone(), stage.topic());
    tokio::task::spawn_blocking(move || committed(&brokers, &group, &topic)).await?
}

/// How many events stand behind what the group has committed.
pub(super) async fn behind(stage: &Stage) -> Result<i64> {
    let committed = offsets(stage).await?;
    let (brokers, topic) = (stage.kafka.direct(), stage.topic());
    tokio::task::spawn_blocking(move || {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("group.id", "stranger");
        let consumer = BaseConsumer::from_config(&config)?;
        let timeout = Duration::from_secs(5);
        let mut behind = 0;
        for partition in committed.keys() {
            let (_, end) = consumer.fetch_watermarks(&topic, *partition, timeout)?;
            behind += end - committed.get(partition).copied().unwrap_or(0);
        }
        Ok(behind)
    })
    .await?
}

pub(super) async fn events(stage: &Stage) -> Result<Vec<Event>> {
    let (brokers, topic) = (stage.kafka.direct(), stage.topic());
    let read = tokio::task::spawn_blocking(move || read_all(&brokers, &topic)).await??;
    let event = |read: crate::topic_reader::Read| Event {
        partition: read.partition,
        offset: read.offset,
        version: read.header("version").and_then(|version| version.parse().ok()),
        foreign: read.header(FOREIGN).is_some(),
        id: read.key,
    };
    Ok(read.into_iter().map(event).collect())
}

/// A header that only poison of the campaign's own has.
pub(super) const FOREIGN: &str = "chaos-poison";

/// The coordinates that dead letters carry, and when the first of each was sent; none where there is no topic for them.
pub(super) async fn dead(stage: &Stage) -> Result<HashMap<(i32, i64), Micros>> {
    let (brokers, topic) = (stage.kafka.direct(), format!("{}.dead", stage.topic()));
    let read = tokio::task::spawn_blocking(move || {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &brokers).set("group.id", "stranger");
        let metadata = BaseConsumer::from_config(&config)?.fetch_metadata(Some(&topic), Duration::from_secs(10))?;
        let there = metadata.topics().iter().any(|found| !found.partitions().is_empty());
        if there { read_all(&brokers, &topic) } else { Ok(Vec::new()) }
    })
    .await??;
    let mut letters = HashMap::new();
    for read in &read {
        let number = |name: &str| read.header(name).and_then(|text| text.parse::<i64>().ok());
        let coordinates = number("__connect.errors.partition").zip(number("__connect.errors.offset"));
        let (partition, offset) = coordinates.with_context(|| format!("no coordinates: {read:?}"))?;
        let at = stage.journal.at(read.at.saturating_mul(1000));
        let sent = letters.entry((i32::try_from(partition)?, offset)).or_insert(at);
        *sent = at.min(*sent);
    }
    Ok(letters)
}

/// The coordinates of the dead letters that are noted in the database.
pub(super) async fn noted(table: &MySqlPool, topic: &str) -> Result<HashSet<(i32, i64)>> {
    let noted = "SELECT `partition`, `offset` FROM _write_behind_dead_letters WHERE topic = ?";
    let noted = sqlx::query(noted).bind(topic).fetch_all(table).await?;
    noted.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

pub(super) async fn redis(stage: &Stage) -> Result<MultiplexedConnection> {
    let client = redis::Client::open(stage.system.redis_url.as_str())?;
    Ok(client.get_multiplexed_async_connection().await?)
}

/// Entries of all outboxes, and of all unsettled sets.
pub(super) async fn waiting(redis: &mut MultiplexedConnection) -> Result<(u64, u64)> {
    let mut pipeline = redis::pipe();
    for set in ["outbox", "unsettled"] {
        for shard in 0..SHARDS {
            pipeline.cmd("ZCARD").arg(format!("wb:{{{shard:02}}}:{set}"));
        }
    }
    let counts: Vec<u64> = pipeline.query_async(redis).await?;
    let (outbox, unsettled) = counts.split_at(counts.len() / 2);
    Ok((outbox.iter().sum(), unsettled.iter().sum()))
}

/// How many records are cached.
pub(super) async fn records(redis: &mut MultiplexedConnection) -> Result<u64> {
    let keys: Vec<String> = redis::cmd("KEYS").arg("wb:*:record:users:*").query_async(redis).await?;
    Ok(keys.len() as u64)
}

/// Every record that is cached.
pub(super) async fn cached(redis: &mut MultiplexedConnection) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for shard in 0..SHARDS {
        let prefix = format!("wb:{{{shard:02}}}:record:users:");
        let epoch: Option<String> =
            redis::cmd("HGET").arg(format!("wb:{{{shard:02}}}:epoch")).arg("n").query_async(redis).await?;
        // A brace is no wildcard.
        let keys: Vec<String> = redis::cmd("KEYS").arg(format!("{prefix}*")).query_async(redis).await?;
        for key in keys {
            let fields: HashMap<String, String> = redis::cmd("HGETALL").arg(&key).query_async(redis).await?;
            // It may have expired in between.
            // What is awaited is no record; one that stays for ever is told by the unsettled.
            if fields.get("state").is_some_and(|state| state != "awaited") {
                let id = key.trim_start_matches(&prefix).to_owned();
                entries.push(entry(id, &fields, epoch.as_deref()).with_context(|| format!("{key}: {fields:?}"))?);
            }
        }
    }
    Ok(entries)
}

fn entry(id: String, fields: &HashMap<String, String>, epoch: Option<&str>) -> Result<Entry> {
    let field = |name: &str| fields.get(name).map(String::as_str);
    let state = match field("state").context("no state")? {
        "cached" => State::Cached,
        "logged" => State::Logged,
        "persisted" => State::Persisted,
        other => anyhow::bail!("state {other}"),
    };
    let content = match field("deleted") {
        Some("1") => None,
        _ => Some(content(&serde_json::from_str::<Value>(field("payload").context("no payload")?)?).context("a user")?),
    };
    let in_doubt = state == State::Persisted && field("epoch") != epoch;
    Ok(Entry { id, version: field("version").context("no version")?.parse()?, content, state, in_doubt })
}

/// What a client is shown of each of these records.
pub(super) async fn views<'i>(
    stage: &Stage,
    ids: impl Iterator<Item = &'i String>,
) -> Result<HashMap<String, Option<(u64, Content)>>> {
    let mut views = HashMap::new();
    for id in ids {
        let answer = stage.system.client.get(format!("{}/users/{id}", stage.system.ingest_url)).send().await?;
        let status = answer.status();
        let found = shown(answer).await;
        ensure!(found.is_some(), "{id} is not shown: {status}");
        views.extend(found.map(|found| (id.clone(), found)));
    }
    Ok(views)
}
