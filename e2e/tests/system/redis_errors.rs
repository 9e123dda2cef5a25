//! What Redis really answers when it cannot: what a client sees meanwhile, that writes are taken again by themselves soon
//! after, and that nothing acknowledged is lost.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::journal::Load;
use e2e::{Servers, System};
use redis::Connection;
use reqwest::Method;
use serde_json::{Value, json};
use stack::{Place, Redis, Tools, shared};

use crate::faults::{prepared, settled, while_acknowledging};

/// How often which status came, with the last part of the problem's type where there is one.
type Seen = BTreeMap<(u16, String), u32>;

struct Hurt {
    system: System,
    load: Load,
    admin: Connection,
}

impl Hurt {
    async fn begin() -> Result<Self> {
        let place = Place::attached(shared::scratch("redis"));
        let redis: &'static Redis = Box::leak(Box::new(Redis::start(&Tools::find(), &place)?));
        let system = prepared(Servers { redis, ..Servers::shared() })?.up().await?;
        let load = Load::start(&system.ingest_url, 4, 50, 3);
        while_acknowledging(&load, 100).await?;
        let admin = redis::Client::open(redis.url(0))?.get_connection()?;
        Ok(Self { system, load, admin })
    }

    fn admin(&mut self, command: &str) -> Result<redis::Value> {
        let mut words = command.split(' ');
        let mut call = redis::cmd(words.next().context("a command")?);
        call.arg(words.collect::<Vec<_>>());
        call.query(&mut self.admin).with_context(|| command.to_owned())
    }

    /// What a client is told for a while.
    async fn seen(&self, time: Duration) -> Result<Seen> {
        let (mut seen, until) = (Seen::new(), Instant::now() + time);
        while Instant::now() < until {
            let body = json!({ "name": "Jane", "age": 1 });
            let answer = self.system.call(Method::PUT, "/users/asked", Some(&body)).await?;
            let (status, again) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
            let body: Value = answer.json().await?;
            let kind = body["type"].as_str().and_then(|uri| uri.rsplit(':').next()).unwrap_or_default().to_owned();
            ensure!(again || status != 503, "503 {kind} without Retry-After");
            *seen.entry((status, kind)).or_default() += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(seen)
    }

    /// Never anything but: accepted, refused with a time to try again, or said to be unknown.
    async fn told(&self, what: &str) -> Result<Seen> {
        let seen = self.seen(Duration::from_millis(1500)).await?;
        ensure!(seen.keys().all(|(status, _)| [202, 503, 504].contains(status)), "{what}: {seen:?}");
        Ok(seen)
    }

    /// By itself, within 10 s.
    async fn heals(&self, what: &str) -> Result<()> {
        let since = Instant::now();
        while !self.seen(Duration::from_millis(300)).await?.keys().all(|(status, _)| *status == 202) {
            ensure!(since.elapsed() < Duration::from_secs(10), "{what}: writes are still refused 10 s after");
        }
        while_acknowledging(&self.load, 50).await.with_context(|| what.to_owned())
    }

    async fn end(self) -> Result<()> {
        while_acknowledging(&self.load, 200).await?;
        // Not the journal's.
        let forgotten = self.system.call(Method::DELETE, "/users/asked", None).await?;
        ensure!(forgotten.status() == 202, "{}", forgotten.text().await?);
        let journal = self.load.finish().await?;
        settled(&self.system, &journal).await
    }
}

/// Redis said that nothing happened, so the client is not to be left in doubt. A machine that is slow for a moment may leave
/// it so now and then.
fn clear(what: &str, seen: &Seen) {
    let doubtful = seen.get(&(504, "outcome-unknown".to_owned())).copied().unwrap_or_default();
    let all: u32 = seen.values().sum();
    assert!(
        all > 0 && doubtful * 4 < all,
        "{what} says that nothing happened, and the client is told otherwise: {seen:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_without_memory_is_told_as_full_and_takes_writes_again_by_itself() -> Result<()> {
    let mut hurt = Hurt::begin().await?;
    hurt.admin("CONFIG SET maxmemory 1mb")?;
    let seen = hurt.told("OOM").await?;
    assert_eq!(seen.into_keys().collect::<Vec<_>>(), [(503, "full".to_owned())]);
    hurt.admin("CONFIG SET maxmemory 512mb")?;
    hurt.heals("OOM").await?;
    hurt.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_redis_refuses_is_answered_at_once_and_heals_by_itself() -> Result<()> {
    let mut hurt = Hurt::begin().await?;

    // A snapshot that cannot be written, as on a full disk: its name is taken by a folder.
    let folder = match hurt.admin("CONFIG GET dir")? {
        redis::Value::Array(pair) => redis::from_redis_value::<Vec<String>>(redis::Value::Array(pair))?,
        other => anyhow::bail!("{other:?}"),
    };
    let taken = PathBuf::from(folder.last().context("a folder")?).join("dump.rdb");
    std::fs::create_dir(&taken)?;
    std::fs::write(taken.join("in-the-way"), "")?;
    hurt.admin("CONFIG SET save 3600 1").or_else(|_| {
        redis::cmd("CONFIG").arg("SET").arg("save").arg("3600 1").query(&mut hurt.admin).map_err(anyhow::Error::from)
    })?;
    hurt.admin("BGSAVE")?;
    let until = Instant::now() + Duration::from_secs(10);
    while !redis::from_redis_value::<String>(hurt.admin("INFO persistence")?)?.contains("rdb_last_bgsave_status:err") {
        ensure!(Instant::now() < until, "the snapshot succeeds");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // R8: for plain writes it is away, with all that R4 demands. Only what has a key or a precondition needs Redis.
    let seen = hurt.told("MISCONF").await?;
    assert_eq!(seen.into_keys().collect::<Vec<_>>(), [(202, String::new())], "G5: one store away, and Kafka is there");
    let answer = hurt.system.client.put(format!("{}/users/none", hurt.system.ingest_url)).header("If-None-Match", "*");
    let answer = answer.json(&json!({ "name": "Jane", "age": 1 })).send().await?;
    assert_eq!(answer.status(), 503, "{}", answer.text().await?);
    std::fs::remove_dir_all(&taken)?;
    let () = redis::cmd("CONFIG").arg("SET").arg("save").arg("").query(&mut hurt.admin)?;
    hurt.heals("MISCONF").await?;

    hurt.admin("REPLICAOF 127.0.0.1 1")?;
    let seen = hurt.told("READONLY").await?;
    clear("READONLY", &seen);
    hurt.admin("REPLICAOF NO ONE")?;
    hurt.heals("READONLY").await?;

    for _ in 0..10 {
        hurt.admin("SCRIPT FLUSH")?;
        let seen = hurt.seen(Duration::from_millis(100)).await?;
        assert!(seen.keys().all(|(status, _)| *status == 202), "NOSCRIPT concerns nobody: {seen:?}");
    }

    hurt.admin("ACL SETUSER default -@scripting")?;
    let seen = hurt.told("NOPERM").await?;
    clear("NOPERM", &seen);
    hurt.admin("ACL SETUSER default +@all")?;
    hurt.heals("NOPERM").await?;

    hurt.admin("CONFIG SET busy-reply-threshold 50")?;
    let url = hurt.system.servers.redis.url(0);
    let script = std::thread::spawn(move || -> redis::RedisResult<()> {
        redis::cmd("EVAL").arg("while true do end").arg(0).query(&mut redis::Client::open(url)?.get_connection()?)
    });
    let seen = hurt.told("BUSY").await?;
    clear("BUSY", &seen);
    hurt.admin("SCRIPT KILL")?;
    assert!(script.join().is_ok_and(|ended| ended.is_err()), "nothing was in Redis' way");
    hurt.heals("BUSY").await?;
    hurt.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_loads_its_data_is_away_until_it_has() -> Result<()> {
    let mut hurt = Hurt::begin().await?;
    while_acknowledging(&hurt.load, 500).await?;
    hurt.admin("CONFIG SET key-load-delay 1500 loading-process-events-interval-bytes 1024")?;
    hurt.admin("CONFIG REWRITE")?;
    let redis = hurt.system.servers.redis;
    redis.kill()?;
    let starting = std::thread::spawn(|| redis.restart());
    let url = redis.url(0);
    let loads = || -> redis::RedisResult<()> {
        redis::cmd("PING").query(&mut redis::Client::open(url.as_str())?.get_connection()?)
    };
    let until = Instant::now() + Duration::from_secs(10);
    while !loads().is_err_and(|error| error.code() == Some("LOADING")) {
        ensure!(Instant::now() < until && !starting.is_finished(), "it has loaded already");
    }
    let seen = hurt.told("LOADING").await?;
    assert!(!starting.is_finished(), "it has loaded already");
    clear("LOADING", &seen);
    starting.join().map_err(|_| anyhow::anyhow!("the thread died"))??;
    hurt.heals("LOADING").await?;
    hurt.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_flushed_or_comes_back_empty_loses_nothing_that_was_logged() -> Result<()> {
    let mut hurt = Hurt::begin().await?;
    for _ in 0..3 {
        hurt.admin("FLUSHALL")?;
        hurt.heals("flushed").await?;
    }
    let folder = redis::from_redis_value::<Vec<String>>(hurt.admin("CONFIG GET dir")?)?;
    let redis = hurt.system.servers.redis;
    redis.kill()?;
    for entry in std::fs::read_dir(folder.last().context("a folder")?)? {
        let path = entry?.path();
        if path.is_dir() {
            std::fs::remove_dir_all(path)?;
        }
    }
    redis.restart()?;
    hurt.heals("empty").await?;
    hurt.end().await
}
