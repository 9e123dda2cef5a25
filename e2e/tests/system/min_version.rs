//! `Min-Version`: no answer is ever older than what it says, whatever becomes of the cache meanwhile. Writers and readers on few
//! records, through two processes; every answer is held against what its client had seen or heard of before.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::{Servers, System};
use futures_util::future::join_all;
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};
use stack::{Place, Redis, Tools, shared};

use crate::answers::kind;
use crate::every_type::{forget, until_persisted};
use crate::growth::Beside;

const IDS: usize = 4;

async fn at_least(system: &System, path: &str, headers: &[(&str, &str)]) -> Result<Response> {
    let request = system.client.get(format!("{}{path}", system.ingest_url));
    Ok(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_waits_for_the_version_it_is_to_have_and_says_so_when_it_does_not_come() -> Result<()> {
    let mut system = System::start().await?;
    let version = system.put("users", "1", &json!({ "name": "Ada", "age": 1 })).await?["version"].clone();
    for shape in [version.to_string(), format!("\"{version}\"")] {
        assert_eq!(at_least(&system, "/users/1", &[("Min-Version", &shape)]).await?.status(), 200, "{shape}");
    }
    assert_eq!(at_least(&system, "/users/1", &[("Min-Version", "latest")]).await?.status(), 400);
    until_persisted(&system, "/users/1").await?;
    system.persister.take().context("a persister")?.stop(e2e::system::PATIENCE)?;
    let newer = system.put("users", "1", &json!({ "name": "Ada", "age": 2 })).await?["version"].to_string();
    // As after a loss: the topic alone has it.
    forget(&system, "users:1").await?;
    let begun = Instant::now();
    let asked = [("Min-Version", &*newer), ("Prefer", "wait=1")];
    let late = at_least(&system, "/users/1", &asked).await?;
    assert!(late.headers().contains_key("retry-after"));
    assert_eq!(kind(late).await?, (503, "not-there-yet".to_owned()));
    assert!((900..5000).contains(&begun.elapsed().as_millis()), "it waits as long as it may: {:?}", begun.elapsed());
    assert_eq!(at_least(&system, "/users/1", &[("Min-Version", &version.to_string())]).await?.status(), 200);
    let nobody = at_least(&system, "/users/nobody", &[("Min-Version", &newer), ("Prefer", "wait=0")]).await?;
    assert_eq!(kind(nobody).await?, (503, "not-there-yet".to_owned()), "what never was is older than everything");
    let asked = [("Min-Version", &*newer)];
    let (read, started) = futures_util::join!(at_least(&system, "/users/1", &asked), async {
        let mut second = again(&system)?;
        second.start_persister().await?;
        anyhow::Ok(second)
    });
    let (read, second) = (read?, started?);
    assert_eq!(read.headers()["etag"], format!("\"{newer}\""), "it came while the read waited");
    // Deleted: a tombstone counts by its version, and 404 tells it.
    let deleted = system.call(Method::DELETE, "/users/1", None).await?.json::<Value>().await?["version"].clone();
    for cached in [true, false] {
        let gone = at_least(&system, "/users/1", &[("Min-Version", &deleted.to_string())]).await?;
        assert_eq!(gone.status(), 404, "cached: {cached}");
        assert_eq!(gone.json::<Value>().await?["version"], deleted, "cached: {cached}");
        if cached {
            let sql = "SELECT CAST(version AS CHAR) FROM users WHERE id = '1' AND deleted";
            let table = system.table().await?;
            let there = async || {
                let row: Option<String> = sqlx::query_scalar(sql).fetch_optional(&table).await?;
                Ok(row == Some(deleted.to_string()))
            };
            system.eventually("the tombstone is in the table", there).await?;
            forget(&system, "users:1").await?;
        }
    }
    // Purged: the mark stands for it.
    let mark = deleted.as_u64().context("a version")? | 15;
    let root = Box::pin(sqlx::MySqlPool::connect(&system.accounts.root)).await?;
    sqlx::query("UPDATE _write_behind_entities SET purged = ? WHERE entity = 'users'")
        .bind(mark)
        .execute(&root)
        .await?;
    sqlx::query("DELETE FROM users WHERE id = '1'").execute(&root).await?;
    forget(&system, "users:1").await?;
    assert_eq!(at_least(&system, "/users/1", &[("Min-Version", &deleted.to_string())]).await?.status(), 404);
    drop(second);
    Ok(())
}

/// The same system, to start another of its processes.
pub(crate) fn again(system: &System) -> Result<System> {
    let mut other = System::prepare(system.servers)?;
    other.accounts = system.accounts.clone();
    other.redis_url.clone_from(&system.redis_url);
    other.topic_prefix.clone_from(&system.topic_prefix);
    other.group.clone_from(&system.group);
    Ok(other)
}

/// What all clients have done and seen.
#[derive(Default)]
struct History {
    /// Per record, the newest version that a writer was answered `logged` or more: what a client may have heard of.
    announced: [AtomicU64; IDS],
    /// The content of a version, where its writer was answered; `None`: it was a deletion.
    written: Mutex<HashMap<(usize, u64), Option<u64>>>,
    read: AtomicU64,
    late: AtomicU64,
    faults: Mutex<Vec<String>>,
}

struct Someone<'h> {
    history: &'h History,
    http: Client,
    urls: [String; 2],
    number: u64,
    step: u64,
    seen: [u64; IDS],
}

impl Someone<'_> {
    /// Small, and the same in every run.
    fn dice(&mut self, sides: u64) -> u64 {
        self.step += 1;
        let mixed = (self.number * 1_000_003 + self.step).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> 33) % sides
    }

    fn url(&mut self, id: usize) -> String {
        let at = usize::from(self.dice(2) == 1);
        format!("{}/users/h{id}", self.urls[at])
    }

    async fn write(&mut self, id: usize) {
        let age = self.dice(150);
        let delete = self.dice(4) == 0;
        let url = self.url(id);
        let request =
            if delete { self.http.delete(url) } else { self.http.put(url).json(&json!({ "name": "Ada", "age": age })) };
        let Ok(answer) = request.send().await else { return };
        if !answer.status().is_success() {
            return;
        }
        let Ok(body) = answer.json::<Value>().await else { return };
        // What rests on Redis alone goes with it.
        let (Some(version), true) = (body["version"].as_u64(), body["state"] != "cached") else { return };
        self.history.written.lock().unwrap().insert((id, version), (!delete).then_some(age));
        self.history.announced[id].fetch_max(version, Ordering::SeqCst);
        self.seen[id] = self.seen[id].max(version);
    }

    async fn read(&mut self, id: usize) {
        let least = self.seen[id].max(self.history.announced[id].load(Ordering::SeqCst));
        if least == 0 {
            return;
        }
        let url = self.url(id);
        let Ok(answer) = self.http.get(url).header("Min-Version", least).send().await else { return };
        let (status, tag) = (answer.status(), answer.headers().get("etag").cloned());
        let Ok(body) = answer.json::<Value>().await else { return };
        let version = match status {
            StatusCode::OK => tag.and_then(|tag| tag.to_str().ok()?.trim_matches('"').parse::<u64>().ok()),
            StatusCode::NOT_FOUND => body["version"].as_u64(),
            _ => {
                self.history.late.fetch_add(1, Ordering::SeqCst);
                return;
            }
        };
        self.history.read.fetch_add(1, Ordering::SeqCst);
        let known = version.and_then(|version| self.history.written.lock().unwrap().get(&(id, version)).copied());
        let shown = (status == StatusCode::OK).then(|| body["age"].as_u64()).flatten();
        if version.is_none_or(|version| version < least) {
            let fault = format!("h{id}: {status} {version:?} was answered to Min-Version {least}");
            self.history.faults.lock().unwrap().push(fault);
        } else if known.is_some_and(|known| known != shown) {
            let fault = format!("h{id}: version {version:?} is {known:?} and was shown as {shown:?}");
            self.history.faults.lock().unwrap().push(fault);
        }
        self.seen[id] = self.seen[id].max(version.unwrap_or(0));
    }

    async fn live(mut self, writes: bool, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let id = usize::try_from(self.dice(IDS as u64)).unwrap_or(0);
            if writes {
                self.write(id).await;
            }
            self.read(id).await;
            tokio::time::sleep(Duration::from_millis(5 + self.dice(30))).await;
        }
    }
}

/// The cache is emptied, restarted and emptied again in between, and what is settled expires.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_is_older_than_its_min_version_whatever_becomes_of_the_cache() -> Result<()> {
    let redis: &'static Redis =
        Box::leak(Box::new(Redis::start(&Tools::find(), &Place::attached(shared::scratch("redis")))?));
    let mut system = System::prepare(Servers { redis, ..Servers::shared() })?;
    for (name, value) in [
        ("ANSWER_DEADLINE_MS", "600"),
        ("PRODUCE_DEADLINE_MS", "1200"),
        ("RELAY_AFTER_MS", "1300"),
        ("SWEEP_AFTER_MS", "1500"),
        ("SETTLED_TTL_S", "2"),
        ("FILL_LEASE_MS", "1000"),
        ("INCOMPLETE_GRACE_MS", "1900"),
        ("WAIT_MOST_S", "3"),
    ] {
        system = system.with(name, value);
    }
    let system = system.up().await?;
    let beside = Beside::start(&system, system.ingest_spec()).await?;
    let (history, stop) = (History::default(), AtomicBool::new(false));
    let clients = join_all((0..8).map(|number| {
        let someone = Someone {
            history: &history,
            http: system.client.clone(),
            urls: [system.ingest_url.clone(), beside.url.clone()],
            number,
            step: 0,
            seen: [0; IDS],
        };
        someone.live(number < 3, &stop)
    }));
    let losing = async {
        // Answered reads are what shows something: each loss comes when there were enough.
        let more = async |reads: u64| -> Result<()> {
            let (begun, until) = (history.read.load(Ordering::SeqCst), Instant::now() + e2e::system::PATIENCE);
            while history.read.load(Ordering::SeqCst) < begun + reads {
                ensure!(Instant::now() < until, "reads are not answered any more");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        };
        let done = async {
            for round in 0..6 {
                more(200).await?;
                if round % 3 == 1 {
                    redis.kill()?;
                    redis.restart()?;
                } else {
                    system.redis::<()>(&["FLUSHDB"], &[]).await?;
                }
            }
            more(200).await
        };
        let done = done.await;
        stop.store(true, Ordering::Relaxed);
        done
    };
    let ((), done) = futures_util::join!(async { drop(clients.await) }, losing);
    let (read, late) = (history.read.load(Ordering::SeqCst), history.late.load(Ordering::SeqCst));
    println!("{read} answers checked, {late} refused");
    let faults = history.faults.lock().unwrap();
    assert!(faults.is_empty(), "{} of {read} answers, such as {:?}", faults.len(), faults.first());
    drop(faults);
    done?;
    let deleted = history.written.lock().unwrap().values().filter(|age| age.is_none()).count();
    ensure!(deleted > 5, "only {deleted} deletions");
    Ok(())
}
