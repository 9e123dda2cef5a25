//! One store away, or two: what still is accepted, what it rests on, and that all of it arrives (PROTOCOL R4, R6, R8; G5).

mod link;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::journal::Load;
use e2e::system::metric;
use e2e::topic_reader::read_all;
use e2e::{Servers, System};
use futures_util::future::join_all;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use stack::{Place, Redis, Tools, shared};

use crate::answers::is;
use crate::faults::{prepared, settled, while_acknowledging};
use link::Link;

/// Twice --clock-skew-ms, and --redis-timeout-ms.
const TWO_D: Duration = Duration::from_millis(100);
const T: Duration = Duration::from_millis(500);

fn user(name: &str) -> Value {
    json!({ "name": name, "age": 1, "occupation": "client" })
}

/// A request with headers; the body of a PUT or POST is a user of this name.
async fn send(system: &System, method: Method, path: &str, name: &str, headers: &[(&str, &str)]) -> Result<Response> {
    let url = format!("{}{path}", system.ingest_url);
    let request =
        headers.iter().fold(system.client.request(method, url), |request, (name, value)| request.header(*name, *value));
    Ok(request.json(&user(name)).send().await?)
}

async fn put(system: &System, id: &str, headers: &[(&str, &str)]) -> Result<Response> {
    send(system, Method::PUT, &format!("/users/{id}"), "Ada", headers).await
}

/// The last part of a problem's type, and that a 503 says when to come again.
async fn kind(answer: Response) -> Result<(u16, String, Value)> {
    let (status, retry) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
    let body: Value = answer.json().await?;
    ensure!(status != 503 || retry, "a 503 without Retry-After: {body}");
    let kind = body["type"].as_str().and_then(|kind| kind.rsplit(':').next()).unwrap_or("none").to_owned();
    Ok((status, kind, body))
}

async fn refused(answer: Response) -> Result<(u16, String)> {
    kind(answer).await.map(|(status, kind, _)| (status, kind))
}

/// Waits until ingest knows whether it can reach this store.
async fn knows(system: &System, store: &str, up: bool) -> Result<()> {
    let series = format!("write_behind_dependency_up{{dependency=\"{store}\"}}");
    let expected = Some(f64::from(u8::from(up)));
    system
        .eventually(&format!("ingest knows that {store} is {}", if up { "there" } else { "away" }), async || {
            Ok(metric(&system.metrics(&system.ingest_admin_url).await?, &series) == expected)
        })
        .await
}

/// Versions with a slot in their low bits were made without Redis.
fn slot(body: &Value) -> Option<u64> {
    body["version"].as_u64().map(|version| version % 16)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r8_with_redis_away_the_topic_takes_plain_writes_and_with_kafka_away_too_nothing_is_half_done() -> Result<()> {
    let mut system = prepared(Servers::own()?)?.up().await?;
    let load = Load::start(&system.ingest_url, 8, 100, 7);
    while_acknowledging(&load, 200).await?;
    system.servers.redis.kill()?;
    knows(&system, "redis", false).await?;
    past_redis(&system).await?;
    while_acknowledging(&load, 200).await?;
    never_met_redis(&system).await?;
    // Once more with a process that was told not to.
    let refusing = another(&system, &[("CACHE_AWAY", "refuse"), ("INSTANCE_SLOT", "9")])?;
    refusing
        .0
        .eventually("it refuses", async || {
            let Ok(answer) = put(&refusing.0, "r", &[]).await else { return Ok(false) };
            Ok(refused(answer).await? == is(503, "cache-away"))
        })
        .await?;

    system.servers.kafka.pause()?;
    // Not known to be away yet. Nobody will know the key again, and the client is told so.
    let unsure = put(&system, "unsure", &[("Idempotency-Key", "past")]).await?;
    assert_eq!(unsure.headers().get("idempotency-checked"), Some(&"false".parse()?));
    let (status, what, body) = kind(unsure).await?;
    assert_eq!((status, what.as_str(), &body["id"]), (504, "outcome-unknown", &json!("unsure")));
    let detail = body["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("second write") && !detail.contains("harmless"), "x04: {detail}");
    knows(&system, "kafka", false).await?;
    for path in ["half-1", "half-2"] {
        assert_eq!(refused(put(&system, path, &[]).await?).await?, is(503, "stores-away"));
    }
    system.servers.kafka.resume()?;
    knows(&system, "kafka", true).await?;
    system.servers.redis.restart()?;
    knows(&system, "redis", true).await?;
    while_acknowledging(&load, 200).await?;
    let journal = load.finish().await?;
    for id in ["half-1", "half-2", "conditional", "r", "slotless"] {
        let shown = system.call(Method::GET, &format!("/users/{id}"), None).await?;
        assert_eq!(shown.status(), 404, "{id} was refused, and is there: {}", shown.text().await?);
    }
    for id in ["plain", "keyed", "own-id", "stranger", "row", "many"] {
        system
            .eventually(&format!("{id}, answered `logged` with Redis away, is there"), async || {
                Ok(system.call(Method::GET, &format!("/users/{id}"), None).await?.status() == 200)
            })
            .await?;
        // The journal knows nothing of them.
        assert_eq!(system.call(Method::DELETE, &format!("/users/{id}"), None).await?.status(), 202);
    }
    assert_eq!(system.call(Method::DELETE, "/users/unsure", None).await?.status(), 202);
    settled(&system, &journal).await?;
    // Told to stop, it gives its slot back.
    let mut redis = redis::Client::open(system.redis_url.as_str())?.get_connection()?;
    let held = |redis: &mut redis::Connection| -> Result<usize> {
        let held: Vec<String> = redis::cmd("KEYS").arg("wb:{slot}:*").query(redis)?;
        // But for the one that a setting has given away.
        Ok(held.iter().filter(|key| *key != "wb:{slot}:9").count())
    };
    system.eventually("the slot is leased again", async || Ok(held(&mut redis)? == 1)).await?;
    let status = system.ingest.take().context("ingest")?.stop(Duration::from_secs(20))?;
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
    assert_eq!(held(&mut redis)?, 0, "its slot is free");
    Ok(())
}

/// What each kind of request is told while Redis is known to be away.
async fn past_redis(system: &System) -> Result<()> {
    let (answer, took) = kafka_answers(system).await?;
    assert!(!answer.headers().contains_key("idempotency-checked"));
    let body: Value = answer.json().await?;
    assert_eq!(body["state"], "logged", "{body}");
    assert!(took > TWO_D, "k41: a version without Redis was answered after {took:?}");
    assert!(matches!(slot(&body), Some(1..=14)), "{body}");

    let keyed = put(system, "keyed", &[("Idempotency-Key", "k")]).await?;
    assert_eq!((keyed.status().as_u16(), &keyed.headers()["idempotency-checked"]), (202, &"false".parse()?));
    for condition in [("If-Match", "\"16\""), ("If-None-Match", "*")] {
        assert_eq!(refused(put(system, "conditional", &[condition]).await?).await?, is(503, "cache-away"));
    }
    let derived = send(system, Method::POST, "/users", "Ada", &[("Idempotency-Key", "k")]).await?;
    assert_eq!(refused(derived).await?, is(503, "cache-away"), "whether it is there already cannot be told");
    let own = system.client.post(format!("{}/users", system.ingest_url)).header("Idempotency-Key", "k");
    let own = own.json(&json!({ "id": "own-id", "name": "Ada", "age": 1 })).send().await?;
    assert_eq!(own.status(), 202);

    // Two versions of a record in a row: the later one is higher, and its event too.
    let (first, second): (Value, Value) =
        (put(system, "row", &[]).await?.json().await?, put(system, "row", &[]).await?.json().await?);
    assert!(first["version"].as_u64() < second["version"].as_u64(), "{first} {second}");
    let many = join_all((0..32).map(|_| put(system, "many", &[]))).await;
    let mut versions = Vec::new();
    for answer in many {
        versions.push(answer?.json::<Value>().await?["version"].as_u64());
    }
    versions.sort_unstable();
    versions.dedup();
    assert_eq!(versions.len(), 32, "k06: equal versions, or writes refused: {versions:?}");
    Ok(())
}

/// On a busy machine one probe of Kafka may be late, and for the two seconds until the next one more than Redis is away.
async fn kafka_answers(system: &System) -> Result<(Response, Duration)> {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let begun = Instant::now();
        let answer = put(system, "plain", &[]).await?;
        if answer.status() == 202 {
            return Ok((answer, begun.elapsed()));
        }
        assert_eq!(refused(answer).await?, is(503, "stores-away"));
        ensure!(Instant::now() < until, "Kafka is there, and plain writes are refused for 20 s");
    }
}

/// A second ingest on the same servers, which need not become ready.
fn another(system: &System, settings: &[(&str, &str)]) -> Result<(System, stack::Process)> {
    let mut other = System::prepare(system.servers)?;
    other.accounts = system.accounts.clone();
    other.topic_prefix.clone_from(&system.topic_prefix);
    other.redis_url.clone_from(&system.redis_url);
    for (name, value) in settings {
        other = other.with(name, value);
    }
    let process = stack::Process::spawn(&other.ingest_spec(), stack::Lifetime::Attached)?;
    Ok((other, process))
}

/// R4: who has not met Redis since its start has no lease of a slot, and asks the database whether its clock is right.
async fn never_met_redis(system: &System) -> Result<()> {
    let (other, _process) = another(system, &[("INSTANCE_SLOT", "11")])?;
    other
        .eventually("it takes writes", async || {
            let Ok(answer) = put(&other, "stranger", &[]).await else { return Ok(false) };
            Ok(answer.status() == 202 && slot(&answer.json().await?) == Some(11))
        })
        .await?;
    let (slotless, _process) = another(system, &[])?;
    slotless
        .eventually("it says what it lacks", async || {
            let Ok(answer) = put(&slotless, "slotless", &[]).await else { return Ok(false) };
            let (status, kind, body) = kind(answer).await?;
            let names = body["detail"].as_str().is_some_and(|detail| detail.contains("--instance-slot"));
            Ok(status == 503 && kind == "no-instance-slot" && names)
        })
        .await
}

/// `k41`: the commit wait counts from the clock, and the newest version may be far ahead of it: another process without Redis,
/// whose versions come from its clock, would write below what was answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r4_k41_a_version_is_answered_only_when_every_clock_has_passed_it_however_far_ahead_it_is() -> Result<()> {
    let place = Place::attached(shared::scratch("redis"));
    let redis: &'static Redis = Box::leak(Box::new(Redis::start(&Tools::find(), &place)?));
    let system = System::prepare(Servers { redis, ..Servers::shared() })?
        .with("ANSWER_DEADLINE_MS", "6000")
        .with("PRODUCE_DEADLINE_MS", "7000")
        .with("RELAY_AFTER_MS", "8000")
        .with("INSTANCE_SLOT", "5")
        .up()
        .await?;
    // As a clock that is right by now has left it; then Redis is gone, and the next write's version follows from that one.
    let then_away = async |ahead: Duration| -> Result<Response> {
        let last = service::clock::now_micros() + service::clock::micros(ahead);
        for shard in 0..16 {
            system.redis::<()>(&["SET"], &[format!("wb:{{{shard:02}}}:last"), last.to_string()]).await?;
        }
        let before: Value = put(&system, "before", &[]).await?.json().await?;
        ensure!(before["version"].as_u64() > Some(last), "{before}");
        redis.kill()?;
        knows(&system, "redis", false).await?;
        put(&system, "behind", &[]).await
    };
    let body: Value = then_away(Duration::from_secs(4)).await?.json().await?;
    let answered = service::clock::now_micros();
    assert_eq!((&body["state"], slot(&body)), (&json!("logged"), Some(5)), "{body}");
    let version = body["version"].as_u64().context("a version")?;
    assert!(answered > version + 50_000, "answered {} us before every clock was past it", version + 50_000 - answered);

    redis.restart()?;
    knows(&system, "redis", true).await?;
    let refused_at_once = Instant::now();
    assert_eq!(refused(then_away(Duration::from_secs(50)).await?).await?, is(503, "clocks-disagree"));
    assert!(refused_at_once.elapsed() < Duration::from_secs(5), "it is known at once that it would take too long");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r6_with_kafka_away_writes_are_cached_up_to_the_bound_then_503_and_it_heals_by_itself() -> Result<()> {
    // Ten in each of 16 shards.
    let system = prepared(Servers::own()?)?.with("OUTBOX_MOST", "160").up().await?;
    assert_eq!(system.put("users", "0", &user("Ada")).await?["state"], "logged");
    system.servers.kafka.pause()?;
    // Not known to be away yet: whoever insists is told what he cannot be promised, and what it was.
    let begun = Instant::now();
    let (status, what, body) = kind(put(&system, "insists", &[("Prefer", "state=logged")]).await?).await?;
    assert_eq!((status, what.as_str()), (504, "outcome-unknown"), "after {:?}: {body}", begun.elapsed());
    assert!(body["id"] == "insists" && slot(&body) == Some(0), "{body}");
    knows(&system, "kafka", false).await?;
    let insisting = put(&system, "never", &[("Prefer", "state=logged")]).await?;
    assert_eq!(refused(insisting).await?, is(503, "topic-away"));
    assert_eq!(system.call(Method::GET, "/users/never", None).await?.status(), 404, "refused, and it is there");

    let (mut cached, mut full) = (Vec::new(), 0);
    for n in 0..400 {
        let id = format!("c{n}");
        let answer = put(&system, &id, &[]).await?;
        if answer.status() == 202 {
            assert_eq!(answer.json::<Value>().await?["state"], "cached");
            cached.push(id);
        } else {
            assert_eq!(refused(answer).await?, is(503, "full"));
            full += 1;
        }
    }
    assert!(full > 0 && cached.len() <= 160 && cached.len() > 100, "{} cached, {full} refused", cached.len());
    system.servers.kafka.resume()?;
    let table = system.table().await?;
    system
        .eventually("everything that was cached is in the table", async || {
            let rows: i64 =
                sqlx::query_scalar("SELECT COUNT(*) FROM users WHERE id LIKE 'c%'").fetch_one(&table).await?;
            Ok(usize::try_from(rows)? == cached.len())
        })
        .await?;
    system
        .eventually("writes are logged again", async || {
            let answer = put(&system, "after", &[]).await?;
            Ok(answer.status() == 202 && answer.json::<Value>().await?["state"] == "logged")
        })
        .await
}

/// R7: the retry of a write that its first sender had no answer to.
async fn looked_up(system: &System, answer: Response) -> Result<()> {
    let unchecked = answer.headers().contains_key("idempotency-checked");
    let replayed = answer.headers().get("idempotent-replayed").is_some_and(|replayed| replayed == "true");
    let (status, body) = (answer.status(), answer.text().await?);
    ensure!(status.is_success() && replayed && !unchecked, "a key that Redis has was not looked up: {status} {body}");
    system
        .eventually("the retry's own event is acknowledged", async || {
            let again = send(system, Method::PUT, "/users/keyed", "lost", &[("Idempotency-Key", "k36")]).await?;
            Ok(matches!(again.json::<Value>().await?["state"].as_str(), Some("logged" | "persisted")))
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r8_k36_k38_what_becomes_of_a_write_whose_reply_is_lost() -> Result<()> {
    let mut system = System::prepare(Servers::shared())?;
    let (address, database) = system.redis_url.rsplit_once('/').context("host, port and number")?;
    let port = address.rsplit(':').next().context("a port")?.parse()?;
    let link = Link::to(port).await?;
    system.redis_url = format!("redis://127.0.0.1:{}/{database}", link.port);
    let system = system.up().await?;
    let lost = async |id: &str, headers: &[(&str, &str)]| -> Result<(Response, Duration)> {
        let before = link.lost();
        link.lose_a_reply();
        let begun = Instant::now();
        let answer = send(&system, Method::PUT, &format!("/users/{id}"), "lost", headers).await?;
        let took = begun.elapsed();
        ensure!(link.lost() == before + 1, "no reply was lost");
        Ok((answer, took))
    };
    let asked_again = async || {
        system
            .eventually("Redis is asked again", async || {
                let probe = put(&system, "probe", &[]).await?;
                Ok(probe.status() == 202 && slot(&probe.json().await?) == Some(0))
            })
            .await
    };

    // So that Redis knows the script, and the reply that is lost is that of its run.
    assert_eq!(put(&system, "probe", &[]).await?.status(), 202);

    // k36: only Redis knows what it did. Its retry learns it, and there is one version: also at once, while the connection is being
    // made anew, and by a process that has only just begun.
    let key = [("Idempotency-Key", "k36")];
    let (status, what, body) = kind(lost("keyed", &key).await?.0).await?;
    assert_eq!((status, what.as_str(), &body["id"]), (504, "outcome-unknown", &json!("keyed")));
    looked_up(&system, send(&system, Method::PUT, "/users/keyed", "lost", &key).await?).await?;
    let (fresh, _process) = another(&system, &[])?;
    let answers = async || loop {
        match send(&fresh, Method::PUT, "/users/keyed", "lost", &key).await {
            Err(error) if error.is::<reqwest::Error>() => tokio::time::sleep(Duration::from_millis(2)).await,
            answered => return answered,
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(20), answers()).await??;
    looked_up(&fresh, answer).await?;
    let (status, what) = refused(lost("conditional", &[("If-None-Match", "*")]).await?.0).await?;
    assert_eq!((status, what.as_str()), (504, "outcome-unknown"));
    asked_again().await?;

    // k38: the connection broke at once, and the script could run until T.
    let (answer, took) = lost("plain", &[]).await?;
    let body: Value = answer.json().await?;
    assert!(took > T + TWO_D, "gone another way after {took:?}: {body}");
    assert_eq!(body["state"], "logged", "{body}");
    assert!(matches!(slot(&body), Some(1..=14)), "{body}");
    let table = system.table().await?;
    system
        .eventually("both versions were on their way, the later one stays", async || {
            let version =
                sqlx::query_scalar("SELECT version FROM users WHERE id = 'plain'").fetch_optional(&table).await?;
            Ok(version == body["version"].as_u64())
        })
        .await?;
    let events = read_all(&system.servers.kafka.brokers(), &format!("{}users", system.topic_prefix))?;
    let versions = |key: &str| -> std::collections::BTreeSet<_> {
        events.iter().filter(|event| event.key == key).filter_map(|event| event.header("version")).collect()
    };
    assert_eq!(versions("keyed").len(), 1, "G9: one key, one version");
    Ok(())
}
