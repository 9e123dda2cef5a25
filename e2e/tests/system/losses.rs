//! R15 and R16 as clients with preconditions and keys meet them: Redis loses what it had, and nobody overwrites unseen what was
//! acknowledged before.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::system::metric;
use e2e::{Servers, System};
use futures_util::future::join_all;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use stack::{Lifetime, Place, Process, Redis, Tools, shared};

use crate::answers::header;

/// With a Redis of its own, and times short enough to wait for.
fn prepared() -> Result<System> {
    let redis: &'static Redis =
        Box::leak(Box::new(Redis::start(&Tools::find(), &Place::attached(shared::scratch("redis")))?));
    Ok(System::prepare(Servers { redis, ..Servers::shared() })?
        .with("ANSWER_DEADLINE_MS", "1000")
        .with("PRODUCE_DEADLINE_MS", "1200")
        .with("RELAY_AFTER_MS", "1400")
        .with("SWEEP_AFTER_MS", "1600")
        .with("INCOMPLETE_GRACE_MS", "2300")
        .with("FILL_LEASE_MS", "2000"))
}

async fn send(system: &System, method: Method, path: &str, age: u64, header: (&str, &str)) -> Result<Response> {
    let request = system.client.request(method, format!("{}{path}", system.ingest_url)).header(header.0, header.1);
    Ok(request.json(&json!({ "name": "Ada", "age": age })).send().await?)
}

/// A plain write, and the ETag that it got.
async fn put(system: &System, id: &str, age: u64) -> Result<String> {
    let body = json!({ "name": "Ada", "age": age });
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = system.call(Method::PUT, &format!("/users/{id}"), Some(&body)).await?;
        if answer.status() == 202 {
            return Ok(header(&answer, "etag"));
        }
        ensure!(Instant::now() < until, "{}", answer.text().await?);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn persisted(system: &System, id: &str, age: u64) -> Result<()> {
    let table = system.table().await?;
    system
        .eventually(&format!("{id} is in the table with age {age}"), async || {
            let held: Option<i64> = sqlx::query_scalar("SELECT CAST(age AS SIGNED) FROM users WHERE id = ?")
                .bind(id)
                .fetch_optional(&table)
                .await?;
            let state = header(&system.call(Method::GET, &format!("/users/{id}"), None).await?, "write-behind-state");
            Ok(held == i64::try_from(age).ok() && state == "persisted")
        })
        .await
}

/// Somebody who has read a version that was overwritten since is never told that he has replaced it. Until it can be decided he
/// is told to wait; in the end, which version there is.
async fn stale(system: &System, id: &str, read: &str, until: Option<&str>) -> Result<()> {
    let begun = Instant::now();
    loop {
        let answer = send(system, Method::PUT, &format!("/users/{id}"), 66, ("If-Match", read)).await?;
        let (status, there) = (answer.status().as_u16(), header(&answer, "etag"));
        ensure!([412, 503].contains(&status), "{id}: a stale If-Match was answered {status}: {}", answer.text().await?);
        match until {
            None if begun.elapsed() > Duration::from_secs(5) => return Ok(()),
            None => ensure!(status == 503, "{id} was decided although the table lacks what was acknowledged: {there}"),
            Some(newest) if status == 412 => {
                ensure!(there == newest, "{id}: {there} instead of {newest}");
                return Ok(());
            }
            Some(_) => ensure!(begun.elapsed() < Duration::from_secs(30), "{id}: still 503"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn epoch(system: &System) -> Result<u64> {
    let epoch: Option<u64> = system.redis(&["HGET"], &["wb:{00}:epoch".to_owned(), "n".to_owned()]).await?;
    Ok(epoch.unwrap_or(0))
}

/// Everything that stands in Redis.
async fn snapshot(system: &System) -> Result<Vec<(String, Vec<u8>)>> {
    let mut connection = redis::Client::open(&*system.redis_url)?.get_multiplexed_async_connection().await?;
    let keys: Vec<String> = redis::cmd("KEYS").arg("wb:*").query_async(&mut connection).await?;
    let mut all = Vec::new();
    for key in keys {
        if let Some(bytes) = redis::cmd("DUMP").arg(&key).query_async(&mut connection).await? {
            all.push((key, bytes));
        }
    }
    Ok(all)
}

/// A failover to a replica that had come this far: its data, and another run_id than the one that stands in it.
async fn fail_over(system: &System, replica: &[(String, Vec<u8>)]) -> Result<()> {
    let mut connection = redis::Client::open(&*system.redis_url)?.get_multiplexed_async_connection().await?;
    let mut all = redis::pipe();
    all.atomic().cmd("FLUSHDB").ignore();
    for (key, bytes) in replica {
        all.cmd("RESTORE").arg(key).arg(0).arg(bytes).ignore();
        if key.ends_with(":epoch") {
            all.cmd("HSET").arg(key).arg("run_id").arg("another").ignore();
        }
    }
    let () = all.query_async(&mut connection).await?;
    Ok(redis::cmd("CLIENT")
        .arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"])
        .query_async::<i64>(&mut connection)
        .await
        .map(drop)?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r16_k17_k21_k24_no_stale_if_match_passes_after_redis_lost_what_was_acknowledged() -> Result<()> {
    let mut system = prepared()?.up().await?;
    for failover in [false, true] {
        let (settled, unsettled) = (format!("settled-{failover}"), format!("unsettled-{failover}"));
        let settled_first = put(&system, &settled, 1).await?;
        persisted(&system, &settled, 1).await?;
        system.persister.take().context("a persister")?.kill()?;
        let unsettled_first = put(&system, &unsettled, 1).await?;
        let replica = snapshot(&system).await?;
        let settled_second = put(&system, &settled, 2).await?;
        let unsettled_second = put(&system, &unsettled, 2).await?;
        let before = epoch(&system).await?;
        if failover {
            fail_over(&system, &replica).await?;
        } else {
            system.redis::<()>(&["FLUSHALL"], &[]).await?;
        }
        let noticed = async || {
            system.call(Method::GET, &format!("/users/{settled}"), None).await?;
            Ok(epoch(&system).await? > before)
        };
        system.eventually("a new life is noticed", noticed).await?;
        let records = [(&settled, &settled_first, &settled_second), (&unsettled, &unsettled_first, &unsettled_second)];
        for told in join_all(records.map(|(id, first, _)| stale(&system, id, first, None))).await {
            told.with_context(|| format!("failover: {failover}"))?;
        }
        system.start_persister().await?;
        for (id, first, second) in records {
            stale(&system, id, first, Some(second)).await.with_context(|| format!("failover: {failover}"))?;
            let replaced = send(&system, Method::PUT, &format!("/users/{id}"), 3, ("If-Match", second)).await?;
            ensure!(replaced.status() == 202, "{}", replaced.text().await?);
        }
    }
    Ok(())
}

/// `k20`: written past Redis, and the settle that would have told it is given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_k20_no_stale_if_match_passes_after_a_write_past_redis_whose_settle_was_lost() -> Result<()> {
    let mut system = prepared()?;
    system.migrate()?;
    system.start_ingest().await?;
    let spec = system.persister_spec(&system.persister_admin_url).env("SETTLES_MOST", "1");
    let persister = Process::spawn(&spec, Lifetime::Attached)?;
    system.ready(&persister, &system.persister_admin_url).await?;
    system.persister = Some(persister);
    let ids: Vec<_> = (0..12).map(|n| format!("k20-{n}")).collect();
    let mut firsts = Vec::new();
    for id in &ids {
        firsts.push(put(&system, id, 1).await?);
    }
    for id in &ids {
        persisted(&system, id, 1).await?;
    }
    system.servers.redis.pause()?;
    let seconds = join_all(ids.iter().map(|id| put(&system, id, 2))).await;
    let dropped = async || {
        let text = system.metrics(&system.persister_admin_url).await?;
        Ok(metric(&text, "write_behind_settles_dropped_total") > Some(0.0))
    };
    let dropped = system.eventually("settles are given up", dropped).await;
    system.servers.redis.resume()?;
    dropped?;
    for told in join_all(ids.iter().zip(firsts.iter().zip(&seconds)).map(async |(id, (first, second))| {
        let second = second.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
        stale(&system, id, first, Some(second)).await
    }))
    .await
    {
        told?;
    }
    Ok(())
}

/// R5: the key is forgotten with the rest of Redis; the id that was made of it is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_r16_a_post_with_a_key_that_redis_forgot_overwrites_nothing() -> Result<()> {
    let system = prepared()?.up().await?;
    let key = ("Idempotency-Key", "order-17");
    let first = send(&system, Method::POST, "/users", 1, key).await?;
    ensure!(first.status() == 202, "{}", first.text().await?);
    let path = header(&first, "location");
    let id = path.rsplit('/').next().context("an id")?;
    let second = put(&system, id, 2).await?;
    persisted(&system, id, 2).await?;
    system.redis::<()>(&["FLUSHALL"], &[]).await?;
    let until = Instant::now() + Duration::from_secs(30);
    let mut in_doubt = 0;
    let again = loop {
        let again = send(&system, Method::POST, "/users", 1, key).await?;
        if again.status().is_success() {
            break again;
        }
        let (status, body) = (again.status().as_u16(), again.json::<Value>().await?);
        ensure!(status == 503 && Instant::now() < until, "{status}: {body}");
        in_doubt += u32::from(body["type"] == "urn:write-behind:problem:cache-incomplete");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(in_doubt > 0, "R16: nobody said that it cannot be decided in doubt");
    let told = (header(&again, "idempotent-replayed"), header(&again, "etag"));
    assert_eq!(told, ("true".to_owned(), second), "R5: a request that came again has replaced what is newer");
    assert_eq!(header(&again, "location"), path);
    let read: Value = system.call(Method::GET, &path, None).await?.json().await?;
    assert_eq!(read["age"], 2, "newer data was destroyed");
    Ok(())
}
