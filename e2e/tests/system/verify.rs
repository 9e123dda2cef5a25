//! `persister verify` names exactly the ids whose sources differ, whatever differs in them, and no id of a system that is well
//! (G6).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::topic_reader::read_all;
use e2e::{Load, System};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use record::{Change, Event, Origin, RecordId, Version};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor, MySqlPool};

use crate::commands::{Said, command, run, verify};
use crate::order::publisher;

/// The one Redis key of a kind for a user.
pub(crate) async fn key(redis: &mut redis::aio::MultiplexedConnection, id: &str) -> Result<String> {
    let found: Vec<String> = redis::cmd("KEYS").arg(format!("wb:{{*}}:record:users:{id}")).query_async(redis).await?;
    found.into_iter().next().with_context(|| format!("user {id} is not cached"))
}

pub(crate) async fn redis(system: &System) -> Result<redis::aio::MultiplexedConnection> {
    Ok(redis::Client::open(system.redis_url.as_str())?.get_multiplexed_async_connection().await?)
}

pub(crate) async fn root(system: &System) -> Result<MySqlPool> {
    Ok(Box::pin(MySqlPool::connect(&system.accounts.root)).await?)
}

pub(crate) async fn sql(pool: &MySqlPool, sql: &str) -> Result<()> {
    let done = pool.execute(AssertSqlSafe(sql.to_owned())).await.with_context(|| sql.to_owned())?;
    ensure!(done.rows_affected() > 0, "{sql} changes nothing");
    Ok(())
}

/// Waits until the table has everything and the cache waits for nothing.
pub(crate) async fn drained(system: &System) -> Result<()> {
    system
        .eventually("outbox and unsettled are empty", async || {
            let text = system.metrics(&system.ingest_admin_url).await?;
            let waiting = ["write_behind_outbox_entries", "write_behind_unsettled_entries"];
            let empty = waiting.iter().all(|name| e2e::system::metric(&text, name) == Some(0.0));
            let cached: Vec<String> =
                redis::cmd("KEYS").arg("wb:*:record:*").query_async(&mut redis(system).await?).await?;
            let mut persisted = empty;
            for key in cached {
                let state: Option<String> =
                    redis::cmd("HGET").arg(key).arg("state").query_async(&mut redis(system).await?).await?;
                persisted &= state.is_none_or(|state| state == "persisted");
            }
            Ok(persisted)
        })
        .await
}

/// Each id that was named and how it differs.
fn named(said: &Said) -> Result<BTreeMap<String, Vec<String>>> {
    let object = said.object()?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let differing = object["differing"].as_array().context("a list")?;
    let named = differing
        .iter()
        .map(|one| (text(&one["id"]), one["differences"].as_array().into_iter().flatten().map(text).collect()));
    Ok(named.collect())
}

/// A system with users 1 to `users`, all persisted.
async fn with_users(users: u32) -> Result<System> {
    let system = System::start().await?;
    for id in 1..=users {
        system.put("users", &id.to_string(), &json!({ "name": format!("User {id}"), "age": id })).await?;
    }
    Ok(system)
}

/// Lets the group's offsets be these, as if what is before them had been applied. Nobody may be a member.
fn passed(system: &System, topic: &str, offsets: &BTreeMap<i32, i64>) -> Result<()> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", system.servers.kafka.brokers())
        .set("group.id", &system.group)
        .set("enable.auto.commit", "false")
        .create()?;
    let mut past = TopicPartitionList::new();
    for (number, offset) in offsets {
        past.add_partition_offset(topic, *number, Offset::Offset(*offset))?;
    }
    Ok(consumer.commit(&past, CommitMode::Sync)?)
}

/// Where each partition ends.
fn ends(system: &System, topic: &str) -> Result<BTreeMap<i32, i64>> {
    let mut ends = BTreeMap::new();
    for event in read_all(&system.servers.kafka.brokers(), topic)? {
        ends.insert(event.partition, event.offset + 1);
    }
    Ok(ends)
}

/// Compaction keeps the last event of a key: where that is an older one, topic and table agree only until then.
#[tokio::test]
async fn r13_an_inversion_that_nobody_has_healed_is_named_and_one_that_was_is_none() -> Result<()> {
    let mut system = with_users(3).await?;
    drained(&system).await?;
    system.persister.take().context("persister")?.stop(Duration::from_secs(20))?;
    let topic = format!("{}users", system.topic_prefix);
    let before = ends(&system, &topic)?;
    let held: u64 =
        sqlx::query_scalar("SELECT version FROM users WHERE id = '2'").fetch_one(&root(&system).await?).await?;
    let change = Change::Tombstone;
    let older = Event { id: RecordId::parse("2")?, version: Version::new(held - 16)?, origin: Origin::Write, change };
    publisher(&system)?.publish(topic::Outgoing { topic: &topic, event: &older, trace: None }).await?;
    passed(&system, &topic, &ends(&system, &topic)?)?;
    let said = verify(&system, &[]).await?;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(named(&said)?, BTreeMap::from([("2".to_owned(), vec!["tail-behind".to_owned()])]), "{said:?}");
    passed(&system, &topic, &before)?;
    system.start_persister().await?;
    let well = verify(&system, &[]).await?;
    assert_eq!(well.code, Some(0), "what was asserted again is no difference: {well:?}");
    Ok(())
}

#[tokio::test]
async fn r14_a_dead_letter_of_which_the_cache_was_not_told_is_called_that() -> Result<()> {
    let mut system = with_users(2).await?;
    drained(&system).await?;
    system.persister.take().context("persister")?.stop(Duration::from_secs(20))?;
    let dead = system.put("users", "2", &json!({ "name": "Refused", "age": 2 })).await?;
    let dead = dead["version"].as_u64().context("a version")?;
    system.ingest.take().context("ingest")?.stop(Duration::from_secs(20))?;
    let topic = format!("{}users", system.topic_prefix);
    let events = read_all(&system.servers.kafka.brokers(), &topic)?;
    let event = events.iter().find(|event| event.header("version") == Some(&dead.to_string())).context("its event")?;
    let note = "INSERT INTO _write_behind_dead_letters VALUES (?, ?, ?, 'users', '2', ?, 'refused', '', NOW(6))";
    let note = sqlx::query(note).bind(&topic).bind(event.partition).bind(event.offset).bind(dead);
    note.execute(&root(&system).await?).await?;
    passed(&system, &topic, &ends(&system, &topic)?)?;
    let said = verify(&system, &[]).await?;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(named(&said)?, BTreeMap::from([("2".to_owned(), vec!["dead-unsettled".to_owned()])]), "{said:?}");
    Ok(())
}

#[tokio::test]
async fn g6_every_planted_difference_is_named_and_nothing_else() -> Result<()> {
    let mut system = with_users(30).await?;
    for id in ["4", "5"] {
        ensure!(system.call(Method::DELETE, &format!("/users/{id}"), None).await?.status().is_success());
    }
    drained(&system).await?;
    let well = verify(&system, &[]).await?;
    assert_eq!(well.code, Some(0), "a system that is well: {well:?}");
    assert_eq!(well.object()?["ids"], 30);
    // Nobody is to mend what is planted.
    system.ingest.take().context("ingest")?.kill()?;
    let (table, mut cache) = (root(&system).await?, redis(&system).await?);
    sql(&table, "UPDATE users SET name = 'Somebody' WHERE id = '1'").await?;
    sql(&table, "DELETE FROM users WHERE id = '2'").await?;
    sql(&table, "UPDATE users SET version = version - 16 WHERE id = '3'").await?;
    sql(&table, "DELETE FROM users WHERE id = '4'").await?;
    sql(&table, "UPDATE users SET deleted = FALSE, name = 'Back', age = 1 WHERE id = '5'").await?;
    sql(
        &table,
        "INSERT INTO users (id, name, age, version, log_offset) VALUES ('extra', 'Extra', 1, 1700000000000000, 9)",
    )
    .await?;
    for (id, field, value) in [("7", "payload", r#"{"name":"Other","age":7}"#), ("8", "payload", "no json")] {
        let () =
            redis::cmd("HSET").arg(key(&mut cache, id).await?).arg(field).arg(value).query_async(&mut cache).await?;
    }
    for (id, by) in [("9", 16_i64), ("10", -16)] {
        let key = key(&mut cache, id).await?;
        let () = redis::cmd("HINCRBY").arg(key).arg("version").arg(by).query_async(&mut cache).await?;
    }
    let moved = key(&mut cache, "11").await?;
    let () = redis::cmd("HSET").arg(&moved).arg("state").arg("logged").query_async(&mut cache).await?;
    let outbox = moved.replace("record:users:11", "outbox");
    let () = redis::cmd("ZADD")
        .arg(&outbox)
        .arg(1_700_000_000_000_000_u64)
        .arg("users:ghost")
        .query_async(&mut cache)
        .await?;

    let said = verify(&system, &[]).await?;
    assert_eq!(said.code, Some(1), "{said:?}");
    let wanted = [
        ("1", vec!["row-content", "cache-content"]),
        ("10", vec!["cache-behind"]),
        ("11", vec!["unindexed"]),
        ("2", vec!["row-missing", "cache-without-row"]),
        ("3", vec!["row-behind"]),
        ("4", vec!["row-missing", "cache-without-row"]),
        ("5", vec!["row-content", "cache-content"]),
        ("7", vec!["cache-content"]),
        ("8", vec!["cache-content"]),
        ("9", vec!["cache-ahead"]),
        ("extra", vec!["event-missing"]),
        ("ghost", vec!["orphan"]),
    ];
    let wanted: BTreeMap<_, Vec<_>> =
        wanted.into_iter().map(|(id, how)| (id.to_owned(), how.into_iter().map(str::to_owned).collect())).collect();
    assert_eq!(named(&said)?, wanted);

    // The bounds: two ids in memory and one named find the same number.
    let bounded = verify(&system, &["--ids-in-memory-most=12", "--ids-most=1"]).await?;
    assert_eq!(bounded.code, Some(1), "{bounded:?}");
    let object = bounded.object()?;
    assert_eq!((&object["different"], object["differing"].as_array().map(Vec::len)), (&json!(12), Some(1)));
    let scarce = verify(&system, &["--ids-in-memory-most=2"]).await?.object()?;
    assert_eq!((&scarce["different"], &scarce["not_looked_at_again"]), (&json!(2), &json!(10)), "two suspects fit");

    // For a human: the sentence and what each source has.
    let words = ["verify", "--again-after-ms=100", "--ids-most=20"];
    let text = run(command(&system, &system.accounts.reader, &words)).await?.out;
    assert!(text.starts_with("users: 12 ids differ"), "{text}");
    assert!(text.contains("users 2: the topic has it, the table has no row; the cache calls it persisted"), "{text}");
    assert!(text.contains("    table nothing\n"), "{text}");
    Ok(())
}

#[tokio::test]
async fn g6_events_that_the_topic_has_lost_are_named() -> Result<()> {
    let system = with_users(12).await?;
    drained(&system).await?;
    let topic = format!("{}users", system.topic_prefix);
    let brokers = system.servers.kafka.brokers();
    let events = read_all(&brokers, &topic)?;
    // Everything in the partition of user 1 but its last event.
    let partition = events.iter().find(|event| event.key == "1").context("user 1")?.partition;
    let own: Vec<_> = events.iter().filter(|event| event.partition == partition).collect();
    let last = own.last().context("events")?.offset;
    let mut cut = TopicPartitionList::new();
    cut.add_partition_offset(&topic, partition, Offset::Offset(last))?;
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", &brokers).create()?;
    // No broker cuts a topic that is only compacted.
    let both = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("cleanup.policy", "compact,delete");
    admin.alter_configs(&[both], &AdminOptions::new()).await?;
    system
        .eventually("the topic is cut", async || {
            let done = admin.delete_records(&cut, &AdminOptions::new()).await?;
            Ok(done.elements().iter().all(|element| element.error().is_ok()))
        })
        .await?;
    let lost: Vec<String> = own.iter().filter(|event| event.offset < last).map(|event| event.key.clone()).collect();
    assert!(!lost.is_empty(), "one user in the partition only: {own:?}");
    let said = verify(&system, &[]).await?;
    assert_eq!(said.code, Some(1), "{said:?}");
    let wanted: BTreeMap<String, Vec<String>> =
        lost.into_iter().map(|id| (id, vec!["event-missing".to_owned()])).collect();
    assert_eq!(named(&said)?, wanted);
    Ok(())
}

#[tokio::test]
async fn an_older_event_behind_the_newest_and_duplicates_are_no_difference() -> Result<()> {
    let system = with_users(3).await?;
    let written =
        system.put("users", "1", &json!({ "name": "New", "age": 2 })).await?["version"].as_u64().context("version")?;
    let topic = format!("{}users", system.topic_prefix);
    let late = Version::new(written - 16)?;
    let late = Event { id: RecordId::parse("1")?, version: late, origin: Origin::Write, change: Change::Tombstone };
    let publisher = publisher(&system)?;
    for _ in 0..2 {
        publisher.publish(topic::Outgoing { topic: &topic, event: &late, trace: None }).await?;
    }
    drained(&system).await?;
    // Also for compaction: the newest stands last again.
    let events = e2e::topic_reader::read_all(&system.servers.kafka.brokers(), &topic)?;
    let last = events.iter().rfind(|event| event.key == "1").context("an event")?;
    assert_eq!((last.header("version"), last.header("origin")), (Some(&*written.to_string()), Some("reassert")));
    let said = verify(&system, &[]).await?;
    assert_eq!(said.code, Some(0), "{said:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g6_twenty_seconds_of_load_raise_no_alarm_and_a_difference_among_it_is_found() -> Result<()> {
    let system = System::start().await?;
    let load = Load::start(&system.ingest_url, 8, 10, 11);
    crate::faults::while_acknowledging(&load, 500).await?;
    let (until, mut runs, mut suspects) = (Instant::now() + Duration::from_secs(20), 0, 0);
    while Instant::now() < until {
        let said = verify(&system, &[]).await?;
        ensure!(said.code == Some(0), "run {runs}: {said:?}");
        runs += 1;
        suspects += said.object()?["looked_at_again"].as_u64().context("a number")?;
    }
    assert!(runs >= 3, "only {runs} comparisons");
    assert!(suspects > 0, "the load put nothing in doubt, so that the second look was never needed");
    // Among it all one row that is wrong.
    system.put("users", "wrong", &json!({ "name": "Right", "age": 1 })).await?;
    system
        .eventually("the row is there", async || {
            let sql = "UPDATE users SET name = 'Wrong' WHERE id = 'wrong'";
            Ok(root(&system).await?.execute(sql).await?.rows_affected() > 0)
        })
        .await?;
    let said = verify(&system, &[]).await?;
    assert_eq!(named(&said)?.keys().collect::<Vec<_>>(), ["wrong"], "{said:?}");
    load.finish().await?;
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_compared_is_said_and_is_no_difference() -> Result<()> {
    let mut system = with_users(3).await?;
    drained(&system).await?;
    let settings = |system: &System, name: &str, value: &str| {
        let mut command = command(system, &system.accounts.reader, &["verify", "--drain-most-s=1"]);
        command.env(name, value);
        command
    };
    for (name, value, said) in [
        ("REDIS_URL", "redis://127.0.0.1:1", "the cache cannot be read"),
        ("DATABASE_URL", "mysql://nobody@127.0.0.1:1/x", "the table cannot be read"),
        ("TOPIC_PREFIX", "nobodys.", "does not exist"),
        ("CONSUMER_GROUP", "nobody", "events behind the fixed point"),
        ("LOOKS_MOST", "1", "--looks-most"),
    ] {
        let ended = run(settings(&system, name, value)).await?;
        assert_eq!(ended.code, Some(2), "{name}={value}: {ended:?}");
        assert!(ended.log.contains(said), "{name}={value} does not say {said:?}: {ended:?}");
        assert_eq!(ended.out, "", "{name}={value}");
    }
    // What is not drained.
    system.persister.take().context("persister")?.kill()?;
    system.put("users", "4", &json!({ "name": "Late", "age": 4 })).await?;
    let ended = run(settings(&system, "LOOKS_MOST", "2")).await?;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.log.contains("1 events behind the fixed point"), "{ended:?}");
    Ok(())
}
