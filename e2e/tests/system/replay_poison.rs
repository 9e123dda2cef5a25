//! What a replay cannot apply: it is named, counted once, remembered over an interruption, and stops nothing (R19, G8).

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::topic_reader::read_all;
use e2e::{Load, Servers, System};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::json;

use crate::commands::{command, replay, verify};
use crate::dead::{alter, put};
use crate::faults::while_acknowledging;
use crate::replay::{rows, written};
use crate::verify::{drained, root};

/// A message that is whatever a stranger makes it.
async fn strange(system: &System, key: &str, version: Option<&str>, value: &[u8]) -> Result<(i32, i64)> {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", system.servers.kafka.brokers())
        .set("partitioner", "murmur2_random")
        .create()?;
    let headers = OwnedHeaders::new().insert_if(version);
    let topic = format!("{}users", system.topic_prefix);
    let record = FutureRecord::to(&topic).key(key).payload(value).headers(headers);
    let sent = producer.send(record, Duration::from_secs(10)).await.map_err(|(error, _)| error)?;
    Ok((sent.partition, sent.offset))
}

trait InsertIf {
    fn insert_if(self, version: Option<&str>) -> Self;
}

impl InsertIf for OwnedHeaders {
    fn insert_if(self, version: Option<&str>) -> Self {
        match version {
            Some(version) => self.insert(Header { key: "version", value: Some(version) }),
            None => self,
        }
    }
}

/// What could not be applied before an interruption is not forgotten by the one that goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r19_poison_from_before_a_kill_is_told_by_the_replay_that_goes_on() -> Result<()> {
    let mut system = System::prepare(Servers::shared())?.with("TOPIC_PARTITIONS", "1");
    system.migrate()?;
    system.start_ingest().await?;
    strange(&system, "1", Some("32"), b"no frame").await?;
    let load = Load::start(&system.ingest_url, 8, 60, 3);
    while_acknowledging(&load, 600).await?;
    load.finish().await?;
    let mut slow = command(&system, &system.accounts.persister, &["replay", "--all", "--rate-most=100"]);
    let mut slow = slow.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let table = root(&system).await?;
    let noted = async || -> Result<Option<u64>> {
        let sql = "SELECT CAST(MAX(poison) AS UNSIGNED) FROM _write_behind_replays";
        Ok(sqlx::query_scalar(sql).fetch_one(&table).await?)
    };
    system.eventually("the poison is noted", async || Ok(noted().await? == Some(1))).await?;
    slow.kill()?;
    slow.wait()?;
    let said = replay(&system, &["--resume"]).await?;
    assert_eq!((said.code, &said.object()?["poison"]), (Some(1), &json!(1)), "{said:?}");
    assert_eq!(noted().await?, None, "it is noted although it has ended");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g8_what_cannot_be_applied_is_named_and_stops_nothing() -> Result<()> {
    let mut system = written().await?;
    let mut expected = rows(&system).await?;
    let table = root(&system).await?;
    system.persister.take().context("persister")?.stop(Duration::from_secs(20))?;
    // A row that the table refuses, between two that it takes.
    for (id, name) in [("first", "A"), ("long", "far too long a name"), ("third", "B")] {
        system.put("users", id, &json!({ "name": name, "age": 1 })).await?;
    }
    let mut places = vec![
        strange(&system, "1", None, b"x").await?,
        strange(&system, "1", Some("32"), b"no frame").await?,
        strange(&system, "1", Some("9007199254740976"), &[0, 0, 0, 0, 2, 2, 65]).await?,
        strange(&system, "1", Some("9007199000000000"), &[0, 0, 0, 0, 2, 2]).await?,
    ];
    sqlx::query("ALTER TABLE users ADD CONSTRAINT short CHECK (name <> 'far too long a name')").execute(&table).await?;
    let topic = format!("{}users", system.topic_prefix);
    let events = read_all(&system.servers.kafka.brokers(), &topic)?;
    let long = events.iter().find(|event| event.key == "long").context("the refused one")?;
    places.push((long.partition, long.offset));
    sqlx::query("TRUNCATE TABLE users").execute(&table).await?;
    let said = replay(&system, &["--all"]).await?;
    assert_eq!(said.code, Some(1), "{said:?}");
    let object = said.object()?;
    assert_eq!(object["poison"], 5, "{object}");
    let mut named: Vec<String> = object["named"]
        .as_array()
        .context("names")?
        .iter()
        .filter_map(|name| Some(name.as_str()?.split_once(": ")?.0.to_owned()))
        .collect();
    let mut wanted: Vec<String> = places.iter().map(|(partition, offset)| format!("{partition}/{offset}")).collect();
    named.sort();
    wanted.sort();
    assert_eq!(named, wanted, "{object}");
    let all = rows(&system).await?;
    let added = |row: &&String| row.starts_with("first|") || row.starts_with("third|");
    assert_eq!(all.iter().filter(added).count(), 2, "what stands beside it is not there: {all:?}");
    expected.extend(all.iter().filter(added).cloned());
    expected.sort();
    let mut all = all;
    all.sort();
    assert_eq!(all, expected);
    Ok(())
}

/// Two rows have lost their value of a unique key to another's; in the middle of the second the database has no time, and the
/// batch is tried again, so that the first is met again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r19_poison_that_is_met_again_in_a_batch_is_counted_and_named_once() -> Result<()> {
    let mut system = System::prepare(Servers::shared())?.with("TOPIC_PARTITIONS", "1");
    system.migrate()?;
    system.start_ingest().await?;
    for id in ["a", "b"] {
        put(&system, id, "taken").await?;
    }
    let busy = "CREATE TRIGGER busy BEFORE INSERT ON users FOR EACH ROW BEGIN INSERT INTO tries VALUES (NEW.id); \
                IF NEW.id = 'b' AND (SELECT COUNT(*) FROM tries WHERE id = 'b') = 2 THEN \
                SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1205; END IF; END";
    for sql in [
        "ALTER TABLE users ADD UNIQUE KEY names (name)",
        "INSERT INTO users (id, name, version, log_offset) VALUES ('other', 'taken', 16, 0)",
        // What stands in it outlives a transaction that is rolled back.
        "CREATE TABLE tries (id VARCHAR(128)) ENGINE = MyISAM",
        busy,
    ] {
        alter(&system, sql).await?;
    }
    let said = replay(&system, &["--all"]).await?;
    let object = said.object()?;
    let tries: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM tries WHERE id = 'a'").fetch_one(&root(&system).await?).await?;
    assert!(tries > 5, "the batch was not tried again, and this shows nothing: {tries}, {said:?}");
    assert_eq!((said.code, &object["poison"]), (Some(1), &json!(2)), "counted twice: {object}");
    assert_eq!(object["named"].as_array().map(Vec::len), Some(2), "named twice: {object}");
    Ok(())
}

/// As `persister migrate` makes it.
const LETTERS: &str = "CREATE TABLE IF NOT EXISTS _write_behind_dead_letters (\
     topic VARCHAR(249) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, `partition` INT NOT NULL, `offset` BIGINT NOT NULL, \
     entity VARCHAR(48) NOT NULL, id VARCHAR(128) NULL, version BIGINT UNSIGNED NULL, reason VARCHAR(32) NOT NULL, \
     detail VARCHAR(1000) NOT NULL, noted_at DATETIME(6) NOT NULL, PRIMARY KEY (topic, `partition`, `offset`))";

#[tokio::test]
async fn g8_a_dead_letter_explains_its_difference_and_is_not_replayed() -> Result<()> {
    let mut system = System::start().await?;
    let body = json!({ "name": "Jane", "age": 1 });
    let version = system.put("users", "1", &body).await?["version"].as_u64().context("a version")?;
    drained(&system).await?;
    system.persister.take().context("persister")?.stop(Duration::from_secs(20))?;
    // An event that the group has passed without a row, as after a dead letter.
    let topic = format!("{}users", system.topic_prefix);
    let events = read_all(&system.servers.kafka.brokers(), &topic)?;
    let value = events[0].value.clone().context("a value")?;
    let dead = (version + 16).to_string();
    let (partition, offset) = strange(&system, "1", Some(&dead), &value).await?;
    let consumer: rdkafka::consumer::BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", system.servers.kafka.brokers())
        .set("group.id", &system.group)
        .set("enable.auto.commit", "false")
        .create()?;
    let mut past = rdkafka::TopicPartitionList::new();
    past.add_partition_offset(&topic, partition, rdkafka::Offset::Offset(offset + 1))?;
    rdkafka::consumer::Consumer::commit(&consumer, &past, rdkafka::consumer::CommitMode::Sync)?;
    let differs = verify(&system, &[]).await?;
    assert_eq!(differs.code, Some(1), "an event that nobody applied is a difference: {differs:?}");
    let table = root(&system).await?;
    sqlx::query(LETTERS).execute(&table).await?;
    let note = "INSERT INTO _write_behind_dead_letters VALUES (?, ?, ?, 'users', '1', ?, 'refused', '', NOW(6))";
    sqlx::query(note).bind(&topic).bind(partition).bind(offset).bind(version + 16).execute(&table).await?;
    let agrees = verify(&system, &[]).await?;
    assert_eq!(agrees.code, Some(0), "{agrees:?}");
    let said = replay(&system, &["--all"]).await?;
    let object = said.object()?;
    assert_eq!((said.code, &object["dead"], &object["changed"]), (Some(0), &json!(1), &json!(0)), "{said:?}");
    Ok(())
}
