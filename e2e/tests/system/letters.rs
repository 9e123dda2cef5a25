//! Dead letters in company: each step once, none too large to be one, and none because of a clock (G8, R13).

use anyhow::{Context, Result};
use e2e::System;
use e2e::system::Servers;
use e2e::topic_reader::read_all;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use record::{Change, Event, Origin, RecordId, Version};
use serde_json::json;
use sqlx::{Connection, Executor, MySqlConnection, Row};
use topic::Outgoing;

use crate::dead::{POISON, alter, holds, letters, notes, prepared, put, rows, topic, until_behind};
use crate::order::publisher;

/// Of the system's Kafka.
pub(crate) fn admin(system: &System) -> Result<AdminClient<DefaultClientContext>> {
    let brokers = system.servers.kafka.brokers();
    Ok(rdkafka::ClientConfig::new().set("bootstrap.servers", brokers).create()?)
}

/// The topic of events takes messages of so many bytes.
pub(crate) async fn takes(system: &System, bytes: &str) -> Result<()> {
    let topic = topic(system);
    let config = AlterConfig::new(ResourceSpecifier::Topic(&topic))
        .set("cleanup.policy", "compact")
        .set("min.compaction.lag.ms", "604800000")
        .set("delete.retention.ms", "604800000")
        .set("message.timestamp.type", "LogAppendTime")
        .set("max.message.bytes", bytes);
    admin(system)?.alter_configs(&[config], &AdminOptions::new()).await?;
    Ok(())
}

/// Random, or compression would make it short.
fn noise(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|_| rand::random()).collect()
}

/// A foreign program writes what we never could, and what no letter of ours can hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g8_of_an_event_larger_than_ours_the_letter_holds_what_fits_and_says_so() -> Result<()> {
    let mut system = prepared(&[]).await?;
    takes(&system, "8000000").await?;
    let brokers = system.servers.kafka.brokers();
    let foreign: FutureProducer =
        rdkafka::ClientConfig::new().set("bootstrap.servers", &brokers).set("message.max.bytes", "8000000").create()?;
    let version = put(&system, "before", "good").await? + 16;
    let (large, topic) = (noise(3_000_000), topic(&system));
    let version = version.to_string();
    let headers = OwnedHeaders::new()
        .insert(Header { key: "version", value: Some(version.as_str()) })
        .insert(Header { key: "op", value: Some("upsert") });
    let patience = std::time::Duration::from_secs(10);
    let value = FutureRecord::to(&topic).partition(0).key("large").payload(&large).headers(headers.clone());
    foreign.send(value, patience).await.map_err(|(error, _)| error)?;
    let key = FutureRecord::<_, [u8]>::to(&topic).partition(0).key(&large).headers(headers);
    foreign.send(key, patience).await.map_err(|(error, _)| error)?;
    put(&system, "behind", "good").await?;
    system.start_persister().await?;
    until_behind(&system, 4).await?;
    assert_eq!(rows(&system).await?.len(), 2);
    let all = letters(&system)?;
    let left_out = |at: usize| all.get(at).and_then(|letter| letter.header("write_behind.errors.left_out"));
    assert_eq!((left_out(0), left_out(1)), (Some("value"), Some("value, key and headers")), "{}", all.len());
    for (letter, (offset, key, own)) in all.iter().zip([("1", "large", true), ("2", "", false)]) {
        assert_eq!((letter.key.as_str(), &letter.value), (key, &None));
        assert_eq!(letter.header("__connect.errors.offset"), Some(offset), "its coordinates");
        assert_eq!(letter.header("version").is_some(), own, "the headers of its event");
    }
    let details = sqlx::query("SELECT detail FROM _write_behind_dead_letters ORDER BY `offset`");
    let details: Vec<String> = details.fetch_all(&system.table().await?).await?.iter().map(|row| row.get(0)).collect();
    assert!(details.iter().all(|detail| detail.contains("the letter is without value")), "{details:?}");
    Ok(())
}

/// What was acknowledged is not sent again because something behind it fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g8_while_a_letter_cannot_be_noted_it_is_not_sent_again() -> Result<()> {
    let mut system = prepared(&[]).await?;
    for (id, name) in [("a", POISON), ("b", "good"), ("c", POISON)] {
        put(&system, id, name).await?;
    }
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON _write_behind_dead_letters FOR EACH ROW \
                  SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1205";
    alter(&system, refuse).await?;
    system.start_persister().await?;
    system.eventually("a letter waits to be noted", async || Ok(!letters(&system)?.is_empty())).await?;
    // Many tries: the first delays are short.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert!(holds(&system, "transient").await?);
    alter(&system, "DROP TRIGGER refuse").await?;
    until_behind(&system, 3).await?;
    assert_eq!((letters(&system)?.len(), notes(&system).await?.len()), (2, 2), "a letter was sent again and again");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r13_while_one_row_cannot_be_produced_again_no_other_is_produced_twice() -> Result<()> {
    let mut system = prepared(&[]).await?;
    alter(&system, "ALTER TABLE users MODIFY name VARCHAR(255)").await?;
    let publisher = publisher(&system)?;
    let long: String = (0..250).map(|_| rand::random_range('a'..='z')).collect();
    let mut versions = Vec::new();
    // What comes first may be a batch of its own; the others are one.
    put(&system, "first", "Ada").await?;
    for (id, occupation) in [("a", "short"), ("b", &long)] {
        let body = json!({ "name": "Ada", "age": 36, "occupation": occupation });
        versions.push(system.put("users", id, &body).await?["version"].as_u64().context("version")?);
    }
    for (id, version) in ["a", "b"].into_iter().zip(versions) {
        let id = RecordId::parse(id)?;
        let late = Event { id, version: Version::new(version - 16)?, origin: Origin::Write, change: Change::Tombstone };
        publisher.publish(Outgoing { topic: &topic(&system), event: &late, trace: None }).await?;
    }
    // The persister is at work, and stands before its first batch: only then the topic gets too narrow for the second row.
    let mut lock = Box::pin(MySqlConnection::connect(&system.accounts.root)).await?;
    lock.execute("START TRANSACTION").await?;
    lock.execute("SELECT * FROM _write_behind_entities FOR UPDATE").await?;
    system.start_persister().await?;
    takes(&system, "350").await?;
    lock.execute("ROLLBACK").await?;
    system.eventually("the second row is too large", async || holds(&system, "too-large").await).await?;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    takes(&system, "2000000").await?;
    until_behind(&system, 7).await?;
    let events = read_all(&system.servers.kafka.brokers(), &topic(&system))?;
    let again: Vec<_> = events.iter().skip(5).map(|event| event.key.as_str()).collect();
    assert_eq!(again, ["a", "b"], "what was acknowledged was produced again");
    Ok(())
}

/// The clock of the database is an hour ahead of ours, or ours an hour behind: nobody knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g8_an_event_from_the_future_by_one_clock_alone_is_held_and_no_dead_letter() -> Result<()> {
    let servers = Servers { database: crate::mysql_errors::own_database()?, ..Servers::shared() };
    let mut system = System::prepare(servers)?.with("TOPIC_PARTITIONS", "1").with("FUTURE_MOST_MS", "1000");
    system.migrate()?;
    system.start_ingest().await?;
    let now = put(&system, "before", "good").await?;
    let (id, ahead) = (RecordId::parse("ahead")?, Version::new(now + 12_000_000)?);
    let event = Event { id, version: ahead, origin: Origin::Write, change: Change::Tombstone };
    publisher(&system)?.publish(Outgoing { topic: &topic(&system), event: &event, trace: None }).await?;
    put(&system, "behind", "good").await?;
    // Of every connection that is made from now on.
    system.servers.database.query("SET GLOBAL init_connect = 'SET timestamp = UNIX_TIMESTAMP() + 3600'")?;
    system.start_persister().await?;
    system.eventually("the lane holds", async || holds(&system, "clocks-disagree").await).await?;
    until_behind(&system, 1).await?;
    let log = std::fs::read_to_string(system.persister.as_ref().context("persister")?.log())?;
    assert!(log.contains("the future by this machine's clock"), "nobody is told why: {log}");
    // In time ours says the same.
    until_behind(&system, 3).await?;
    assert_eq!((notes(&system).await?.len(), letters(&system)?.len()), (0, 0), "a good event is a dead letter");
    let row = sqlx::query("SELECT COUNT(*) FROM users").fetch_one(&system.table().await?).await?;
    assert_eq!(row.get::<i64, _>(0), 3);
    assert!(!holds(&system, "clocks-disagree").await?);
    Ok(())
}
