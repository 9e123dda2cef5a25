//! What can never be applied goes to the dead letters, and nothing else does: R13's second half, R14's last sentences, G7, G8.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use e2e::system::{PATIENCE, metric};
use e2e::topic_reader::{Read, committed, read_all};
use e2e::{Servers, System};
use record::{Change, Event, Origin, RecordId, SchemaId, Version};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor, Row};
use topic::Outgoing;

use crate::order::publisher;

/// Names of more than this many characters are refused by the table.
pub(crate) const SHORT: &str = "ALTER TABLE users MODIFY name VARCHAR(8)";

pub(crate) const POISON: &str = "much too long a name";

pub(crate) fn topic(system: &System) -> String {
    format!("{}users", system.topic_prefix)
}

pub(crate) fn named(name: &str) -> Value {
    json!({ "name": name, "age": 1 })
}

/// Runs SQL as root in the system's database.
pub(crate) async fn alter(system: &System, sql: &str) -> Result<()> {
    let pool = Box::pin(sqlx::MySqlPool::connect(&system.accounts.root)).await?;
    // As text: MySQL prepares no CREATE TRIGGER.
    pool.execute(AssertSqlSafe(sql.to_owned())).await.with_context(|| sql.to_owned())?;
    Ok(())
}

/// One partition, so that the order of all events is known; a table that refuses long names; no persister yet, so that all
/// that is written comes in one batch.
pub(crate) async fn prepared(settings: &[(&str, &str)]) -> Result<System> {
    let mut system = System::prepare(Servers::shared())?.with("TOPIC_PARTITIONS", "1");
    for (name, value) in settings {
        system = system.with(name, value);
    }
    system.migrate()?;
    alter(&system, SHORT).await?;
    system.start_ingest().await?;
    Ok(system)
}

pub(crate) async fn put(system: &System, id: &str, name: &str) -> Result<u64> {
    system.put("users", id, &named(name)).await?["version"].as_u64().context("version")
}

/// Id and name of every row that is not deleted.
pub(crate) async fn rows(system: &System) -> Result<BTreeMap<String, String>> {
    let rows = sqlx::query("SELECT id, name FROM users WHERE NOT deleted").fetch_all(&system.table().await?).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

pub(crate) fn letters(system: &System) -> Result<Vec<Read>> {
    read_all(&system.servers.kafka.brokers(), &format!("{}.dead", topic(system)))
}

/// Offset, id, version and reason of what is noted, in order.
pub(crate) async fn notes(system: &System) -> Result<Vec<(i64, Option<String>, Option<u64>, String)>> {
    let sql = "SELECT `offset`, id, version, reason FROM _write_behind_dead_letters ORDER BY `offset`";
    let rows = sqlx::query(sql).fetch_all(&system.table().await?).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect())
}

/// The offset that is committed in the only partition.
pub(crate) fn position(system: &System) -> Result<i64> {
    let all = committed(&system.servers.kafka.brokers(), &system.group, &topic(system))?;
    Ok(all.get(&0).copied().unwrap_or(0))
}

pub(crate) async fn counted(system: &System, series: &str) -> Result<Option<f64>> {
    Ok(metric(&system.metrics(&system.persister_admin_url).await?, &format!("write_behind_{series}")))
}

pub(crate) async fn until_behind(system: &System, events: i64) -> Result<()> {
    let what = format!("the offset has passed {events} events");
    system.eventually(&what, async || Ok(position(system)? >= events)).await
}

pub(crate) async fn holds(system: &System, class: &str) -> Result<bool> {
    let series = format!("lane_held{{class=\"{class}\",partition=\"0\",topic=\"{}\"}}", topic(system));
    Ok(counted(system, &series).await? == Some(1.0))
}

async fn state(system: &System, id: &str) -> Result<Option<String>> {
    let shown = system.call(Method::GET, &format!("/users/{id}"), None).await?;
    Ok(shown.headers().get("write-behind-state").map(|state| state.to_str().unwrap_or_default().to_owned()))
}

pub(crate) fn accept(system: &System, until: &str) -> Result<()> {
    let spec = system.spec("persister", "accept", &system.accounts.persister);
    let spec = spec.arg("dead").arg("accept").arg("--until").arg(until).arg("--entity").arg("users");
    let process = stack::Process::spawn(&spec, stack::Lifetime::Attached)?;
    let ended = process.wait(PATIENCE)?;
    let well = matches!(ended, stack::Ended::Yes(Some(status)) if status.success());
    anyhow::ensure!(well, "{ended:?}\n{}", process.log_tail(20));
    Ok(())
}

/// `k48`, `k43`: mates are applied, the letter is whole, the fate is noted, and the cache lets go of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g8_a_refused_event_is_a_dead_letter_and_its_batch_mates_are_applied() -> Result<()> {
    let mut system = prepared(&[]).await?;
    for id in 0..30 {
        put(&system, &format!("before{id}"), "Jane").await?;
    }
    let version = put(&system, "bad", POISON).await?;
    for id in 0..30 {
        put(&system, &format!("after{id}"), "Jane").await?;
    }
    system.start_persister().await?;
    until_behind(&system, 61).await?;
    assert_eq!(rows(&system).await?.len(), 60, "the mates of a bad event");

    let original = read_all(&system.servers.kafka.brokers(), &topic(&system))?.remove(30);
    let [letter] = &letters(&system)?[..] else { panic!("one letter: {:?}", letters(&system)?) };
    assert_eq!((&letter.key, &letter.value, letter.partition), (&original.key, &original.value, 0));
    assert_eq!(letter.headers[..original.headers.len()], original.headers[..], "its headers are kept");
    let of = |name: &str| letter.header(&format!("__connect.errors.{name}")).map(ToOwned::to_owned);
    assert_eq!(
        (of("topic"), of("partition"), of("offset")),
        (Some(topic(&system)), Some("0".into()), Some("30".into()))
    );
    assert_eq!(of("exception.class.name").as_deref(), Some("refused"));
    assert_eq!(of("exception.message").as_deref(), Some("the database answered error 1406 (22001)"), "and no value");
    assert_eq!(letter.header("write_behind.errors.schema_id"), Some("2"));
    assert!(letter.header("write_behind.errors.at").is_some_and(|at| at.parse::<u64>().is_ok()));
    assert_eq!(notes(&system).await?, [(30, Some("bad".to_owned()), Some(version), "refused".to_owned())]);

    system
        .eventually("the cache lets go of the dead version", async || Ok(state(&system, "bad").await?.is_none()))
        .await?;
    system
        .eventually("nothing is unsettled", async || {
            let text = system.metrics(&system.ingest_admin_url).await?;
            Ok(metric(&text, "write_behind_unsettled_entries") == Some(0.0))
        })
        .await?;
    assert_eq!(counted(&system, "fates_total{entity=\"users\",fate=\"dead\"}").await?, Some(1.0));
    assert_eq!(counted(&system, "dead_letters_total{entity=\"users\",reason=\"refused\"}").await?, Some(1.0));
    assert_eq!(counted(&system, "fates_total{entity=\"users\",fate=\"applied\"}").await?, Some(60.0));
    Ok(())
}

/// `k46`: coalescing must not have thrown the older one away. `k45`: and the row stands behind the letter in the topic.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r13_the_newest_event_of_the_same_id_that_is_not_refused_is_applied_and_re_asserted() -> Result<()> {
    let mut system = prepared(&[]).await?;
    // First, or halving alone would part the good ones from the bad.
    put(&system, "b", "other").await?;
    put(&system, "a", "one").await?;
    let good = put(&system, "a", "two").await?;
    put(&system, "a", POISON).await?;
    put(&system, "a", POISON).await?;
    system.start_persister().await?;
    until_behind(&system, 5).await?;
    let newest = [("a".into(), "two".into()), ("b".into(), "other".into())].into();
    assert_eq!(rows(&system).await?, newest, "k46: what is not refused went with what came behind it");
    assert_eq!(letters(&system)?.len(), 2);
    until_behind(&system, 6).await.context("k45: the row was not produced again behind its letter")?;
    let events = read_all(&system.servers.kafka.brokers(), &topic(&system))?;
    let last = events.iter().rfind(|event| event.key == "a").context("an event")?;
    assert_eq!((last.header("origin"), last.header("version")), (Some("reassert"), Some(&*good.to_string())));
    assert_eq!(events.len(), 6, "a re-asserted row must not echo: {events:?}");
    Ok(())
}

/// The poison stays the key's tail on purpose where there is no row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r13_behind_a_dead_letter_without_a_row_nothing_is_produced() -> Result<()> {
    let mut system = prepared(&[]).await?;
    put(&system, "a", POISON).await?;
    put(&system, "b", "good").await?;
    system.start_persister().await?;
    until_behind(&system, 2).await?;
    assert_eq!(read_all(&system.servers.kafka.brokers(), &topic(&system))?.len(), 2);
    assert_eq!(rows(&system).await?.len(), 1);
    Ok(())
}

/// A row that was there before us has version 0, which is none: an event that had it would be poison itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r13_behind_a_dead_letter_an_adopted_row_is_not_produced() -> Result<()> {
    let mut system = prepared(&[]).await?;
    alter(&system, "INSERT INTO users (id, name, version, log_offset) VALUES ('a', 'adopted', 0, -1)").await?;
    put(&system, "a", POISON).await?;
    put(&system, "b", "good").await?;
    system.start_persister().await?;
    until_behind(&system, 2).await?;
    put(&system, "b", "again").await?;
    until_behind(&system, 3).await?;
    let events = read_all(&system.servers.kafka.brokers(), &topic(&system))?;
    assert_eq!(events.len(), 3, "it echoes: {events:?}");
    assert_eq!(letters(&system)?.len(), 1);
    assert_eq!(rows(&system).await?, [("a".into(), "adopted".into()), ("b".into(), "again".into())].into());
    Ok(())
}

/// Everything that is no event, or none that can be read, without the table being asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g8_what_cannot_be_read_is_a_dead_letter_by_its_reason() -> Result<()> {
    let mut system = prepared(&[("UNKNOWN_SCHEMA_HOLD_MS", "1")]).await?;
    let publisher = publisher(&system)?;
    let now = put(&system, "good", "first").await?;
    let send = async |id: &str, version: u64, change: Change<'static>| -> Result<()> {
        let event = Event { id: RecordId::parse(id)?, version: Version::new(version)?, origin: Origin::Write, change };
        publisher.publish(Outgoing { topic: &topic(&system), event: &event, trace: None }).await?;
        Ok(())
    };
    let upsert = |schema, datum: &'static [u8]| Change::Upsert { schema: SchemaId::new(schema), datum: datum.into() };
    send("undecodable", now, upsert(2, &[0xff])).await?;
    send("future", now + 3_600_000_000, Change::Tombstone).await?;
    send("unknown", now, upsert(99, &[0])).await?;
    send("unknown2", now, upsert(99, &[0])).await?;
    send("reserved", 31, upsert(2, &[0])).await?;
    put(&system, "good2", "last").await?;
    system.start_persister().await?;
    until_behind(&system, 7).await?;
    let reasons: Vec<_> = notes(&system).await?.into_iter().map(|(offset, .., reason)| (offset, reason)).collect();
    let expected = [
        (1, "undecodable"),
        (2, "version-in-future"),
        (3, "unknown-schema"),
        (4, "unknown-schema"),
        (5, "bad-version"),
    ];
    assert_eq!(reasons, expected.map(|(offset, reason)| (offset, reason.to_owned())));
    assert_eq!(letters(&system)?.len(), 5);
    assert_eq!(rows(&system).await?.len(), 2);
    Ok(())
}
