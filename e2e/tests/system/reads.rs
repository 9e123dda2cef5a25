//! R12 on whole systems: a read is never older than what the cache knows unless Redis is away, and then it says so; readers
//! keep nobody from creating what they look for.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::{Servers, System};
use futures_util::future::{join, join_all};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use stack::{Lifetime, Place, Process, Redis, Tools, shared};

use crate::answers::header;

/// The table has age 1, the cache age 2, and nobody brings the one to the other.
async fn ahead_of_its_table() -> Result<System> {
    let redis: &'static Redis =
        Box::leak(Box::new(Redis::start(&Tools::find(), &Place::attached(shared::scratch("redis")))?));
    let mut system = System::prepare(Servers { redis, ..Servers::shared() })?.up().await?;
    system.put("users", "1", &json!({ "name": "Ada", "age": 1 })).await?;
    let first = async || Ok(header(&get(&system, "1").await?, "write-behind-state") == "persisted");
    system.eventually("the first version is in the table", first).await?;
    system.persister.take().context("a persister")?.kill()?;
    system.put("users", "1", &json!({ "name": "Ada", "age": 2 })).await?;
    Ok(system)
}

async fn get(system: &System, id: &str) -> Result<Response> {
    system.call(Method::GET, &format!("/users/{id}"), None).await
}

/// Which age was answered, and from where.
async fn told(answer: Response) -> Result<(Option<u64>, String)> {
    let source = header(&answer, "write-behind-source");
    Ok((answer.json::<Value>().await?["age"].as_u64(), source))
}

fn is(age: u64, source: &str) -> (Option<u64>, String) {
    (Some(age), source.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r12_a_read_waits_for_redis_and_asks_the_table_alone_only_where_redis_is_away() -> Result<()> {
    let system = ahead_of_its_table().await?;
    assert_eq!(told(get(&system, "1").await?).await?, is(2, "cache"));

    // Connections break, and Redis is there all the time.
    let (stop, reads) = (AtomicBool::new(false), AtomicU32::new(0));
    let reading = async || -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            let told = told(get(&system, "1").await?).await?;
            ensure!(told == is(2, "cache"), "older than what the cache has: {told:?}");
            reads.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    let breaking = async {
        for _ in 0..20 {
            system.redis::<()>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"], &[]).await?;
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        stop.store(true, Ordering::Relaxed);
        anyhow::Ok(())
    };
    let (read, broken) = join(join_all((0..4).map(|_| reading())), breaking).await;
    read.into_iter().collect::<Result<Vec<_>>>()?;
    broken?;
    assert!(reads.load(Ordering::Relaxed) > 50, "{reads:?} reads");

    never_met(&system).await?;

    // It hangs, which is known once it was not met again: the row is all that there is, and the answer says so.
    system.servers.redis.pause()?;
    let row = told(get(&system, "1").await?).await?;
    let missing = get(&system, "nobody").await?;
    let missing = (missing.status().as_u16(), header(&missing, "write-behind-source"));
    system.servers.redis.resume()?;
    assert_eq!(row, is(1, "table-unchecked"));
    assert_eq!(missing, (404, "table-unchecked".to_owned()));
    let back = async || Ok(told(get(&system, "1").await?).await? == is(2, "cache"));
    system.eventually("the cache is asked again", back).await
}

/// Before a process has met Redis it knows as little of it.
async fn never_met(system: &System) -> Result<()> {
    let mut other = System::prepare(system.servers)?.with("REDIS_TIMEOUT_MS", "1500");
    other.accounts = system.accounts.clone();
    other.topic_prefix.clone_from(&system.topic_prefix);
    other.redis_url.clone_from(&system.redis_url);
    system.servers.redis.pause()?;
    let starting = Process::spawn(&other.ingest_spec(), Lifetime::Attached)?;
    other
        .eventually("it listens", async || {
            Ok(tokio::net::TcpStream::connect(other.ingest_url.trim_start_matches("http://")).await.is_ok())
        })
        .await?;
    let resuming = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        system.servers.redis.resume()
    };
    let (read, resumed) = join(get(&other, "1"), resuming).await;
    resumed?;
    assert_eq!(told(read?).await?, is(2, "cache"), "before it has met Redis");
    other.ready(&starting, &other.ingest_admin_url).await?;

    // Whether it is away is not known by the deadline: 1.5 s for the call, as many for the next meeting.
    system.servers.redis.pause()?;
    let begun = Instant::now();
    let unknown = get(&other, "1").await;
    system.servers.redis.resume()?;
    let (unknown, took) = (unknown?, begun.elapsed());
    let (status, retry) = (unknown.status().as_u16(), header(&unknown, "retry-after"));
    let body: Value = unknown.json().await?;
    assert_eq!((status, retry.as_str()), (503, "1"), "{body}");
    assert_eq!(body["type"], "urn:write-behind:problem:cache-away");
    assert!((1900..3000).contains(&took.as_millis()), "after {took:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r12_readers_of_an_absent_record_do_not_keep_it_from_being_created_and_without_room_nobody_spins() -> Result<()>
{
    let redis: &'static Redis =
        Box::leak(Box::new(Redis::start(&Tools::find(), &Place::attached(shared::scratch("redis")))?));
    let system = System::prepare(Servers { redis, ..Servers::shared() })?.up().await?;
    let create = async |id: &str| {
        let request = system.client.put(format!("{}/users/{id}", system.ingest_url)).header("If-None-Match", "*");
        let begun = Instant::now();
        let answer = request.json(&json!({ "name": "Ada", "age": 1 })).send().await?;
        anyhow::Ok((answer, begun.elapsed()))
    };
    for id in ["n1", "n2", "n3"] {
        let stop = AtomicBool::new(false);
        let reading = async || -> Result<()> {
            while !stop.load(Ordering::Relaxed) {
                get(&system, id).await?;
            }
            Ok(())
        };
        let creating = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let (answer, took) = create(id).await?;
            stop.store(true, Ordering::Relaxed);
            let status = answer.status();
            ensure!(status == 202, "{id}: {status} after {took:?}: {}", answer.text().await?);
            Ok(())
        };
        let (created, read) = join(creating, join_all((0..24).map(|_| reading()))).await;
        created?;
        read.into_iter().collect::<Result<Vec<_>>>()?;
    }

    system.redis::<()>(&["CONFIG", "SET", "maxmemory", "1mb"], &[]).await?;
    let (full, took) = create("full").await?;
    let absent = get(&system, "absent").await?;
    system.redis::<()>(&["CONFIG", "SET", "maxmemory", "0"], &[]).await?;
    let status = full.status().as_u16();
    let body: Value = full.json().await?;
    assert_eq!((status, &body["type"]), (503, &json!("urn:write-behind:problem:full")), "{body}");
    assert!(took < Duration::from_secs(1), "told after {took:?}");
    assert_eq!((absent.status().as_u16(), &*header(&absent, "write-behind-source")), (404, "table"));
    Ok(())
}
