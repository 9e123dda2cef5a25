//! One record from the request to the row and back, and what stands where on the way.

use std::time::Duration;

use anyhow::{Context, Result};
use e2e::system::metric;
use e2e::topic_reader::read_all;
use e2e::{System, system};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Row;
use stack::{Ended, Lifetime, Process};

fn john() -> Value {
    json!({ "name": "John Doe", "age": 30, "occupation": "Engineer" })
}

#[tokio::test]
async fn a_posted_record_is_answered_logged_and_stands_in_cache_topic_and_table() -> Result<()> {
    let system = System::start().await?;

    let answer = system.call(Method::POST, "/users", Some(&john())).await?;
    assert_eq!(answer.status(), 202);
    let location = answer.headers()["location"].to_str()?.to_owned();
    let etag = answer.headers()["etag"].to_str()?.to_owned();
    let body: Value = answer.json().await?;
    let (id, version) = (body["id"].as_str().context("id")?, body["version"].as_u64().context("version")?);
    assert_eq!(location, format!("/users/{id}"));
    assert_eq!(etag, format!("\"{version}\""));
    assert_eq!(body["state"], "logged");

    let table = system.table().await?;
    system
        .eventually("the row is in MySQL", async || {
            let row = sqlx::query("SELECT name, age, occupation, version FROM users_live WHERE id = ?")
                .bind(id)
                .fetch_optional(&table)
                .await?;
            Ok(row.is_some_and(|row| {
                row.get::<String, _>(0) == "John Doe"
                    && row.get::<i32, _>(1) == 30
                    && row.get::<String, _>(2) == "Engineer"
                    && row.get::<u64, _>(3) == version
            }))
        })
        .await?;

    let events = read_all(&system.servers.kafka.brokers(), &format!("{}users", system.topic_prefix))?;
    let [event] = events.as_slice() else { panic!("one event expected, not {events:?}") };
    assert_eq!(event.key, id);
    assert_eq!(event.header("version"), Some(version.to_string().as_str()));
    assert_eq!((event.header("op"), event.header("origin")), (Some("upsert"), Some("write")));
    let value = event.value.as_ref().context("a value")?;
    assert_eq!(value[..5], [0, 0, 0, 0, 2], "Confluent's frame with the pinned id of users v2");

    system
        .eventually("the cached record is persisted", async || {
            let answer = system.call(Method::GET, &location, None).await?;
            Ok(answer.headers()["write-behind-state"] == "persisted")
        })
        .await?;
    let shown: Value = system.call(Method::GET, &location, None).await?.json().await?;
    assert_eq!((&shown["name"], &shown["id"]), (&json!("John Doe"), &json!(id)));
    Ok(())
}

#[tokio::test]
async fn the_original_projects_route_answers_as_it_did() -> Result<()> {
    let system = System::start().await?;
    let answer = system.call(Method::POST, "/write-behind", Some(&john())).await?;
    assert_eq!(answer.status(), 200);
    let body: Value = answer.json().await?;
    assert_eq!(body["message"], "Data write successful!");
    assert_eq!(body["state"], "logged");
    assert!(body["id"].is_string() && body["version"].is_u64(), "{body}");
    Ok(())
}

#[tokio::test]
async fn a_deleted_record_is_gone_for_readers_and_a_tombstone_in_the_table() -> Result<()> {
    let system = System::start().await?;
    let table = system.table().await?;
    system.put("users", "7", &john()).await?;
    let answer = system.call(Method::DELETE, "/users/7", None).await?;
    assert_eq!(answer.status(), 202);
    let version = answer.json::<Value>().await?["version"].as_u64().context("version")?;
    assert_eq!(system.call(Method::GET, "/users/7", None).await?.status(), 404);

    system
        .eventually("the tombstone is in MySQL", async || {
            let row =
                sqlx::query("SELECT deleted, version, name FROM users WHERE id = '7'").fetch_optional(&table).await?;
            Ok(row.is_some_and(|row| {
                row.get(0) && row.get::<u64, _>(1) == version && row.get::<Option<String>, _>(2).is_none()
            }))
        })
        .await?;
    let live = sqlx::query("SELECT id FROM users_live WHERE id = '7'").fetch_optional(&table).await?;
    assert!(live.is_none(), "a tombstone shows in the view");

    let events = read_all(&system.servers.kafka.brokers(), &format!("{}users", system.topic_prefix))?;
    let last = events.last().context("events")?;
    assert_eq!((last.value.as_ref(), last.header("op")), (None, Some("delete")));
    let unknown = system.call(Method::DELETE, "/users/never-there", None).await?;
    assert_eq!(unknown.status(), 202, "a delete of an unknown id is accepted");
    Ok(())
}

#[tokio::test]
async fn a_row_that_is_not_cached_is_read_from_the_table_and_cached_again() -> Result<()> {
    let system = System::start().await?;
    system.put("users", "9", &john()).await?;
    system
        .eventually("the record is persisted", async || {
            Ok(system.call(Method::GET, "/users/9", None).await?.headers()["write-behind-state"] == "persisted")
        })
        .await?;
    let mut redis = redis::Client::open(system.redis_url.as_str())?.get_multiplexed_async_connection().await?;
    let keys: Vec<String> = redis::cmd("KEYS").arg("wb:*:record:users:9").query_async(&mut redis).await?;
    let [key] = keys.as_slice() else { panic!("one record expected, not {keys:?}") };
    let () = redis::cmd("DEL").arg(key).query_async(&mut redis).await?;

    let answer = system.call(Method::GET, "/users/9", None).await?;
    assert_eq!(answer.headers()["write-behind-state"], "persisted");
    assert_eq!(answer.json::<Value>().await?["name"], "John Doe");
    let filled: bool = redis::cmd("EXISTS").arg(key).query_async(&mut redis).await?;
    assert!(filled, "the row was read but not put into the cache");
    Ok(())
}

#[tokio::test]
async fn the_publisher_writes_one_user_by_the_schemas_flags_and_waits_for_mysql() -> Result<()> {
    let system = System::start().await?;
    let spec = system
        .spec("publisher", "publisher", "")
        .env("INGEST_URL", &system.ingest_url)
        .args(["-l", "Smith", "-f", "John", "-a", "25", "--wait"]);
    let publisher = Process::spawn(&spec, Lifetime::Attached)?;
    let Ended::Yes(Some(status)) = publisher.wait(Duration::from_secs(20))? else { panic!("publisher does not end") };
    let printed = publisher.log_tail(5);
    assert!(status.success() && printed.contains("state=persisted"), "{status}: {printed}");
    let table = system.table().await?;
    let row = sqlx::query("SELECT name, first_name, last_name, age FROM users_live").fetch_one(&table).await?;
    let text = |index: usize| row.get::<String, _>(index);
    assert_eq!(
        (text(0), text(1), text(2), row.get::<i32, _>(3)),
        ("John Smith".into(), "John".into(), "Smith".into(), 25)
    );
    Ok(())
}

#[tokio::test]
async fn every_write_is_counted_once_with_its_lag_and_its_fate() -> Result<()> {
    let system = System::start().await?;
    for n in 0..20 {
        system.put("users", &format!("{}", n % 5), &john()).await?;
    }
    let series = "write_behind_fates_total{entity=\"users\",fate=\"";
    system
        .eventually("20 events have a fate", async || {
            let text = system.metrics(&system.persister_admin_url).await?;
            let fate = |fate: &str| metric(&text, &format!("{series}{fate}\"}}")).unwrap_or(0.0);
            Ok(fate("applied") + fate("superseded") + fate("dead") == 20.0)
        })
        .await?;
    let text = system.metrics(&system.persister_admin_url).await?;
    let lags = metric(&text, "write_behind_write_lag_seconds_count{entity=\"users\"}").context("lag")?;
    let applied = metric(&text, &format!("{series}applied\"}}")).context("applied")?;
    assert_eq!(lags, applied, "each applied version has one lag, and no event came twice here");
    let accepted = system.metrics(&system.ingest_admin_url).await?;
    let accepted = metric(&accepted, "write_behind_accepted_total{entity=\"users\",op=\"upsert\",state=\"logged\"}");
    assert_eq!(accepted, Some(20.0));
    Ok(())
}

#[tokio::test]
async fn a_stopped_ingest_and_persister_exit_with_0() -> Result<()> {
    let mut system = System::start().await?;
    system.put("users", "1", &john()).await?;
    for process in [system.ingest.take(), system.persister.take()].into_iter().flatten() {
        let status = process.stop(system::PATIENCE)?;
        assert!(
            status.is_some_and(|status| status.success()),
            "{} {status:?}\n{}",
            process.name(),
            process.log_tail(20)
        );
    }
    Ok(())
}
