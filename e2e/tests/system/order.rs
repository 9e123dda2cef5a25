//! The newest version wins, whatever order events come in, and the topic heals: cache, table and a replay agree.

use std::collections::HashMap;

use anyhow::{Context, Result};
use clap::Parser;
use e2e::system::metric;
use e2e::topic_reader::read_all;
use e2e::{Load, Servers, System};
use record::{Change, Event, Origin, RecordId, Version};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Row;
use topic::{KafkaSettings, Outgoing, Publisher};

use crate::dead::{alter, until_behind};

/// Flattened settings as a command line of their own.
#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    kafka: KafkaSettings,
}

pub(crate) fn publisher(system: &System) -> Result<Publisher> {
    let brokers = system.servers.kafka.brokers();
    Ok(Publisher::new(&Cli::parse_from(["test", "--kafka-brokers", brokers.as_str()]).kafka)?)
}

#[tokio::test]
async fn an_older_event_behind_a_newer_one_changes_nothing_and_is_re_asserted() -> Result<()> {
    let system = System::start().await?;
    let body = json!({ "name": "New", "age": 2 });
    let written = system.put("users", "1", &body).await?["version"].as_u64().context("version")?;
    let topic = format!("{}users", system.topic_prefix);
    let newest = read_all(&system.servers.kafka.brokers(), &topic)?.pop().context("the event")?;

    // As if a handler had taken its version first and reached the topic last; here it deleted.
    let id = RecordId::parse("1")?;
    let late = Event { id, version: Version::new(written - 16)?, origin: Origin::Write, change: Change::Tombstone };
    publisher(&system)?.publish(Outgoing { topic: &topic, event: &late, trace: None }).await?;

    system
        .eventually("the row was re-asserted", async || {
            let text = system.metrics(&system.persister_admin_url).await?;
            Ok(metric(&text, "write_behind_reasserted_total{entity=\"users\"}") == Some(1.0))
        })
        .await?;
    let events = read_all(&system.servers.kafka.brokers(), &topic)?;
    let last = events.last().context("events")?;
    assert_eq!(last.header("origin"), Some("reassert"));
    assert_eq!(last.header("version"), Some(written.to_string().as_str()));
    assert_eq!(last.value, newest.value, "the re-asserted event is the row as it was written");
    assert_eq!(events.len(), 3, "a re-asserted event must not echo: {events:?}");
    let row = sqlx::query("SELECT version, deleted, name FROM users").fetch_one(&system.table().await?).await?;
    assert_eq!((row.get::<u64, _>(0), row.get::<bool, _>(1), row.get::<String, _>(2)), (written, false, "New".into()));
    Ok(())
}

/// `k25`: the cache has an older record than the table, as after a failover, and that record's event comes again. A settle by the
/// event's version would call it current, and an If-Match on it would pass.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_k25_what_is_settled_is_what_the_table_holds_and_not_what_the_event_carried() -> Result<()> {
    let mut system = System::prepare(Servers::shared())?.with("TOPIC_PARTITIONS", "1");
    system.migrate()?;
    system.start_ingest().await?;
    let old =
        system.put("users", "1", &json!({ "name": "Old", "age": 1 })).await?["version"].as_u64().context("version")?;
    let newer = format!(
        "INSERT INTO users (id, name, age, version, log_offset) VALUES ('1', 'New', 2, {}, 9), ('last', 'Last', 1, 16, 9)",
        old + 16
    );
    alter(&system, &newer).await?;
    system.start_persister().await?;
    until_behind(&system, 1).await?;
    let unsettled = async || {
        let text = system.metrics(&system.ingest_admin_url).await?;
        Ok(metric(&text, "write_behind_unsettled_entries") == Some(0.0))
    };
    system.eventually("it is settled", unsettled).await?;
    let shown = system.call(Method::GET, "/users/1", None).await?;
    let version = shown.headers().get("etag").context("a version")?.to_str()?.trim_matches('"').parse::<u64>()?;
    let body: Value = shown.json().await?;
    assert_eq!((version, &body["name"]), (old + 16, &json!("New")), "an older record counts as current");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_many_concurrent_writes_cache_table_and_compacted_topic_agree() -> Result<()> {
    let system = System::start().await?;
    let load = Load::start(&system.ingest_url, 16, 5, 11);
    while load.acknowledged() < 2000 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let journal = load.finish().await?;
    let table = system.table().await?;
    system.eventually("all is in the table", async || Ok(journal.missing(&table).await? == 0)).await?;
    system
        .eventually("nothing is behind", async || {
            let text = system.metrics(&system.persister_admin_url).await?;
            let behind = text.lines().filter(|line| line.starts_with("write_behind_lag_events{"));
            Ok(behind.filter_map(|line| line.rsplit_once(' ')).all(|(_, events)| events == "0"))
        })
        .await?;
    journal.check(&table).await?;

    let events = read_all(&system.servers.kafka.brokers(), &format!("{}users", system.topic_prefix))?;
    let mut tails: HashMap<&str, &e2e::topic_reader::Read> = HashMap::new();
    for event in &events {
        tails.insert(&event.key, event);
    }
    let rows = sqlx::query("SELECT id, version, deleted, name FROM users").fetch_all(&table).await?;
    assert_eq!(rows.len(), tails.len());
    for row in rows {
        let (id, version, deleted): (String, u64, bool) = (row.get(0), row.get(1), row.get(2));
        let tail = tails.get(id.as_str()).context("a tail")?;
        assert_eq!(
            tail.header("version"),
            Some(version.to_string().as_str()),
            "compaction would keep another version of {id}"
        );
        assert_eq!(tail.value.is_none(), deleted, "record {id}");
        let shown = system.call(Method::GET, &format!("/users/{id}"), None).await?;
        if deleted {
            assert_eq!(shown.status(), 404, "record {id}");
        } else {
            assert_eq!(shown.headers()["etag"].to_str()?, format!("\"{version}\""), "record {id}");
            assert_eq!(shown.json::<Value>().await?["name"], row.get::<String, _>(3), "record {id}");
        }
    }
    Ok(())
}
