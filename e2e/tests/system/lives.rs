//! R14 to R16 on whole systems: Redis is restarted, emptied and cut off under load; nothing that was answered `logged` is lost,
//! versions never go back, and the cache says for how long it is incomplete.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::journal::Load;
use e2e::system::metric;
use e2e::{Servers, System};
use reqwest::Method;
use serde_json::{Value, json};
use stack::{Lifetime, Place, Process, Redis, Tools, shared};

use crate::faults::{settled, while_acknowledging};

const SEED: u64 = 11;

fn prepared(servers: Servers) -> Result<System> {
    Ok(System::prepare(servers)?
        .with("ANSWER_DEADLINE_MS", "3000")
        .with("PRODUCE_DEADLINE_MS", "4000")
        .with("RELAY_AFTER_MS", "4500")
        .with("SWEEP_AFTER_MS", "5000")
        .with("INCOMPLETE_GRACE_MS", "8000"))
}

/// A client that writes one record again and again: of two writes, one acknowledged before the other began, the later has
/// the higher version.
struct OneByOne {
    stop: Arc<AtomicBool>,
    client: tokio::task::JoinHandle<Result<Vec<u64>>>,
}

impl OneByOne {
    #[expect(clippy::disallowed_methods, reason = "it is awaited in `finish`")]
    fn start(system: &System) -> Self {
        let (http, url) = (system.client.clone(), format!("{}/users/one-by-one", system.ingest_url));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let client = tokio::spawn(async move {
            let mut versions = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let body = json!({ "name": format!("turn {}", versions.len()), "age": 1, "occupation": "client" });
                let Ok(answer) = http.put(&url).json(&body).send().await else { continue };
                if answer.status().is_success() {
                    versions.push(answer.json::<Value>().await?["version"].as_u64().context("a version")?);
                } else {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            Ok(versions)
        });
        Self { stop, client }
    }

    /// Its record is deleted at the end: no journal knows it.
    async fn finish(self, system: &System) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let versions = self.client.await??;
        system.call(Method::DELETE, "/users/one-by-one", None).await?.error_for_status()?;
        ensure!(versions.len() > 10, "only {} writes", versions.len());
        ensure!(versions.is_sorted_by(|a, b| a < b), "versions went back: {versions:?}");
        Ok(())
    }
}

async fn epoch(system: &System) -> Result<u64> {
    let epoch: Option<u64> = system.redis(&["HGET"], &["wb:{00}:epoch".to_owned(), "n".to_owned()]).await?;
    Ok(epoch.unwrap_or(0))
}

async fn incomplete(system: &System) -> Result<f64> {
    let text = system.metrics(&system.ingest_admin_url).await?;
    metric(&text, "write_behind_cache_incomplete_shards").context("the series exists")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_redis_is_emptied_under_load_and_nothing_that_was_logged_is_lost() -> Result<()> {
    let system = prepared(Servers::own()?)?.up().await?;
    let (load, one) = (Load::start(&system.ingest_url, 8, 100, SEED), OneByOne::start(&system));
    for _ in 0..3 {
        while_acknowledging(&load, 200).await?;
        let before = epoch(&system).await?;
        system.redis::<()>(&["FLUSHALL"], &[]).await?;
        system.eventually("a new life is noticed", async || Ok(epoch(&system).await? > before)).await?;
    }
    while_acknowledging(&load, 200).await?;
    one.finish(&system).await?;
    let journal = load.finish().await?;
    settled(&system, &journal).await?;
    system.eventually("the doubt ends by itself", async || Ok(incomplete(&system).await? == 0.0)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_redis_is_restarted_under_load_and_nothing_that_was_acknowledged_is_lost() -> Result<()> {
    let system = prepared(Servers::own()?)?.up().await?;
    // Else up to two seconds of what was acknowledged may be gone, and this is about a restart that keeps its data.
    system.redis::<()>(&["CONFIG", "SET", "appendfsync", "always"], &[]).await?;
    let (load, one) = (Load::start(&system.ingest_url, 8, 100, SEED), OneByOne::start(&system));
    while_acknowledging(&load, 200).await?;
    let before = epoch(&system).await?;
    system.servers.redis.kill()?;
    system.servers.redis.restart()?;
    while_acknowledging(&load, 200).await?;
    assert!(epoch(&system).await? > before, "another run_id is another life");
    one.finish(&system).await?;
    let journal = load.finish().await?;
    settled(&system, &journal).await
}

/// `k24`: what was logged before the loss is not in the cache. Until the table has it, nobody may believe that it knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r16_the_cache_is_incomplete_until_the_table_has_what_it_lost() -> Result<()> {
    let mut system = System::prepare(Servers::own()?)?
        .with("ANSWER_DEADLINE_MS", "1000")
        .with("PRODUCE_DEADLINE_MS", "1200")
        .with("RELAY_AFTER_MS", "1400")
        .with("SWEEP_AFTER_MS", "1600")
        .with("INCOMPLETE_GRACE_MS", "2300")
        .with("FILL_LEASE_MS", "2000");
    system.migrate()?;
    system.start_ingest().await?;
    let answer = system.put("users", "1", &json!({ "name": "Ada", "age": 36 })).await?;
    assert_eq!(answer["state"], "logged");
    let before = epoch(&system).await?;
    system.redis::<()>(&["FLUSHALL"], &[]).await?;
    system
        .eventually("the loss is noticed", async || {
            system.call(Method::GET, "/users/1", None).await?;
            Ok(epoch(&system).await? > before && incomplete(&system).await? == 16.0)
        })
        .await?;
    // The grace is long over, and rounds have passed: only the table is missing.
    tokio::time::sleep(Duration::from_millis(2300 + 2 * 3500)).await;
    assert_eq!(incomplete(&system).await?, 16.0, "the group has not passed what was logged before the loss");
    // An entity of a newer build: whether its topic is drained, this one does not know.
    let root = Box::pin(sqlx::MySqlPool::connect(&system.accounts.root)).await?;
    let newer = "INSERT INTO _write_behind_entities (entity, partitions) VALUES ('newer', 1)";
    sqlx::query(newer).execute(&root).await?;
    system.start_persister().await?;
    system
        .eventually("the table has it", async || {
            let shown = system.call(Method::GET, "/users/1", None).await?;
            Ok(shown.headers().get("write-behind-state").is_some_and(|state| state == "persisted"))
        })
        .await?;
    tokio::time::sleep(Duration::from_millis(2 * 3500)).await;
    assert_eq!(incomplete(&system).await?, 16.0, "an older ingest ends the doubt about what it does not know");
    sqlx::query("DELETE FROM _write_behind_entities WHERE entity = 'newer'").execute(&root).await?;
    system.eventually("the cache is complete again", async || Ok(incomplete(&system).await? == 0.0)).await
}

/// R15: a persister that cannot keep its settles says so at the next contact, and the sweep settles what it could not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_settles_that_find_no_room_raise_the_epoch_when_redis_is_there_again() -> Result<()> {
    let mut system = prepared(Servers::own()?)?;
    system.migrate()?;
    system.start_ingest().await?;
    for id in 0..40 {
        system.put("users", &id.to_string(), &json!({ "name": "Ada", "age": 36 })).await?;
    }
    let before = epoch(&system).await?;
    system.servers.redis.pause()?;
    let spec = system.persister_spec(&system.persister_admin_url).env("SETTLES_MOST", "1");
    system.persister = Some(Process::spawn(&spec, Lifetime::Attached)?);
    system
        .eventually("settles find no room", async || {
            let text = system.metrics(&system.persister_admin_url).await.unwrap_or_default();
            Ok(metric(&text, "write_behind_settles_dropped_total") > Some(0.0))
        })
        .await?;
    system.servers.redis.resume()?;
    system.eventually("the epoch is raised", async || Ok(epoch(&system).await? > before)).await?;
    system
        .eventually("the sweep settles what the persister could not", async || {
            let text = system.metrics(&system.ingest_admin_url).await?;
            Ok(metric(&text, "write_behind_unsettled_entries") == Some(0.0))
        })
        .await?;
    assert_eq!(incomplete(&system).await?, 0.0, "nothing was lost");
    Ok(())
}

/// `k40`, the half without Redis: it has changed, and is away before T is over. What was issued before the loss may still be above
/// what any clock says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r2_k40_for_t_after_a_change_no_version_is_issued_without_redis_either() -> Result<()> {
    let redis: &'static Redis =
        Box::leak(Box::new(Redis::start(&Tools::find(), &Place::attached(shared::scratch("redis")))?));
    let quiet = Duration::from_secs(4);
    let mut system = prepared(Servers { redis, ..Servers::shared() })?
        .with("REDIS_TIMEOUT_MS", "4000")
        .with("ANSWER_DEADLINE_MS", "4500")
        .with("PRODUCE_DEADLINE_MS", "5000")
        .with("RELAY_AFTER_MS", "5500")
        .with("SWEEP_AFTER_MS", "6000")
        .with("INCOMPLETE_GRACE_MS", "10000")
        .with("STALL_AFTER_MS", "100000")
        .with("INSTANCE_SLOT", "5");
    system.migrate()?;
    system.start_ingest().await?;
    let body = json!({ "name": "Ada", "age": 36 });
    ensure!(system.put("users", "1", &body).await?["state"] == "logged");
    let (before, flushed) = (epoch(&system).await?, Instant::now());
    system.redis::<()>(&["FLUSHALL"], &[]).await?;
    system
        .eventually("a new life is noticed", async || {
            system.call(Method::GET, "/users/1", None).await?;
            Ok(epoch(&system).await? > before)
        })
        .await?;
    redis.kill()?;
    // A write whose reply is lost would wait for T by itself (R8).
    system
        .eventually("Redis is known to be away", async || {
            let text = system.metrics(&system.ingest_admin_url).await?;
            Ok(metric(&text, "write_behind_dependency_up{dependency=\"redis\"}") == Some(0.0))
        })
        .await?;
    let mut refused = 0;
    loop {
        let answer = system.call(Method::PUT, "/users/1", Some(&body)).await?;
        let (status, told, since) = (answer.status(), answer.json::<Value>().await?, flushed.elapsed());
        if status.is_success() {
            ensure!(since > quiet, "a version was issued without Redis {since:?} after it had changed: {told}");
            ensure!(told["version"].as_u64().is_some_and(|version| version % 16 == 5), "not without Redis: {told}");
            break;
        }
        ensure!(status == 503 && since < Duration::from_secs(20), "{status} after {since:?}: {told}");
        refused += u32::from(told["type"] == "urn:write-behind:problem:cache-changed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ensure!(refused > 0, "it was over before anybody asked: this shows nothing");
    Ok(())
}
