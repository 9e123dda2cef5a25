//! R10, R11: whatever waits in outbox and unsettled comes to its end, also when a settle or the topic itself was lost; and
//! nobody is asked about what waits rightly.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::system::metric;
use e2e::topic_reader::{committed, read_all};
use e2e::{Servers, System};
use rdkafka::admin::{AdminOptions, AlterConfig, ResourceSpecifier};
use reqwest::Method;
use serde_json::json;
use sqlx::Row;
use stack::{Lifetime, Process};

use crate::dead::topic;
use crate::letters::{admin, takes};

/// Timings in the order that the protocol demands, short enough to wait for.
fn prepared(servers: Servers) -> Result<System> {
    Ok(System::prepare(servers)?
        .with("ANSWER_DEADLINE_MS", "1000")
        .with("PRODUCE_DEADLINE_MS", "1500")
        .with("RELAY_AFTER_MS", "1600")
        .with("SWEEP_AFTER_MS", "2000"))
}

/// Longer than the pause between two rounds ever is.
const A_ROUND: Duration = Duration::from_millis(3500);

async fn swept(system: &System, outcome: &str) -> Result<f64> {
    let text = system.metrics(&system.ingest_admin_url).await?;
    metric(&text, &format!("write_behind_swept_total{{outcome=\"{outcome}\"}}")).context("the series exists")
}

async fn unsettled(system: &System) -> Result<u64> {
    let mut entries = 0;
    for shard in 0..16 {
        entries += system.redis::<u64>(&["ZCARD"], &[format!("wb:{{{shard:02}}}:unsettled")]).await?;
    }
    Ok(entries)
}

async fn state(system: &System, id: &str) -> Result<String> {
    let shown = system.call(Method::GET, &format!("/users/{id}"), None).await?;
    Ok(shown.headers().get("write-behind-state").context("a state")?.to_str()?.to_owned())
}

async fn put_logged(system: &System, ids: std::ops::Range<u32>) -> Result<()> {
    for id in ids {
        let answer = system.put("users", &id.to_string(), &json!({ "name": "Ada", "age": 36 })).await?;
        ensure!(answer["state"] == "logged", "{answer}");
    }
    system
        .eventually("the cache knows of every acknowledgement", async || {
            let text = system.metrics(&system.ingest_admin_url).await?;
            Ok(metric(&text, "write_behind_outbox_entries") == Some(0.0))
        })
        .await
}

/// A persister that Redis is away from: it applies and commits, and its settles go nowhere.
fn without_redis(system: &System) -> Result<Process> {
    let spec = system.persister_spec(&system.persister_admin_url).env("REDIS_URL", "redis://127.0.0.1:1/0");
    Process::spawn(&spec, Lifetime::Attached)
}

/// `d03`, `k09`: the persister dies between offset commit and settle. And before that, while everything waits rightly, neither
/// MySQL is asked nor anything produced a second time, however old it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r11_a_settle_that_was_lost_is_repaired_by_the_sweep_and_what_waits_rightly_is_left_alone() -> Result<()> {
    let mut system = prepared(Servers::shared())?;
    system.migrate()?;
    system.start_ingest().await?;
    put_logged(&system, 0..40).await?;
    // Old enough for the sweep, and not applied: a look at the rows would find them all missing.
    tokio::time::sleep(Duration::from_millis(2000) + A_ROUND).await;
    assert_eq!((swept(&system, "produced").await?, swept(&system, "settled").await?), (0.0, 0.0));

    let persister = without_redis(&system)?;
    let (brokers, group, topic) = (system.servers.kafka.brokers(), system.group.clone(), topic(&system));
    system
        .eventually("all of it is applied and committed", async || {
            Ok(committed(&brokers, &group, &topic)?.values().sum::<i64>() == 40)
        })
        .await?;
    assert!(unsettled(&system).await? > 0, "the settles arrived: this shows nothing");
    persister.kill()?;
    system.eventually("every entry settles", async || Ok(unsettled(&system).await? == 0)).await?;
    assert_eq!(state(&system, "7").await?, "persisted");
    let marked: String = system.redis(&["HGET"], &[record_key("7"), "state".to_owned()]).await?;
    assert_eq!(marked, "persisted", "it was read in the epoch of now, and is certain");
    assert_eq!(swept(&system, "settled").await?, 40.0);
    assert_eq!(read_all(&brokers, &topic)?.len(), 40, "nothing was produced again");
    Ok(())
}

fn record_key(id: &str) -> String {
    let member = format!("users:{id}");
    format!("wb:{{{:02}}}:record:{member}", crc32fast::hash(member.as_bytes()) % 16)
}

async fn all_rows(system: &System, rows: i64) -> Result<()> {
    let table = system.table().await?;
    system
        .eventually("every write that was answered logged is in the table", async || {
            let row = sqlx::query("SELECT COUNT(*) FROM users WHERE name = 'Ada'").fetch_one(&table).await?;
            Ok(row.get::<i64, _>(0) == rows)
        })
        .await?;
    system.eventually("every entry settles", async || Ok(unsettled(system).await? == 0)).await
}

/// `k22`: the topic is lost after the acknowledgement and before the persister has it all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r11_what_the_topic_lost_after_the_acknowledgement_is_produced_again_and_reaches_the_table() -> Result<()> {
    let mut system = prepared(Servers::shared())?.up().await?;
    put_logged(&system, 0..20).await?;
    all_rows(&system, 20).await?;
    system.persister.take().context("persister")?.kill()?;
    put_logged(&system, 20..60).await?;
    let (brokers, topic) = (system.servers.kafka.brokers(), topic(&system));
    admin(&system)?.delete_topics(&[&topic], &AdminOptions::new()).await?;
    let gone = || read_all(&brokers, &topic).is_ok_and(|events| events.is_empty());
    system.eventually("the topic is gone", async || Ok(gone())).await?;
    system.eventually("the topic is made again", async || Ok(system.migrate().is_ok())).await?;
    system.start_persister().await?;
    all_rows(&system, 60).await?;
    assert!(swept(&system, "produced").await? >= 40.0);
    let events = read_all(&brokers, &topic)?;
    assert!(events.iter().all(|event| event.header("origin") == Some("relay")), "{:?}", events.first());
    Ok(())
}

/// A topic that takes less than it must is mended by a person: its records wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r10_a_record_that_a_narrowed_topic_refuses_is_counted_stays_and_holds_up_none_behind_it() -> Result<()> {
    let mut system = prepared(Servers::shared())?;
    system.migrate()?;
    system.start_ingest().await?;
    system.start_persister().await?;
    let topic = topic(&system);
    takes(&system, "350").await?;
    // Random, or compression would make it short.
    let long: String = (0..250).map(|_| rand::random_range('a'..='z')).collect();
    let record = json!({ "name": "Ada", "age": 36, "occupation": long });
    // The broker learns of its new bound a moment after it was told.
    system
        .eventually("it is refused", async || Ok(system.put("users", "1", &record).await?["state"] == "cached"))
        .await?;
    put_behind(&system).await?;
    system
        .eventually("the refusal is counted", async || {
            let text = system.metrics(&system.ingest_admin_url).await?;
            Ok(metric(&text, "write_behind_relayed_total{outcome=\"refused\"}") > Some(0.0))
        })
        .await?;
    assert_eq!(state(&system, "1").await?, "cached", "it is not given up");
    // Long enough for several rounds: the topic is at fault, which is to be mended, and no record.
    tokio::time::sleep(A_ROUND).await;
    assert_eq!(read_all(&system.servers.kafka.brokers(), &format!("{topic}.dead"))?.len(), 0, "made a dead letter");
    takes(&system, "2000000").await?;
    all_rows(&system, 2).await
}

async fn put_behind(system: &System) -> Result<()> {
    let answer = system.put("users", "2", &json!({ "name": "Ada", "age": 36 })).await?;
    ensure!(answer["state"] == "logged", "{answer}");
    Ok(())
}

/// What a topic that is as it must be never takes becomes a dead letter, whole, or stays where it is: never neither.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r10_what_kafka_never_takes_becomes_a_dead_letter_and_stays_in_the_cache_until_it_is_one() -> Result<()> {
    let system = prepared(Servers::shared())?;
    let fields = r#"[{"name": "text", "type": "string", "maxLength": 200000}]"#;
    let schema = format!(r#"{{"type": "record", "name": "Notes", "fields": {fields}}}"#);
    system.add_schema("notes/v1.avsc", &schema)?;
    system.migrate()?;
    let (brokers, dead) = (system.servers.kafka.brokers(), format!("{}notes.dead", system.topic_prefix));
    let admin = admin(&system)?;
    let most = async |bytes: &str| -> Result<()> {
        let config = AlterConfig::new(ResourceSpecifier::Topic(&dead))
            .set("cleanup.policy", "delete")
            .set("retention.ms", "-1")
            .set("max.message.bytes", bytes);
        admin.alter_configs(&[config], &AdminOptions::new()).await?;
        Ok(())
    };
    most("1000").await?;
    // Random, or compression would make it short.
    let long: String = (0..150_000).map(|_| rand::random_range('a'..='z')).collect();
    // An ingest that takes large bodies, and reaches no Kafka.
    let wide = Process::spawn(&system.ingest_spec().env("KAFKA_BROKERS", "127.0.0.1:9"), Lifetime::Attached)?;
    let mut version = 0;
    system
        .eventually("it is cached", async || {
            let answer = system.put("notes", "1", &json!({ "text": long })).await;
            version = answer.as_ref().map_or(0, |answer| answer["version"].as_u64().unwrap_or(0));
            Ok(answer.is_ok_and(|answer| answer["state"] == "cached"))
        })
        .await?;
    wide.kill()?;
    let mut system = system.with("BODY_BYTES_MOST", "1000").with("EVENT_BYTES_MOST", "66536");
    system.start_ingest().await?;
    let relayed = async |outcome: &str| -> Result<Option<f64>> {
        let text = system.metrics(&system.ingest_admin_url).await?;
        Ok(metric(&text, &format!("write_behind_relayed_total{{outcome=\"{outcome}\"}}")))
    };
    system.eventually("the refusal is counted", async || Ok(relayed("refused").await? > Some(0.0))).await?;
    let shown = system.call(Method::GET, "/notes/1", None).await?.json::<serde_json::Value>().await?;
    assert_eq!(shown["text"], long, "not even the dead letters take it: the cache alone has it");
    assert_eq!((relayed("dead").await?, read_all(&brokers, &dead)?.len()), (Some(0.0), 0));
    most("300000").await?;
    system.eventually("it is a dead letter", async || Ok(relayed("dead").await? == Some(1.0))).await?;
    let letters = read_all(&brokers, &dead)?;
    assert_eq!(letters.len(), 1);
    let said = |name: &str| letters[0].header(name).unwrap_or_default().to_owned();
    assert_eq!(letters[0].key, "1");
    assert!(letters[0].value.as_ref().is_some_and(|value| value.ends_with(long.as_bytes())), "its content is lost");
    assert_eq!((said("version"), said("op")), (version.to_string(), "upsert".to_owned()));
    assert_eq!(said("__connect.errors.exception.class.name"), "too-large");
    assert_eq!(system.call(Method::GET, "/notes/1", None).await?.status(), 404, "the cache has let it go");
    let text = system.metrics(&system.ingest_admin_url).await?;
    let counted = metric(&text, "write_behind_dead_letters_total{entity=\"notes\",reason=\"too-large\"}");
    assert_eq!(counted, Some(1.0));
    system
        .eventually("nothing is left in the outbox, which no doubt and no purge could pass", async || {
            let text = system.metrics(&system.ingest_admin_url).await?;
            Ok(metric(&text, "write_behind_outbox_entries") == Some(0.0))
        })
        .await
}

/// `k52`: a dead letter's settle is lost, and the table will never have what the cache still has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r11_a_dead_letter_whose_settle_was_lost_leaves_the_cache_and_is_not_produced_again() -> Result<()> {
    let mut system = prepared(Servers::shared())?;
    system.migrate()?;
    let root = Box::pin(sqlx::MySqlPool::connect(&system.accounts.root)).await?;
    sqlx::query("ALTER TABLE users MODIFY name VARCHAR(8)").execute(&root).await?;
    system.start_ingest().await?;
    let answer = system.put("users", "1", &json!({ "name": "much too long a name", "age": 36 })).await?;
    ensure!(answer["state"] == "logged", "{answer}");
    let persister = without_redis(&system)?;
    let noted = async || -> Result<i64> {
        let count = "SELECT COUNT(*) FROM _write_behind_dead_letters";
        Ok(sqlx::query(count).fetch_one(&system.table().await?).await?.get(0))
    };
    system.eventually("it is a dead letter", async || Ok(noted().await? == 1)).await?;
    assert_eq!(unsettled(&system).await?, 1, "the settle arrived: this shows nothing");
    system.eventually("the sweep asks for dead letters", async || Ok(unsettled(&system).await? == 0)).await?;
    assert_eq!((swept(&system, "dead").await?, swept(&system, "produced").await?), (1.0, 0.0));
    let (brokers, topic) = (system.servers.kafka.brokers(), topic(&system));
    assert_eq!(read_all(&brokers, &topic)?.len(), 1, "it was produced again");
    assert_eq!(read_all(&brokers, &format!("{topic}.dead"))?.len(), 1);
    assert_eq!(system.call(Method::GET, "/users/1", None).await?.status(), 404, "no table will ever have it");
    persister.kill()?;
    Ok(())
}
