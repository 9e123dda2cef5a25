//! What became of a write: `GET /{entity}/{id}/writes/{version}`, and what whoever waits is told of a dead letter.

use anyhow::{Context, Result};
use e2e::system::metric;
use e2e::{Servers, System};
use reqwest::Method;
use serde_json::{Value, json};
use stack::{Lifetime, Place, Process, Redis, Tools, shared};

use crate::answers::{header, is};
use crate::dead::{POISON, named, prepared, put, until_behind};
use crate::every_type::{forget, until_persisted};
use crate::min_version::again;
use crate::patch::patch_kind;

/// Status and body of the fate of a version of `/users/{id}`.
async fn fate(system: &System, id: &str, version: u64) -> Result<(u16, Value)> {
    let answer = system.call(Method::GET, &format!("/users/{id}/writes/{version}"), None).await?;
    let (status, retry) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
    assert_eq!(status == 503, retry, "a 503 says when to come again");
    Ok((status, answer.json().await?))
}

/// And the last part of a problem's type.
async fn untold(system: &System, id: &str, version: u64) -> Result<(u16, String)> {
    let (status, body) = fate(system, id, version).await?;
    Ok((status, body["type"].as_str().and_then(|kind| kind.rsplit(':').next()).unwrap_or("none").to_owned()))
}

fn micros(time: &Value) -> Result<u64> {
    let text = time.as_str().context("a time")?;
    anyhow::ensure!(text.len() == "2023-11-14T22:13:20.000016Z".len() && text.ends_with('Z'), "{text}");
    Ok(u64::try_from(chrono::DateTime::parse_from_rfc3339(text)?.timestamp_micros())?)
}

/// An ingest for which Kafka is away: what it takes is in the cache alone.
async fn while_kafka_is_away(system: &System) -> Result<()> {
    let cut_off = Process::spawn(&system.ingest_spec().env("KAFKA_BROKERS", "127.0.0.1:9"), Lifetime::Attached)?;
    let mut cached = 0;
    system
        .eventually("a write is cached", async || {
            let Ok(answer) = system.put("users", "1", &named("Ada")).await else { return Ok(false) };
            system.nothing_was_lost().await?;
            cached = answer["version"].as_u64().context("a version")?;
            Ok(answer["state"] == "cached")
        })
        .await?;
    let (status, told) = fate(system, "1", cached).await?;
    assert_eq!(
        (status, &told["id"], &told["version"], &told["fate"]),
        (200, &json!("1"), &json!(cached), &json!("cached"))
    );
    assert_eq!(micros(&told["written_at"])?, cached & !15, "a version is its own time");
    assert!(told.get("logged_at").is_none() && told.get("by").is_none(), "{told}");
    cut_off.kill()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fate_of_a_write_is_followed_from_the_cache_to_the_table_and_past_it() -> Result<()> {
    let mut system = System::prepare(Servers::shared())?;
    system.migrate()?;
    while_kafka_is_away(&system).await?;
    system.start_ingest().await?;

    let answer = system.call(Method::PUT, "/users/2", Some(&named("Ada"))).await?;
    let link = header(&answer, "link");
    let first = answer.json::<Value>().await?["version"].as_u64().context("a version")?;
    assert_eq!(link, format!("</users/2/writes/{first}>; rel=\"status\""), "an unfinished write says where to ask");
    let logged = async || Ok(fate(&system, "2", first).await?.1["fate"] == "logged");
    system.eventually("the cache knows that it is logged", logged).await?;
    let (_, told) = fate(&system, "2", first).await?;
    assert!(micros(&told["logged_at"])? > micros(&told["written_at"])?, "{told}");
    assert!(told["partition"].is_u64() && told["offset"].is_u64(), "{told}");
    let second = system.put("users", "2", &named("Bob")).await?["version"].as_u64().context("a version")?;
    let by = |state: &str| json!({ "version": second, "state": state });
    let superseded = async |system: &System, state: &str| -> Result<bool> {
        let (_, told) = fate(system, "2", first).await?;
        Ok(told["fate"] == "superseded" && told["by"] == by(state))
    };
    system.eventually("it is superseded by what is logged", async || superseded(&system, "logged").await).await?;
    assert_eq!(untold(&system, "2", second + 16).await?, is(404, "unknown-write"), "newer than any");
    assert_eq!(untold(&system, "nobody", first).await?, is(404, "unknown-write"));
    for never in ["0", "x", "-1", "9007199254740992"] {
        let answer = system.call(Method::GET, &format!("/users/2/writes/{never}"), None).await?;
        assert_eq!(answer.status(), 404, "{never}");
    }
    assert_eq!(system.call(Method::PUT, "/users/2/writes/16", None).await?.headers()["allow"], "GET, HEAD");
    assert_eq!(system.call(Method::GET, "/nothing/2/writes/16", None).await?.status(), 404);

    system.start_persister().await?;
    system.eventually("it is superseded by what is persisted", async || superseded(&system, "persisted").await).await?;
    until_persisted(&system, "/users/2").await?;
    let (_, warm) = fate(&system, "2", second).await?;
    assert_eq!(warm["fate"], "persisted", "{warm}");
    assert!(micros(&warm["persisted_at"])? >= second & !15 && warm["offset"].is_u64(), "{warm}");
    let head = system.call(Method::HEAD, &format!("/users/2/writes/{second}"), None).await?;
    assert_eq!((head.status().as_u16(), head.text().await?.len()), (200, 0));
    forget(&system, "users:2").await?;
    let (_, cold) = fate(&system, "2", second).await?;
    assert_eq!(
        (&cold["fate"], &cold["persisted_at"]),
        (&json!("persisted"), &warm["persisted_at"]),
        "by its row alone"
    );
    let deleted = system.call(Method::DELETE, "/users/2", None).await?.json::<Value>().await?["version"].as_u64();
    let deleted = deleted.context("a version")?;
    let gone = async || Ok(fate(&system, "2", deleted).await?.1["fate"] == "persisted");
    system.eventually("a deletion is persisted", gone).await?;
    assert_eq!(fate(&system, "2", second).await?.1["by"], json!({ "version": deleted, "state": "persisted" }));
    // Of a version that the cache may have lost nothing is said, of what the table has everything.
    let shards: Vec<_> = (0..16).map(|shard| format!("wb:{{{shard:02}}}:incomplete")).collect();
    for shard in &shards {
        system.redis::<()>(&["SET", shard, "1 1"], &[]).await?;
    }
    assert_eq!(untold(&system, "nobody", first).await?, is(503, "cache-incomplete"));
    assert_eq!(fate(&system, "2", deleted).await?.1["fate"], "persisted");
    Ok(())
}

/// R4, R8: the cache has never heard of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_made_past_redis_is_never_denied_and_one_that_never_was_is_once_the_topic_is_drained() -> Result<()> {
    let mut system = System::prepare(Servers::shared())?;
    for (name, value) in [("ANSWER_DEADLINE_MS", "1000"), ("PRODUCE_DEADLINE_MS", "1500"), ("FILL_LEASE_MS", "1000")] {
        system = system.with(name, value);
    }
    let mut system = system.with("INCOMPLETE_GRACE_MS", "2600").up().await?;
    system.persister.take().context("a persister")?.kill()?;
    // It reaches no Redis at all.
    let mut past = again(&system)?.with("INSTANCE_SLOT", "9");
    past.redis_url = "redis://127.0.0.1:9".to_owned();
    let process = Process::spawn(&past.ingest_spec(), Lifetime::Attached)?;
    let mut version = 0;
    system
        .eventually("the topic takes it past Redis", async || {
            let Ok(answer) = past.put("users", "1", &named("Ada")).await else { return Ok(false) };
            version = answer["version"].as_u64().context("a version")?;
            Ok(true)
        })
        .await?;
    assert_eq!(version % 16, 9, "a version of its slot");
    assert_eq!(untold(&system, "1", version).await?, is(503, "not-there-yet"), "it was answered `logged`");
    assert_eq!(untold(&past, "1", version).await?, is(503, "cache-away"), "nor by who knows no Redis");
    let never = version + 1;
    assert_eq!(untold(&system, "1", never).await?, is(503, "not-there-yet"), "as far as anybody can tell");
    system.start_persister().await?;
    let persisted = async |system: &System| Ok(fate(system, "1", version).await?.1["fate"] == "persisted");
    system.eventually("it is in the table", async || persisted(&system).await).await?;
    assert!(persisted(&past).await?, "the table's word needs no Redis");
    let denied = async || Ok(untold(&system, "1", never).await? == is(404, "unknown-write"));
    system.eventually("it never was", denied).await?;
    process.kill()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_store_away_the_fate_and_a_patch_are_told_by_who_is_there_or_503() -> Result<()> {
    let redis: &'static Redis =
        Box::leak(Box::new(Redis::start(&Tools::find(), &Place::attached(shared::scratch("redis")))?));
    let mut system = System::prepare(Servers { redis, ..Servers::own()? })?.up().await?;
    let first = put(&system, "1", "Ada").await?;
    until_persisted(&system, "/users/1").await?;
    put(&system, "cold", "Ada").await?;
    until_persisted(&system, "/users/cold").await?;
    forget(&system, "users:cold").await?;
    system.persister.take().context("a persister")?.kill()?;
    let second = put(&system, "1", "Bob").await?;
    let third = put(&system, "3", "Eve").await?;
    let is_logged = async || Ok(fate(&system, "1", second).await?.1["fate"] == "logged");
    system.eventually("the cache knows that it is logged", is_logged).await?;

    system.servers.database.kill()?;
    assert_eq!(fate(&system, "1", second).await?.1["fate"], "logged", "the cache's word");
    assert_eq!(untold(&system, "1", first).await?, is(503, "database-away"), "it may be a dead letter's");
    assert_eq!(untold(&system, "1", second + 16).await?, is(503, "database-away"));
    assert_eq!(patch_kind(&system, "/users/cold", &json!({ "age": 2 })).await?, is(503, "database-away"));
    assert_eq!(patch_kind(&system, "/users/3", &json!({ "age": 2 })).await?.0, 202, "what is cached needs no table");
    system.servers.database.restart()?;

    let shards: Vec<_> = (0..16).map(|shard| format!("wb:{{{shard:02}}}:incomplete")).collect();
    for shard in &shards {
        system.redis::<()>(&["SET", shard, "1 1"], &[]).await?;
    }
    assert_eq!(patch_kind(&system, "/users/1", &json!({ "age": 2 })).await?, is(503, "cache-incomplete"), "`k24`");
    assert_eq!(patch_kind(&system, "/users/nobody", &json!({ "age": 2 })).await?, is(503, "cache-incomplete"));
    system.nothing_was_lost().await?;

    system.servers.redis.kill()?;
    let away = async || {
        let text = system.metrics(&system.ingest_admin_url).await?;
        Ok(metric(&text, "write_behind_dependency_up{dependency=\"redis\"}") == Some(0.0))
    };
    system.eventually("ingest knows that Redis is away", away).await?;
    assert_eq!(patch_kind(&system, "/users/1", &json!({ "age": 2 })).await?, is(503, "cache-away"));
    let persisted = async || Ok(fate(&system, "1", first).await?.1["fate"] == "persisted");
    system.eventually("the database is back", persisted).await?;
    assert_eq!(untold(&system, "1", second).await?, is(503, "cache-away"), "it was answered `logged`");
    assert_eq!(untold(&system, "3", third).await?, is(503, "cache-away"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_a_dead_letter_is_told_409_with_its_reason_and_so_is_its_fate() -> Result<()> {
    let mut system = prepared(&[]).await?;
    system.start_persister().await?;
    put(&system, "1", "Ada").await?;
    until_persisted(&system, "/users/1").await?;
    let send = async |name: &str, headers: &[(&str, &str)]| {
        let request = system.client.put(format!("{}/users/1", system.ingest_url)).json(&named(name));
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().await
    };
    let keyed = [("Prefer", "state=persisted, wait=9"), ("Idempotency-Key", "a")];
    let refused = send(POISON, &keyed).await?;
    assert_eq!(refused.status(), 409);
    let refused: Value = refused.json().await?;
    let version = refused["version"].as_u64().context("a version")?;
    let address = format!("/users/1/writes/{version}");
    assert_eq!((&refused["id"], &refused["fate"]), (&json!("1"), &json!(address)), "{refused}");
    assert!(refused["type"].as_str().is_some_and(|kind| kind.ends_with(":dead-lettered")), "{refused}");
    let (status, told) = fate(&system, "1", version).await?;
    assert_eq!((status, &told["fate"]), (200, &json!("dead")), "{told}");
    assert_eq!((&told["dead"]["reason"], &told["dead"]["partition"]), (&refused["reason"], &json!(0)), "{told}");
    assert!(refused["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{refused}");
    assert!(told["dead"]["topic"].is_string() && told["dead"]["offset"].is_u64(), "{told}");
    assert!(micros(&told["dead"]["at"])? >= version & !15);
    let read: Value = system.call(Method::GET, "/users/1", None).await?.json().await?;
    assert_eq!(read["name"], "Ada", "the record is what it was");
    let newer = system.client.get(format!("{}/users/1", system.ingest_url)).header("Min-Version", version);
    let newer = newer.header("Prefer", "wait=0").send().await?;
    assert_eq!(newer.status(), 409, "what was refused will never be there");

    // Also once something newer stands over it, and to whoever asks again.
    let after = send("Bob", &[("Prefer", "state=persisted, wait=9")]).await?;
    assert_eq!(
        (after.status().as_u16(), header(&after, "preference-applied")),
        (200, "state=persisted, wait=9".to_owned())
    );
    assert_eq!(fate(&system, "1", version).await?.1["fate"], "dead");
    let again = send(POISON, &keyed).await?;
    assert_eq!(again.status(), 409, "a newer version in the table is not this one: {}", again.text().await?);
    until_behind(&system, 3).await?;

    // With nobody to persist it, the truth.
    system.persister.take().context("a persister")?.kill()?;
    let waiting = system.client.put(format!("{}/users/2", system.ingest_url)).json(&named(POISON));
    let waiting = waiting.header("Prefer", "state=persisted, wait=1").send().await?;
    assert_eq!(
        (waiting.status().as_u16(), header(&waiting, "preference-applied"), header(&waiting, "write-behind-state")),
        (202, "wait=1".to_owned(), "logged".to_owned())
    );
    // The document promises of the header what there is.
    let document: Value = system.call(Method::GET, "/openapi.json", None).await?.json().await?;
    let promised = &document["components"]["headers"]["Preference-Applied"]["schema"];
    for applied in ["wait=1", "state=persisted", "state=persisted, wait=9"] {
        assert!(jsonschema::is_valid(promised, &json!(applied)), "{applied} is not {promised}");
    }
    Ok(())
}
