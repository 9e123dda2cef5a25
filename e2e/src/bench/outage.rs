//! What an outage costs: memory of Redis and disk of Kafka per write that waits, measured on records of two sizes.

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use rand::distr::Alphanumeric;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::system::metric;
use crate::{Servers, System};

/// Writes at a time.
const AT_ONCE: usize = 64;

/// Bytes for each write that waits.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Bytes of the JSON that is sent.
    pub body: usize,
    /// Memory of Redis while the table is away: the record, unsettled.
    pub unsettled: f64,
    /// Disk of the topic, per replica.
    pub topic: f64,
    /// Memory of Redis while the topic is away: the record, unsettled and in the outbox.
    pub outbox: f64,
    /// Memory of Redis for a write's `Idempotency-Key`, until it expires.
    pub key: f64,
}

/// Writes `records` records with `name` bytes of name, to new ids: with the persister away, with keys, then with Kafka away.
///
/// # Errors
/// A server does not answer as it should.
pub async fn cost(servers: Servers, records: usize, name: usize) -> Result<Cost> {
    let mut system = System::prepare(servers)?.with("OUTBOX_MOST", "1000000").with("UNSETTLED_MOST", "1000000");
    system.migrate()?;
    system.start_ingest().await?;
    // Text that no compression makes smaller.
    let body = |number: usize| {
        let text = SmallRng::seed_from_u64(number as u64).sample_iter(Alphanumeric).take(name);
        json!({ "name": text.map(char::from).collect::<String>(), "age": 30, "occupation": "Engineer" })
    };
    // What every later write finds there: buffers, empty sets.
    write(&system, "warm", 200, &body, None).await?;
    let topic = format!("{}users", system.topic_prefix);
    let (memory, disk) = (memory(&system).await?, disk(&system, &topic)?);
    write(&system, "plain", records, &body, None).await?;
    let (plain, logged) = (self::memory(&system).await?, self::disk(&system, &topic)?);
    write(&system, "keyed", records, &body, Some("outage")).await?;
    let keyed = self::memory(&system).await?;
    servers.kafka.stop(std::time::Duration::from_secs(30))?;
    let is_away = async || {
        let text = system.metrics(&system.ingest_admin_url).await?;
        Ok(metric(&text, r#"write_behind_dependency_up{dependency="kafka"}"#) == Some(0.0))
    };
    system.eventually("Kafka is away", is_away).await?;
    let before = self::memory(&system).await?;
    write(&system, "cached", records, &body, None).await?;
    let cached = self::memory(&system).await?;
    servers.kafka.restart()?;
    let each = |from: u64, to: u64| to.saturating_sub(from) as f64 / records as f64;
    let unsettled = each(memory, plain);
    Ok(Cost {
        body: body(0).to_string().len(),
        unsettled,
        topic: each(disk, logged),
        outbox: each(before, cached),
        key: each(plain, keyed) - unsettled,
    })
}

async fn write(
    system: &System,
    prefix: &str,
    records: usize,
    body: impl Fn(usize) -> Value,
    key: Option<&str>,
) -> Result<()> {
    let one = async |number: usize| -> Result<()> {
        let url = format!("{}/users/{prefix}-{number:08}", system.ingest_url);
        let request = system.client.request(Method::PUT, url).json(&body(number));
        let request = match key {
            Some(key) => request.header("Idempotency-Key", format!("{key}-{number:08}")),
            None => request,
        };
        let answer = request.send().await?;
        ensure!(answer.status() == StatusCode::ACCEPTED, "{}: {}", answer.status(), answer.text().await?);
        Ok(())
    };
    stream::iter(0..records).map(one).buffer_unordered(AT_ONCE).try_collect().await
}

/// Bytes that Redis uses.
async fn memory(system: &System) -> Result<u64> {
    let info: String = system.redis(&["INFO", "memory"], &[]).await?;
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).context("INFO says no used_memory")?;
    Ok(used.trim().parse()?)
}

/// Bytes that the topic takes on one broker.
fn disk(system: &System, topic: &str) -> Result<u64> {
    let arguments = ["--describe", "--topic-list", topic];
    let said = system.servers.kafka.tool("org.apache.kafka.tools.LogDirsCommand", &arguments)?;
    let told = said.lines().find(|line| line.starts_with('{')).context("the tool tells no sizes")?;
    let told: Value = serde_json::from_str(told)?;
    let partitions =
        told.pointer("/brokers/0/logDirs/0/partitions").and_then(Value::as_array).context("no partitions")?;
    Ok(partitions.iter().filter_map(|partition| partition.get("size")?.as_u64()).sum())
}
