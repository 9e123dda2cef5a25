//! A schema grows under load: the persister first, then ingest; and what happens to whoever does it the other way round.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::journal::Load;
use e2e::system::{PATIENCE, metric};
use e2e::topic_reader::{Read, read_all};
use e2e::{Servers, System};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row};
use stack::{Lifetime, Process, Spec};

use crate::every_type::{cached_schema, forget, until_persisted};
use crate::faults::{prepared, settled, while_acknowledging};

/// The system's schemas as they were before version 2 of users was there.
pub(crate) fn at_version_1(system: &System) -> Result<PathBuf> {
    let folder = stack::shared::scratch("schemas-v1");
    stack::folder::copy(&system.schemas, &folder)?;
    std::fs::remove_file(folder.join("users/v2.avsc"))?;
    let mut ids: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("ids.json"))?)?;
    ids.as_object_mut().context("ids")?.retain(|file, _| file != "users/v2.avsc");
    std::fs::write(folder.join("ids.json"), ids.to_string())?;
    Ok(folder)
}

/// An ingest beside the system's own, at another address.
pub(crate) struct Beside {
    pub(crate) url: String,
    pub(crate) admin_url: String,
    pub(crate) process: Process,
}

impl Beside {
    pub(crate) async fn start(system: &System, spec: Spec) -> Result<Self> {
        let [url, admin_url] =
            [stack::port::free()?, stack::port::free()?].map(|port| format!("http://127.0.0.1:{port}"));
        let address = |url: &str| url.trim_start_matches("http://").to_owned();
        let spec = spec.env("LISTEN", address(&url)).env("ADMIN_LISTEN", address(&admin_url));
        let process = Process::spawn(&spec, Lifetime::Attached)?;
        system.ready(&process, &admin_url).await?;
        Ok(Self { url, admin_url, process })
    }

    pub(crate) async fn put(&self, system: &System, id: &str, body: &Value) -> Result<Value> {
        let answer = system.client.put(format!("{}/users/{id}", self.url)).json(body).send().await?;
        anyhow::ensure!(answer.status().is_success(), "{answer:?}");
        Ok(answer.json().await?)
    }
}

fn events(system: &System) -> Result<Vec<Read>> {
    read_all(&system.servers.kafka.brokers(), &format!("{}users", system.topic_prefix))
}

/// The schema id in an event's frame.
fn schema_id(event: &Read) -> Option<u32> {
    let id = event.value.as_ref()?.get(1..5)?;
    Some(u32::from_be_bytes(id.try_into().ok()?))
}

/// One column of a row, as text.
async fn column(system: &System, id: &str, column: &str) -> Result<Option<String>> {
    let sql = format!("SELECT CAST({column} AS CHAR) FROM users WHERE id = ?");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(id).fetch_optional(&system.table().await?).await?;
    Ok(row.context("no row")?.get(0))
}

fn jane() -> Value {
    json!({ "name": "Jane", "age": 30, "occupation": "pilot" })
}

fn john() -> Value {
    json!({ "first_name": "John", "last_name": "Doe", "age": 40, "occupation": "driver" })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_grows_under_load_and_no_write_is_refused_or_lost() -> Result<()> {
    let mut system = prepared(Servers::shared())?;
    let version_2 = std::fs::read_to_string(system.schemas.join("users/v2.avsc"))?;
    system.schemas = at_version_1(&system)?;
    let mut system = system.up().await?;
    system.put("users", "before", &jane()).await?;
    until_persisted(&system, "/users/before").await?;
    let load = Load::start(&system.ingest_url, 8, 100, 3);
    while_acknowledging(&load, 200).await?;

    // The tables first; services of version 1 go on with them.
    system.add_schema("users/v2.avsc", &version_2)?;
    system.migrate()?;
    while_acknowledging(&load, 200).await?;
    // Then the persister; what is written meanwhile waits in the topic, as version 1.
    system.persister.take().context("persister")?.stop(PATIENCE)?;
    system.put("users", "waiting", &jane()).await?;
    while_acknowledging(&load, 200).await?;
    system.start_persister().await?;
    until_persisted(&system, "/users/waiting").await?;
    // Ingest last: the new one is ready before the old one ends.
    let beside = Beside::start(&system, system.ingest_spec()).await?;
    load.turn_to(&beside.url);
    while_acknowledging(&load, 200).await?;
    let old = system.ingest.take().context("ingest")?;
    assert!(old.stop(PATIENCE)?.is_some_and(|status| status.success()), "{}", old.log_tail(20));
    (system.ingest_url, system.ingest_admin_url, system.ingest) = (beside.url, beside.admin_url, Some(beside.process));
    while_acknowledging(&load, 200).await?;

    system.put("users", "after", &john()).await?;
    until_persisted(&system, "/users/after").await?;
    assert_eq!(column(&system, "after", "CONCAT(name, '/', first_name)").await?.as_deref(), Some("John Doe/John"));
    for id in ["before", "waiting"] {
        assert_eq!(column(&system, id, "first_name").await?, None, "a row from before shows the default");
        let newest = format!(
            r#"{{"id":"{id}","name":"Jane","age":30,"occupation":"pilot","first_name":null,"last_name":null}}"#
        );
        assert_eq!(cached_schema(&system, &format!("users:{id}")).await?, "1", "it is cached as it was written");
        let path = format!("/users/{id}");
        assert_eq!(system.call(Method::GET, &path, None).await?.text().await?, newest, "from the cache");
        forget(&system, &format!("users:{id}")).await?;
        assert_eq!(system.call(Method::GET, &path, None).await?.text().await?, newest, "from the table");
    }
    for id in ["before", "waiting", "after"] {
        // The journal knows of no other records than its own.
        system.call(Method::DELETE, &format!("/users/{id}"), None).await?.error_for_status()?;
    }
    let journal = load.finish().await?;
    assert_eq!((journal.counts().1, journal.unanswered()), (0, 0), "refused, and unanswered");
    settled(&system, &journal).await?;

    // The topic still has events of both versions, and a group that begins anew makes the same table of them.
    let written: Vec<_> = events(&system)?.iter().filter_map(schema_id).collect();
    assert!(written.contains(&1) && written.contains(&2), "events of both versions are needed");
    system.persister.take().context("persister")?.stop(PATIENCE)?;
    let root = Box::pin(sqlx::MySqlPool::connect(&system.accounts.root)).await?;
    sqlx::query("DELETE FROM users").execute(&root).await?;
    system.group.push_str("-anew");
    system.start_persister().await?;
    settled(&system, &journal).await
}

/// A system whose persister was started without version 2 of users, and an ingest as old beside its own.
async fn with_an_old_persister(hold_ms: u64) -> Result<(System, Beside)> {
    let mut system = prepared(Servers::shared())?.with("UNKNOWN_SCHEMA_HOLD_MS", &hold_ms.to_string());
    system.migrate()?;
    let newest = system.schemas.clone();
    system.schemas = at_version_1(&system)?;
    system.start_persister().await?;
    let old = Beside::start(&system, system.ingest_spec()).await?;
    system.schemas = newest;
    system.start_ingest().await?;
    Ok((system, old))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_persister_older_than_ingest_holds_its_lane_says_so_and_loses_nothing() -> Result<()> {
    const HOLD: Duration = Duration::from_secs(6);
    let (mut system, old) = with_an_old_persister(6000).await?;
    for id in 0..24 {
        old.put(&system, &id.to_string(), &jane()).await?;
    }
    let partitions: Vec<_> = events(&system)?.into_iter().map(|event| (event.key, event.partition)).collect();
    let (held, lane) = partitions.first().context("an event")?;
    let (behind, _) = partitions.iter().find(|(id, of)| of == lane && id != held).context("a neighbour")?;
    let (free, _) = partitions.iter().find(|(_, of)| of != lane).context("another lane")?;
    for (id, _) in &partitions {
        until_persisted(&system, &format!("/users/{id}")).await?;
    }

    let begun = Instant::now();
    system.put("users", held, &john()).await?;
    let topic = format!("{}users", system.topic_prefix);
    let holds = async |class: &str| -> Result<bool> {
        let series = format!("write_behind_lane_held{{class=\"{class}\",partition=\"{lane}\",topic=\"{topic}\"}}");
        Ok(metric(&system.metrics(&system.persister_admin_url).await?, &series) == Some(1.0))
    };
    system.eventually("the lane holds", async || holds("unknown-schema").await).await?;
    assert!(begun.elapsed() < HOLD, "too slow a machine to see what is before the end of the hold");
    old.put(&system, free, &json!({ "name": "Free", "age": 1, "occupation": "" })).await?;
    until_persisted(&system, &format!("/users/{free}")).await?;
    system
        .eventually("the persister knows that it is older", async || {
            let older = holds("older-than-ingest").await?;
            anyhow::ensure!(!older || begun.elapsed() >= HOLD, "decided before the hold was over");
            Ok(older)
        })
        .await?;
    assert!(!holds("unknown-schema").await?, "it holds for two reasons");
    let said = system.persister.as_ref().context("persister")?.log_tail(200);
    assert!(said.contains("older than ingest: restart with schema id 2"), "{said}");

    // A persister that knows the schema brings it: nothing was lost.
    system.persister.take().context("persister")?.stop(PATIENCE)?;
    system.start_persister().await?;
    until_persisted(&system, &format!("/users/{held}")).await?;
    assert_eq!(column(&system, held, "CONCAT(name, '/', last_name)").await?.as_deref(), Some("John Doe/Doe"));
    old.put(&system, behind, &json!({ "name": "Behind", "age": 1, "occupation": "" })).await?;
    until_persisted(&system, &format!("/users/{behind}")).await?;
    let text = system.metrics(&system.persister_admin_url).await?;
    assert!(!text.lines().any(|line| line.starts_with("write_behind_lane_held{") && line.ends_with(" 1")), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outbox_entry_of_a_newer_ingest_is_left_to_one_and_keeps_its_new_fields() -> Result<()> {
    let mut system = prepared(Servers::shared())?;
    system.migrate()?;
    system.start_persister().await?;
    let newest = system.schemas.clone();
    system.schemas = at_version_1(&system)?;
    let old = Beside::start(&system, system.ingest_spec()).await?;
    system.schemas = newest;
    // A newer ingest for which Kafka is away, and which dies before anything comes of it.
    let cut_off = Process::spawn(&system.ingest_spec().env("KAFKA_BROKERS", "127.0.0.1:9"), Lifetime::Attached)?;
    system
        .eventually("the write is cached", async || {
            Ok(system.put("users", "1", &john()).await.is_ok_and(|answer| answer["state"] == "cached"))
        })
        .await?;
    cut_off.kill()?;
    system
        .eventually("the older ingest has met the entry", async || {
            let text = system.metrics(&old.admin_url).await?;
            Ok(metric(&text, "write_behind_relayed_total{outcome=\"failed\"}") > Some(0.0))
        })
        .await?;
    assert!(events(&system)?.is_empty(), "the older ingest has relayed it in its own shape");
    // Its claim on the shard may keep a newer one from it as long as it runs.
    old.process.stop(PATIENCE)?;
    system.start_ingest().await?;
    until_persisted(&system, "/users/1").await?;
    assert_eq!(column(&system, "1", "first_name").await?.as_deref(), Some("John"));
    Ok(())
}
