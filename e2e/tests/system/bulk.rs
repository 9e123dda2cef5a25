//! `POST /{entity}:bulk` as a client meets it: lines in, results out, each in its order, whatever becomes of the others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use async_compression::tokio::bufread::{GzipEncoder, ZstdEncoder};
use e2e::topic_reader::read_all;
use e2e::{Servers, System};
use reqwest::{Body, Method, Response};
use serde_json::{Value, json};
use sqlx::Row;
use tokio::io::AsyncReadExt;

use crate::answers::shown;
use crate::bulk_stream::Talk;

pub(crate) const NDJSON: (&str, &str) = ("Content-Type", "application/x-ndjson");

pub(crate) async fn bulk(system: &System, headers: &[(&str, &str)], body: impl Into<Body>) -> Result<Response> {
    let mut request = system.client.post(format!("{}/users:bulk", system.ingest_url)).header(NDJSON.0, NDJSON.1);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Ok(request.body(body).send().await?)
}

/// The results of a bulk, which is always a 207.
pub(crate) async fn results(answer: Response) -> Result<Vec<Value>> {
    let (status, text) = (answer.status(), answer.text().await?);
    ensure!(status == 207, "{status}: {text}");
    let results: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    for (at, result) in results.iter().enumerate() {
        ensure!(result["line"] == at + 1, "result {} is that of another line: {result}", at + 1);
    }
    Ok(results)
}

/// Status, and what kind of problem it is or which state it has.
pub(crate) fn told(result: &Value) -> (u64, String) {
    let problem = result["type"].as_str().and_then(|kind| kind.rsplit(':').next());
    let told = problem.or(result["state"].as_str()).unwrap_or_default();
    (result["status"].as_u64().unwrap_or(0), told.to_owned())
}

fn is(status: u64, told: &str) -> (u64, String) {
    (status, told.to_owned())
}

async fn kind(answer: Response) -> Result<(u64, String)> {
    Ok(told(&answer.json().await?))
}

pub(crate) fn line(id: &str, age: u64) -> String {
    format!("{}\n", json!({ "id": id, "name": "Ada", "age": age }))
}

fn deletion(id: &str) -> String {
    format!("{}\n", json!({ "id": id, "deleted": true }))
}

pub(crate) async fn packed(coding: &str, plain: &[u8]) -> Result<Vec<u8>> {
    let mut packed = Vec::new();
    match coding {
        "gzip" => GzipEncoder::new(plain).read_to_end(&mut packed).await?,
        _ => ZstdEncoder::new(plain).read_to_end(&mut packed).await?,
    };
    Ok(packed)
}

/// What the table has of a record: its version, and its age unless it is deleted.
async fn row(system: &System, id: &str) -> Result<Option<(u64, Option<i32>)>> {
    let query = sqlx::query("SELECT version, age, deleted FROM users WHERE id = ?").bind(id.to_owned());
    let row = query.fetch_optional(&system.table().await?).await?;
    Ok(row.map(|row| (row.get("version"), row.get::<Option<i32>, _>("age").filter(|_| !row.get::<bool, _>("deleted")))))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_has_its_result_in_its_order_and_no_fault_stops_another() -> Result<()> {
    let system = System::prepare(Servers::shared())?.with("BODY_BYTES_MOST", "200").up().await?;
    system.put("users", "gone", &json!({ "name": "Ada", "age": 1 })).await?;
    let mut lines = line("1", 1);
    lines += "{\"name\":\"Ada\",\"age\":2}\r\n";
    lines += "{\"name\":\n";
    lines += "{\"id\":\"bad\",\"name\":7,\"age\":-1}\n";
    lines += "\n";
    lines += &deletion("gone");
    lines += "{\"deleted\":true,\"name\":\"Ada\"}\n";
    writeln!(lines, "{{\"id\":\"long\",\"name\":\"{}\",\"age\":3}}", "x".repeat(200))?;
    writeln!(lines, "{:200}", json!({ "id": "exact", "name": "Ada", "age": 4 }))?;
    lines += &deletion("nobody");
    lines += line("last", 5).trim_end();
    let results = results(bulk(&system, &[], lines).await?).await?;
    let expected = [
        is(202, "logged"),
        is(202, "logged"),
        is(400, "malformed-json"),
        is(422, "invalid-record"),
        is(400, "malformed-json"),
        is(202, "logged"),
        is(422, "invalid-record"),
        is(413, "body-too-large"),
        is(202, "logged"),
        is(202, "logged"),
        is(202, "logged"),
    ];
    assert_eq!(results.iter().map(told).collect::<Vec<_>>(), expected, "{results:#?}");
    let pointers = |at: usize| -> Vec<&str> {
        results[at]["errors"].as_array().into_iter().flatten().filter_map(|fault| fault["pointer"].as_str()).collect()
    };
    assert_eq!(pointers(3), ["/name", "/age"], "all faults of a line at once");
    assert_eq!(pointers(6), ["", "/id"]);
    assert!(results[4]["detail"].as_str().is_some_and(|detail| detail.contains("empty")), "{}", results[4]);
    let new = results[1]["id"].as_str().context("an id of its own")?;
    assert_eq!(system.call(Method::GET, &format!("/users/{new}"), None).await?.json::<Value>().await?["age"], 2);
    assert_eq!(system.call(Method::GET, "/users/gone", None).await?.status(), 404);
    assert_eq!(system.call(Method::GET, "/users/long", None).await?.status(), 404);
    system
        .eventually("the table has what was written, and nothing else", async || {
            let version = |at: usize| results[at]["version"].as_u64().unwrap_or(0);
            Ok(row(&system, "1").await? == Some((version(0), Some(1)))
                && row(&system, "exact").await? == Some((version(8), Some(4)))
                && row(&system, "gone").await? == Some((version(5), None))
                && row(&system, "last").await? == Some((version(10), Some(5)))
                && row(&system, "bad").await?.is_none())
        })
        .await?;
    let counted = |series: &str| format!("write_behind_{series}");
    assert_eq!(shown(&system, &counted(r#"accepted_total{entity="users",op="delete",state="logged"}"#)).await?, 2.0);
    assert_eq!(shown(&system, &counted(r#"rejected_total{entity="users",reason="malformed-json"}"#)).await?, 2.0);
    assert_eq!(shown(&system, &counted(r#"rejected_total{entity="users",reason="body-too-large"}"#)).await?, 1.0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_one_record_take_effect_in_their_order_and_the_last_one_stays() -> Result<()> {
    let system = System::start().await?;
    let ids = ["a", "b", "c"];
    let mut lines = String::new();
    for turn in 0..200 {
        for (at, id) in ids.iter().enumerate() {
            // The last one of `b` is a deletion.
            lines += &if (turn + at) % 5 == 0 { deletion(id) } else { line(id, turn as u64 % 150) };
        }
        // Others stand between them, which nobody has to wait for.
        lines += &line(&format!("other-{turn}"), 1);
    }
    let results = results(bulk(&system, &[], lines).await?).await?;
    let mut versions = BTreeMap::<&str, Vec<u64>>::new();
    for result in &results {
        ensure!(told(result) == is(202, "logged"), "{result}");
        let id = result["id"].as_str().context("an id")?;
        versions.entry(id).or_default().push(result["version"].as_u64().context("a version")?);
    }
    for id in ids {
        assert!(
            versions[id].is_sorted_by(|one, next| one < next),
            "versions of {id} are not in the order of its lines"
        );
    }
    let last = |id: &str| versions[id].last().copied().unwrap_or(0);
    let ends = [("a", Some(49)), ("b", None), ("c", Some(49))];
    for (id, age) in ends {
        let answer = system.call(Method::GET, &format!("/users/{id}"), None).await?;
        assert_eq!(answer.json::<Value>().await?["age"].as_i64(), age.map(i64::from), "the last line of {id}");
    }
    system
        .eventually("the last lines are in the table", async || {
            for (id, age) in ends {
                if row(&system, id).await? != Some((last(id), age)) {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await?;
    let events = read_all(&system.servers.kafka.brokers(), &format!("{}users", system.topic_prefix))?;
    for id in ids {
        let newest = events.iter().filter(|event| event.key == id).max_by_key(|event| event.header("version"));
        let newest = newest.context("events")?;
        assert_eq!(newest.header("version"), Some(&*last(id).to_string()), "the topic's newest version of {id}");
        assert_eq!(newest.value.is_none(), id == "b");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g9_a_bulk_that_is_sent_again_with_its_key_writes_nothing_twice() -> Result<()> {
    let system = System::start().await?;
    let key = [("Idempotency-Key", "\"import 1\"")];
    let mut lines = String::new();
    for at in 0..40 {
        lines += &match at % 4 {
            0 => line("same", at),
            1 => format!("{}\n", json!({ "name": "Ada", "age": at })),
            2 => deletion(&format!("gone-{at}")),
            _ => line(&format!("own-{at}"), at),
        };
    }
    let first = results(bulk(&system, &key, lines.clone()).await?).await?;
    let ids: BTreeSet<_> = first.iter().map(|result| result["id"].as_str()).collect();
    assert_eq!(ids.len(), 31, "an id of its own for each line without one");
    let gzip = packed("gzip", lines.as_bytes()).await?;
    for again in [
        bulk(&system, &key, lines.clone()).await?,
        bulk(&system, &[key[0], ("Content-Encoding", "gzip")], gzip).await?,
        bulk(&system, &[key[0], ("Content-Type", "application/jsonl")], lines.replace('\n', "\r\n")).await?,
    ] {
        for (first, again) in first.iter().zip(results(again).await?) {
            ensure!(first.get("replayed").is_none() && again["replayed"] == true, "{first} was written again: {again}");
            ensure!(first["id"] == again["id"] && first["version"] == again["version"], "{first} became {again}");
        }
    }
    let read: Value = system.call(Method::GET, "/users/same", None).await?.json().await?;
    assert_eq!(read["age"], 36, "a line that was sent again is on top of a later one");
    let changed = lines.replacen(&line("own-3", 3), &line("own-3", 4), 1);
    let changed = results(bulk(&system, &key, changed).await?).await?;
    for (at, result) in changed.iter().enumerate() {
        let reused = told(result) == is(422, "idempotency-key-reused");
        ensure!(reused == (at == 3) && (reused || result["replayed"] == true), "line {}: {result}", at + 1);
    }
    let versions = |of: &[Value]| of.iter().map(|result| result["version"].as_u64()).collect::<BTreeSet<_>>();
    let other = results(bulk(&system, &[("Idempotency-Key", "import-2")], lines).await?).await?;
    assert!(versions(&first).is_disjoint(&versions(&other)), "another key is another request");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packed_bodies_are_bounded_by_what_they_become() -> Result<()> {
    let system = System::prepare(Servers::shared())?.with("BODY_BYTES_MOST", "1000000");
    let system = system.with("BULK_BYTES_MOST", "2000000").up().await?;
    let send = async |coding: &str, body: Vec<u8>| {
        let request = system.client.put(format!("{}/users/1", system.ingest_url)).header("Content-Encoding", coding);
        anyhow::Ok(request.header("Content-Type", "application/json").body(body).send().await?)
    };
    let record = |bytes: usize| {
        let record = json!({ "name": "Ada", "age": 7 }).to_string();
        record.clone() + &" ".repeat(bytes - record.len())
    };
    let lines = line("1", 1) + &line("2", 2);
    for coding in ["gzip", "zstd"] {
        let unpacked = send(coding, packed(coding, record(1_000_000).as_bytes()).await?).await?;
        assert_eq!(unpacked.status(), 202, "{coding}: exactly the bound");
        let past = send(coding, packed(coding, record(1_000_001).as_bytes()).await?).await?;
        assert_eq!(kind(past).await?, is(413, "body-too-large"), "{coding}: a byte more");
        let mut cut = packed(coding, record(1_000).as_bytes()).await?;
        cut.truncate(cut.len() - 5);
        assert_eq!(kind(send(coding, cut).await?).await?, is(400, "broken-body"), "{coding}: without its end");
        assert_eq!(kind(send(coding, record(30).into_bytes()).await?).await?, is(400, "broken-body"), "not {coding}");

        let headers = [("Content-Encoding", coding)];
        let whole = packed(coding, lines.as_bytes()).await?;
        let unpacked = results(bulk(&system, &headers, whole.clone()).await?).await?;
        assert_eq!(unpacked.iter().map(told).collect::<Vec<_>>(), [is(202, "logged"), is(202, "logged")]);
        let members = [&whole[..], &packed(coding, line("3", 3).as_bytes()).await?].concat();
        assert_eq!(
            results(bulk(&system, &headers, members).await?).await?.len(),
            3,
            "{coding}: files one after another"
        );

        // What was cut off is told, and what came before is done.
        let many: String = (0..2_000).map(|at| line(&format!("{coding}-{at}"), at % 150)).collect();
        let mut cut = packed(coding, many.as_bytes()).await?;
        cut.truncate(cut.len() - 5);
        let cut = results(bulk(&system, &headers, cut).await?).await?;
        let (last, before) = cut.split_last().context("results")?;
        assert_eq!(told(last), is(400, "broken-body"), "{coding}: {last}");
        assert!(before.iter().all(|result| told(result) == is(202, "logged")), "{coding}: what came before");

        // 300 MB of it in a few kB: the line that passes the bound is told, and nothing behind it is read.
        let before = resident(&system)?;
        let bomb = packed(coding, &[line("1", 1).as_bytes(), &vec![b' '; 300_000_000]].concat()).await?;
        let exploded = results(bulk(&system, &headers, bomb.clone()).await?).await?;
        assert_eq!(exploded.iter().map(told).collect::<Vec<_>>(), [is(202, "logged"), is(413, "bulk-too-large")]);
        assert_eq!(kind(send(coding, bomb).await?).await?, is(413, "body-too-large"));
        let grown = resident(&system)? - before;
        assert!(grown < 40.0, "{coding}: a bomb of 300 MB costs {grown:.0} MiB");
    }
    let unknown = bulk(&system, &[("Content-Encoding", "br")], lines).await?;
    assert_eq!(unknown.headers()["accept-encoding"], "gzip, zstd");
    assert_eq!(kind(unknown).await?, is(415, "unsupported-encoding"));
    let bodies = async || Ok(shown(&system, "write_behind_bodies_bytes").await? == 0.0);
    system.eventually("all room is given back", bodies).await
}

/// MiB of ingest.
pub(crate) fn resident(system: &System) -> Result<f64> {
    e2e::bench::memory::resident(system.ingest.as_ref().context("ingest runs")?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_a_long_bulk_takes_no_more_memory_than_a_short_one() -> Result<()> {
    let system = System::start().await?;
    let lines = |from: u64, to: u64| (from..to).map(|at| line(&format!("{at}"), at % 150)).collect::<String>();
    assert_eq!(results(bulk(&system, &[], lines(0, 2_000)).await?).await?.len(), 2_000);
    let before = resident(&system)?;
    let client = reqwest::Client::builder().build()?;
    let request = client.post(format!("{}/users:bulk", system.ingest_url)).header(NDJSON.0, NDJSON.1);
    let answered = results(request.body(lines(2_000, 22_000)).send().await?).await?;
    let grown = resident(&system)? - before;
    ensure!(answered.iter().all(|result| result["status"] == 202), "a line was refused");
    assert_eq!(answered.len(), 20_000);
    assert!(grown < 12.0, "20,000 lines more cost {grown:.1} MiB more than 2,000 did");
    Ok(())
}

/// The hashes of `wb_reader` and `wb_writer`.
const KEYS: &str = r#"
[[key]]
name = "reader"
sha256 = "dee6940e89177ae45a335a80af611f0ffd6e422ef4a36509af276c6bf6bf6ca7"
rights = ["read"]

[[key]]
name = "writer"
sha256 = "d20debd232efd06626f494f9b7c5354844d660dbc5f11e07ce6931ddb582f26d"
rights = ["write"]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_as_a_whole_is_refused_before_any_line() -> Result<()> {
    let keys = stack::shared::scratch("keys").join("keys.toml");
    std::fs::write(&keys, KEYS)?;
    let (reader, writer) = ("Bearer wb_reader", "Bearer wb_writer");
    let system = System::prepare(Servers::shared())?.with("API_KEYS", &keys.to_string_lossy());
    let system = system.with("BULKS_MOST", "1").up().await?;
    let sent = async |headers: &[(&str, &str)]| {
        let authorized = [&[("Authorization", writer)][..], headers].concat();
        kind(bulk(&system, &authorized, line("1", 1)).await?).await
    };
    let shown_key = [("Authorization", reader)];
    assert_eq!(kind(bulk(&system, &shown_key, line("1", 1)).await?).await?, is(403, "forbidden"));
    assert_eq!(kind(bulk(&system, &[], line("1", 1)).await?).await?, is(401, "unauthenticated"));
    assert_eq!(sent(&[("If-Match", "\"16\"")]).await?, is(400, "invalid-condition"));
    assert_eq!(sent(&[("If-None-Match", "*")]).await?, is(400, "invalid-condition"));
    let request = |method: Method, path: &str, media: &str| {
        let request = system.client.request(method, format!("{}{path}", system.ingest_url));
        request.header("Authorization", writer).header("Content-Type", media).body(line("1", 1)).send()
    };
    let media = request(Method::POST, "/users:bulk", "application/json").await?;
    assert_eq!(kind(media).await?, is(415, "unsupported-media-type"));
    for taken in ["application/x-ndjson", "application/ndjson", "application/jsonl; charset=utf-8"] {
        let answer = request(Method::POST, "/users:bulk", taken).await?;
        assert_eq!((answer.status().as_u16(), &answer.headers()["content-type"]), (207, &NDJSON.1.parse()?), "{taken}");
        assert_eq!(results(answer).await?.len(), 1);
    }
    let get = request(Method::GET, "/users:bulk", "application/x-ndjson").await?;
    assert_eq!((get.status().as_u16(), &get.headers()["allow"]), (405, &"POST".parse()?));
    assert_eq!(kind(request(Method::POST, "/nobody:bulk", NDJSON.1).await?).await?, is(404, "unknown-entity"));
    assert_eq!(system.call(Method::GET, "/users/2", None).await?.status(), 401);

    // One at a time: the next one is told so at once, and taken when the first has ended.
    let mut first = Talk::open(&system, &[&format!("Authorization: {writer}")]).await?;
    first.say(&line("1", 1)).await?;
    first.hear().await?;
    assert_eq!(shown(&system, "write_behind_bulks").await?, 1.0);
    assert_eq!(sent(&[]).await?, is(503, "busy"));
    assert!(first.end().await?.is_empty());
    let ended = async || Ok(shown(&system, "write_behind_bulks").await? == 0.0);
    system.eventually("the first has ended", ended).await?;
    assert_eq!(sent(&[]).await?, is(202, "logged"));
    Ok(())
}
