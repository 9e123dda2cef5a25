//! What a process that writes past Redis owes it (R8, R16) dies with the process. Nothing that is promised rests on it: the write
//! is in the topic, and what tells the cache of it is the settle (R14), else the sweep (R11), else the end of a settled record's time.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::topic_reader::committed;
use e2e::{Servers, System};
use reqwest::Method;
use serde_json::{Value, json};
use stack::{Lifetime, Process};

/// The record as a reader has it: its age, version and state.
async fn read(system: &System, id: &str) -> Result<(Value, String, String)> {
    let answer = system.call(Method::GET, &format!("/users/{id}"), None).await?;
    let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    let (etag, state) = (header("etag"), header("write-behind-state"));
    Ok((answer.json::<Value>().await?["age"].clone(), etag, state))
}

async fn put(system: &System, id: &str, age: u64) -> Result<Value> {
    system.put("users", id, &json!({ "name": "Ada", "age": age })).await
}

/// Writes these past Redis, in a process that reaches it never and is killed with what it owes.
async fn written_past_redis(system: &System, ids: &[&str]) -> Result<()> {
    let mut cut_off = System::prepare(system.servers)?.with("INSTANCE_SLOT", "7");
    cut_off.accounts = system.accounts.clone();
    cut_off.topic_prefix.clone_from(&system.topic_prefix);
    "redis://127.0.0.1:1/0".clone_into(&mut cut_off.redis_url);
    let process = Process::spawn(&cut_off.ingest_spec(), Lifetime::Attached)?;
    for id in ids {
        let taken = async || Ok(put(&cut_off, id, 2).await.is_ok_and(|answer| answer["state"] == "logged"));
        cut_off.eventually("it takes the write without Redis", taken).await?;
    }
    process.kill()?;
    Ok(())
}

/// Whoever has read the first version must not overwrite the second with it.
async fn second_stands(system: &System, id: &str, first: &str) -> Result<()> {
    system
        .eventually(&format!("{id} is read as it was written past Redis"), async || {
            Ok(read(system, id).await.is_ok_and(|(age, _, _)| age == 2))
        })
        .await?;
    let url = format!("{}/users/{id}", system.ingest_url);
    let body = json!({ "name": "Ada", "age": 3 });
    let stale = system.client.put(url).header("If-Match", first).json(&body).send().await?;
    ensure!(stale.status() == 412, "{id}: a stale If-Match is answered {}: {}", stale.status(), stale.text().await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r8_r11_r14_what_a_dead_process_owed_the_cache_is_made_good_by_settle_sweep_and_time() -> Result<()> {
    let mut system = System::prepare(Servers::shared())?
        .with("ANSWER_DEADLINE_MS", "1000")
        .with("PRODUCE_DEADLINE_MS", "1500")
        .with("RELAY_AFTER_MS", "1600")
        .with("SWEEP_AFTER_MS", "2000")
        .with("SETTLED_TTL_S", "12")
        .up()
        .await?;
    let persisted = async |id: &str| -> Result<String> {
        put(&system, id, 1).await?;
        let settled = async || Ok(read(&system, id).await?.2 == "persisted");
        system.eventually("MySQL has it and the cache knows", settled).await?;
        Ok(read(&system, id).await?.1)
    };
    // The usual case: a persister that is there settles what was written past Redis, and so drops what is older.
    let told = persisted("told").await?;
    written_past_redis(&system, &["told"]).await?;
    second_stands(&system, "told", &told).await?;

    // The settles are lost, too: with a persister that Redis is away from, and that dies.
    let timed = persisted("timed").await?;
    system.persister.take().context("persister")?.stop(Duration::from_secs(20))?;
    put(&system, "swept", 1).await?;
    let swept = read(&system, "swept").await?.1;
    written_past_redis(&system, &["timed", "swept"]).await?;
    let spec = system.persister_spec(&system.persister_admin_url).env("REDIS_URL", "redis://127.0.0.1:1/0");
    let persister = Process::spawn(&spec, Lifetime::Attached)?;
    let (brokers, topic) = (system.servers.kafka.brokers(), format!("{}users", system.topic_prefix));
    // Of `told` and `timed` two each, and of `swept`.
    let all = async || Ok(committed(&brokers, &system.group, &topic)?.values().sum::<i64>() >= 6);
    system.eventually("all of it is applied and committed", all).await?;
    persister.kill()?;
    second_stands(&system, "swept", &swept).await?;
    second_stands(&system, "timed", &timed).await
}
