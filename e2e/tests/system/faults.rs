//! One process or server dies or stands still under load; afterwards nothing that was acknowledged is missing, and nobody
//! had to lend a hand.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::journal::{Journal, Load};
use e2e::system::metric;
use e2e::topic_reader::{committed, read_all};
use e2e::{Servers, System};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Row;

const SEED: u64 = 7;

/// Timings in the order that the protocol demands, short enough to wait for.
pub(crate) fn prepared(servers: Servers) -> Result<System> {
    Ok(System::prepare(servers)?
        .with("ANSWER_DEADLINE_MS", "1000")
        .with("PRODUCE_DEADLINE_MS", "1500")
        .with("RELAY_AFTER_MS", "2000")
        .with("SESSION_TIMEOUT_MS", "6000"))
}

async fn system(servers: Servers) -> Result<System> {
    prepared(servers)?.up().await
}

/// Heal, drain, check: every acknowledged write is in the table, and the cache waits for nothing any more.
pub(crate) async fn settled(system: &System, journal: &Journal) -> Result<()> {
    let table = system.table().await?;
    system
        .eventually("every acknowledged write is in the table", async || Ok(journal.missing(&table).await? == 0))
        .await
        .with_context(|| format!("seed {SEED}, acknowledged and refused: {:?}", journal.counts()))?;
    system
        .eventually("outbox and unsettled are empty", async || {
            let text = system.metrics(&system.ingest_admin_url).await?;
            let waiting = ["write_behind_outbox_entries", "write_behind_unsettled_entries"];
            Ok(waiting.iter().all(|name| metric(&text, name) == Some(0.0)))
        })
        .await?;
    journal.check(&table).await
}

pub(crate) async fn while_acknowledging(load: &Load, more: u64) -> Result<()> {
    let (begun, until) = (load.acknowledged(), Instant::now() + Duration::from_secs(20));
    while load.acknowledged() < begun + more {
        anyhow::ensure!(Instant::now() < until, "only {} writes acknowledged", load.acknowledged() - begun);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_killed_ingests_left_behind_is_brought_to_the_table_by_the_relay() -> Result<()> {
    let mut system = system(Servers::shared()).await?;
    let load = Load::start(&system.ingest_url, 8, 50, SEED);
    for _ in 0..3 {
        while_acknowledging(&load, 300).await?;
        system.ingest.take().context("ingest")?.kill()?;
        system.start_ingest().await?;
    }
    while_acknowledging(&load, 100).await?;
    let journal = load.finish().await?;
    settled(&system, &journal).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_persisters_lose_nothing() -> Result<()> {
    let mut system = system(Servers::shared()).await?;
    let load = Load::start(&system.ingest_url, 8, 50, SEED);
    for _ in 0..2 {
        while_acknowledging(&load, 300).await?;
        system.persister.take().context("persister")?.kill()?;
        system.start_persister().await?;
    }
    while_acknowledging(&load, 100).await?;
    let journal = load.finish().await?;
    settled(&system, &journal).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_persister_told_to_stop_under_load_drains_commits_and_exits_with_0() -> Result<()> {
    let mut system = system(Servers::shared()).await?;
    let load = Load::start(&system.ingest_url, 8, 1000, SEED);
    while_acknowledging(&load, 500).await?;
    let persister = system.persister.take().context("persister")?;
    let status = persister.stop(Duration::from_secs(20))?;
    assert!(status.is_some_and(|status| status.success()), "{status:?}\n{}", persister.log_tail(20));
    let text = persister.log_tail(200);
    assert!(!text.contains("did not drain"), "a lane did not drain\n{text}");
    // Whoever comes next has nothing to apply twice: what stands in the table is committed.
    let topic = format!("{}users", system.topic_prefix);
    let brokers = system.servers.kafka.brokers();
    let committed = committed(&brokers, &system.group, &topic)?;
    let partitions: HashMap<_, _> =
        read_all(&brokers, &topic)?.into_iter().map(|event| (event.key, event.partition)).collect();
    let rows = sqlx::query("SELECT id, log_offset FROM users").fetch_all(&system.table().await?).await?;
    assert!(!rows.is_empty());
    for row in rows {
        let (id, offset): (String, i64) = (row.get(0), row.get(1));
        let next = committed[&partitions[&id]];
        assert!(offset < next, "record {id}: the event at {offset} is applied, committed is only {next}");
    }
    system.start_persister().await?;
    let journal = load.finish().await?;
    settled(&system, &journal).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn persisters_that_come_and_go_share_the_partitions_and_lose_nothing() -> Result<()> {
    let system = system(Servers::shared()).await?;
    let load = Load::start(&system.ingest_url, 8, 200, SEED);
    while_acknowledging(&load, 200).await?;
    let url = format!("http://127.0.0.1:{}", stack::port::free()?);
    let second = stack::Process::spawn(&system.persister_spec(&url), stack::Lifetime::Attached)?;
    system.ready(&second, &url).await?;
    system
        .eventually("the second persister applies events, too", async || {
            let text = system.metrics(&url).await?;
            Ok(metric(&text, "write_behind_fates_total{entity=\"users\",fate=\"applied\"}") > Some(0.0))
        })
        .await?;
    while_acknowledging(&load, 200).await?;
    let status = second.stop(Duration::from_secs(20))?;
    assert!(status.is_some_and(|status| status.success()), "{status:?}\n{}", second.log_tail(20));
    while_acknowledging(&load, 200).await?;
    let journal = load.finish().await?;
    settled(&system, &journal).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kafka_that_stands_still_is_answered_cached_and_gets_everything_afterwards() -> Result<()> {
    let system = system(Servers::own()?).await?;
    let body = json!({ "name": "Jane", "age": 1 });
    assert_eq!(system.put("users", "1", &body).await?["state"], "logged");
    let load = Load::start(&system.ingest_url, 8, 100, SEED);
    while_acknowledging(&load, 200).await?;
    system.servers.kafka.pause()?;
    let answer = system.put("users", "2", &body).await?;
    assert_eq!(answer["state"], "cached", "Kafka has acknowledged nothing: {answer}");
    let shown = system.call(Method::GET, "/users/2", None).await?;
    assert_eq!(shown.headers()["write-behind-state"], "cached");
    system
        .eventually("ingest is degraded and ready", async || {
            let answer = system.client.get(format!("{}/readyz?verbose", system.ingest_admin_url)).send().await?;
            let (status, body) = (answer.status(), answer.json::<Value>().await?);
            Ok(status == 200 && body["status"] == "degraded" && body["dependencies"]["kafka"] == "away")
        })
        .await?;
    let begun = Instant::now();
    assert_eq!(system.put("users", "3", &body).await?["state"], "cached");
    assert!(begun.elapsed() < Duration::from_millis(800), "with Kafka known to be away the answer waits for nothing");
    while_acknowledging(&load, 500).await?;
    system.servers.kafka.resume()?;
    while_acknowledging(&load, 100).await?;
    let journal = load.finish().await?;
    settled(&system, &journal).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_database_stops_no_write_and_gets_everything_afterwards() -> Result<()> {
    let mut system = system(Servers::own()?).await?;
    let load = Load::start(&system.ingest_url, 8, 100, SEED);
    while_acknowledging(&load, 200).await?;
    system.servers.database.kill()?;
    while_acknowledging(&load, 1000).await?;
    // A process that starts meanwhile takes writes as well.
    system.ingest.take().context("ingest")?.kill()?;
    let ingest = stack::Process::spawn(&system.ingest_spec(), stack::Lifetime::Attached)?;
    while_acknowledging(&load, 200).await?;
    system.ingest = Some(ingest);
    system
        .eventually("ingest says how old the oldest unpersisted write is, although no persister can tell", async || {
            let text = system.metrics(&system.ingest_admin_url).await?;
            let ages = text.lines().filter(|line| line.starts_with("write_behind_oldest_unpersisted_seconds"));
            Ok(ages.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).any(|age| age > 0.5))
        })
        .await?;
    system.servers.database.restart()?;
    let journal = load.finish().await?;
    settled(&system, &journal).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_redis_stops_no_plain_write_and_loses_nothing_that_was_logged() -> Result<()> {
    let system = system(Servers::own()?).await?;
    let load = Load::start(&system.ingest_url, 8, 100, SEED);
    while_acknowledging(&load, 300).await?;
    system.servers.redis.kill()?;
    while_acknowledging(&load, 300).await?;
    system.servers.redis.restart()?;
    while_acknowledging(&load, 300).await?;
    let journal = load.finish().await?;
    settled(&system, &journal).await
}
