//! PATCH, as a client meets it (PROTOCOL R9, R7; RFC 7396).

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use e2e::system::{FAIL_POINTS, metric};
use e2e::topic_reader::read_all;
use e2e::{Servers, System};
use futures_util::future::join_all;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::answers::{header, is, kind};
use crate::every_type::{cached_schema, forget, until_persisted};
use crate::growth::{Beside, at_version_1};

/// Everybody has a place of his own in it.
const COUNTERS: &str = r#"{"type":"record","name":"Counter","fields":[
    {"name":"count","type":"long"},
    {"name":"seen","type":{"type":"map","values":"long"}}]}"#;

async fn send(system: &System, url: &str, path: &str, patch: &Value, headers: &[(&str, &str)]) -> Result<Response> {
    let mut request =
        system.client.patch(format!("{url}{path}")).header("content-type", "application/merge-patch+json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Ok(request.body(patch.to_string()).send().await?)
}

async fn patch(system: &System, path: &str, patch: &Value, headers: &[(&str, &str)]) -> Result<Response> {
    send(system, &system.ingest_url, path, patch, headers).await
}

pub(crate) async fn patch_kind(system: &System, path: &str, to: &Value) -> Result<(u16, String)> {
    kind(patch(system, path, to, &[]).await?).await
}

async fn text(system: &System, path: &str) -> Result<String> {
    Ok(system.call(Method::GET, path, None).await?.text().await?)
}

async fn shown(system: &System, path: &str) -> Result<Value> {
    Ok(serde_json::from_str(&text(system, path).await?)?)
}

/// Pointer and code of each fault of a body for user 1 that is refused with 422.
async fn faults(system: &System, method: Method, media: &str, body: &str) -> Result<String> {
    let request = system.client.request(method, format!("{}/users/1", system.ingest_url)).header("content-type", media);
    let answer = request.body(body.to_owned()).send().await?;
    let status = answer.status();
    let problem: Value = answer.json().await?;
    ensure!(status == 422 && problem["type"] == "urn:write-behind:problem:invalid-record", "{status}: {problem}");
    let fault = |fault: &Value| Some(format!("{} {}", fault["pointer"].as_str()?, fault["code"].as_str()?));
    let faults: Option<Vec<_>> = problem["errors"].as_array().context("errors")?.iter().map(fault).collect();
    Ok(faults.context("a pointer and a code in each")?.join(", "))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r9_a_patch_changes_what_it_names_and_the_record_it_makes_is_checked_as_any_body() -> Result<()> {
    let system = System::start().await?;
    system.put("users", "1", &json!({ "name": "Ada", "age": 36, "occupation": "poet" })).await?;
    let before = text(&system, "/users/1").await?;
    let empty = patch(&system, "/users/1", &json!({}), &[]).await?;
    assert_eq!(empty.status(), 202);
    assert_eq!(text(&system, "/users/1").await?, before, "an empty patch changes nothing but the version");
    let changed = patch(&system, "/users/1", &json!({ "age": 37, "occupation": null, "id": "1" }), &[]).await?;
    let tag = header(&changed, "etag");
    assert_eq!(changed.json::<Value>().await?["state"], "logged");
    let expected = json!({
        "id": "1", "name": "Ada", "age": 37, "occupation": null, "first_name": null, "last_name": null
    });
    assert_eq!(shown(&system, "/users/1").await?, expected);

    // All faults of the merged record at once, and nothing is written.
    let faulty = patch(&system, "/users/1", &json!({ "age": 151, "name": null, "shoe": 43 }), &[]).await?;
    assert_eq!(faulty.status(), 422);
    let faulty: Value = faulty.json().await?;
    let mut pointers: Vec<_> =
        faulty["errors"].as_array().context("errors")?.iter().filter_map(|fault| fault["pointer"].as_str()).collect();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/age", "/name", "/shoe"], "{faulty}");
    for (path, to, headers, expected) in [
        ("/users/1", json!({ "id": "2" }), &[][..], is(422, "ids-differ")),
        ("/users/1", json!([]), &[], is(422, "invalid-record")),
        ("/users/2", json!({ "age": 1 }), &[], is(404, "not-found")),
        ("/users/2", json!({ "age": 1 }), &[("If-Match", "\"16\"")], is(412, "precondition-failed")),
        ("/users/1", json!({ "age": 1 }), &[("If-Match", "\"16\"")], is(412, "precondition-failed")),
        ("/users/1", json!({ "age": 1 }), &[("If-None-Match", "*")], is(400, "invalid-condition")),
    ] {
        let answer = patch(&system, path, &to, headers).await?;
        let current =
            if path == "/users/1" && headers.first().is_some_and(|(name, _)| *name == "If-Match") { &*tag } else { "" };
        assert_eq!(header(&answer, "etag"), current, "{to} {headers:?}");
        assert_eq!(kind(answer).await?, expected, "{to} {headers:?}");
    }
    let malformed = system.client.patch(format!("{}/users/1", system.ingest_url));
    let malformed = malformed.header("content-type", "application/merge-patch+json").body("{").send().await?;
    assert_eq!(kind(malformed).await?, is(400, "malformed-json"));
    for (twice, expected) in [
        // Together with those of the record that is made of it.
        (
            r#"{"age":151,"age":1,"shoe":43,"id":"1","id":"1"}"#,
            "/age duplicate, /id duplicate, /age range, /shoe unknown",
        ),
        (r#"{"age":1e400,"occupation":-1e400}"#, "/age range, /occupation range"),
    ] {
        assert_eq!(faults(&system, Method::PATCH, "application/merge-patch+json", twice).await?, expected, "{twice}");
    }
    let whole = r#"{"name":"Ada","age":1e400,"occupation":-1e400}"#;
    let as_a_body = faults(&system, Method::PUT, "application/json", whole).await?;
    assert_eq!(as_a_body, "/age range, /occupation range", "the same in a body");
    let plain = system.call(Method::PATCH, "/users/1", Some(&json!({ "age": 1 }))).await?;
    assert_eq!(plain.status(), 415);
    let detail = plain.json::<Value>().await?["detail"].clone();
    assert!(detail.as_str().is_some_and(|detail| detail.contains("application/merge-patch+json")), "{detail}");
    assert_eq!(shown(&system, "/users/1").await?, expected, "something was written all the same");

    assert_eq!(patch(&system, "/users/1", &json!({ "age": 38 }), &[("If-Match", &tag)]).await?.status(), 202);
    // Of a record that only the table has.
    until_persisted(&system, "/users/1").await?;
    forget(&system, "users:1").await?;
    assert_eq!(patch(&system, "/users/1", &json!({ "occupation": "programmer" }), &[]).await?.status(), 202);
    let now = shown(&system, "/users/1").await?;
    assert_eq!((&now["age"], &now["occupation"]), (&json!(38), &json!("programmer")), "{now}");
    let waited = patch(&system, "/users/1", &json!({ "age": 39 }), &[("Prefer", "state=persisted, wait=9")]).await?;
    assert_eq!(waited.status(), 200);
    assert_eq!(system.call(Method::DELETE, "/users/1", None).await?.status(), 202);
    let gone = patch(&system, "/users/1", &json!({ "age": 1 }), &[]).await?;
    assert_eq!(kind(gone).await?, is(404, "not-found"), "a patch brings nothing back");
    Ok(())
}

/// `d13`, and each with its own member: what one writes, no other takes away. Through two processes, which know nothing of each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r9_64_writers_of_one_record_lose_no_update_and_all_succeed() -> Result<()> {
    const WRITERS: u64 = 64;
    let mut system = System::prepare(Servers::shared())?;
    system.add_schema("counters/v1.avsc", COUNTERS)?;
    system = system.up().await?;
    let beside = Beside::start(&system, system.ingest_spec()).await?;
    system.put("counters", "alone", &json!({ "count": 0, "seen": {} })).await?;
    system.put("counters", "all", &json!({ "count": 0, "seen": {} })).await?;
    let own = |writer: u64| json!({ "seen": { format!("w{writer}"): writer } });
    let begun = Instant::now();
    for writer in 0..WRITERS {
        assert_eq!(patch(&system, "/counters/alone", &own(writer), &[]).await?.status(), 202);
    }
    let alone = begun.elapsed();
    let begun = Instant::now();
    let answers = join_all((0..WRITERS).map(async |writer| {
        let url = if writer.is_multiple_of(2) { &system.ingest_url } else { &beside.url };
        let answer = send(&system, url, "/counters/all", &own(writer), &[]).await?;
        let status = answer.status();
        ensure!(status == 202, "{status}: {}", answer.text().await?);
        Ok(())
    }));
    let refused: Vec<_> = answers.await.into_iter().filter_map(Result::err).map(|error| error.to_string()).collect();
    let together = begun.elapsed();
    assert!(refused.is_empty(), "{} of {WRITERS} were refused, such as {:?}", refused.len(), refused.first());
    println!("{WRITERS} patches one after the other: {alone:?}; at once: {together:?}");
    for id in ["alone", "all"] {
        let seen = shown(&system, &format!("/counters/{id}")).await?["seen"].clone();
        let expected: Value =
            (0..WRITERS).map(|writer| (format!("w{writer}"), json!(writer))).collect::<serde_json::Map<_, _>>().into();
        assert_eq!(seen, expected, "{id}: an update was lost");
    }
    let again = metric(
        &system.metrics(&system.ingest_admin_url).await?,
        "write_behind_merged_again_total{entity=\"counters\"}",
    );
    assert!(again > Some(0.0), "they never met, and this shows nothing: {again:?}");

    // Counting up, each with what it has read.
    let count = async |writer: u64| -> Result<()> {
        let url = if writer.is_multiple_of(2) { &system.ingest_url } else { &beside.url };
        loop {
            let read = system.client.get(format!("{url}/counters/all")).send().await?;
            let tag = header(&read, "etag");
            let count = read.json::<Value>().await?["count"].as_u64().context("a count")?;
            let answer =
                send(&system, url, "/counters/all", &json!({ "count": count + 1 }), &[("If-Match", &tag)]).await?;
            match answer.status().as_u16() {
                202 => return Ok(()),
                412 => {}
                status => anyhow::bail!("{status}: {}", answer.text().await?),
            }
        }
    };
    for done in join_all((0..16).map(count)).await {
        done?;
    }
    let counted = shown(&system, "/counters/all").await?;
    assert_eq!(counted["count"], 16, "an update was lost");
    until_persisted(&system, "/counters/all").await?;
    forget(&system, "counters:all").await?;
    assert_eq!(shown(&system, "/counters/all").await?, counted, "and so it is in the table");
    Ok(())
}

/// Within one process they take turns: whoever has his reads what the one before him has written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r9_patches_that_meet_in_one_process_take_turns_and_none_is_merged_twice() -> Result<()> {
    let system = System::prepare(Servers::shared())?;
    system.add_schema("counters/v1.avsc", COUNTERS)?;
    let system = system.up().await?;
    system.put("counters", "1", &json!({ "count": 0, "seen": {} })).await?;
    let patches = (0..64).map(async |writer: u64| {
        let own = json!({ "seen": { format!("w{writer}"): writer } });
        Ok::<_, anyhow::Error>(patch(&system, "/counters/1", &own, &[]).await?.status().as_u16())
    });
    let told: Vec<u16> = join_all(patches).await.into_iter().collect::<Result<_>>()?;
    assert!(told.iter().all(|status| *status == 202), "{told:?}");
    let again = "write_behind_merged_again_total{entity=\"counters\"}";
    let again = metric(&system.metrics(&system.ingest_admin_url).await?, again);
    assert_eq!(again, Some(0.0), "patches of one process have overtaken each other");
    Ok(())
}

/// A patch has an end, whatever others do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r9_whoever_is_never_fast_enough_is_told_so_and_nothing_was_written() -> Result<()> {
    let system = System::prepare(Servers::shared())?.with("ANSWER_DEADLINE_MS", "600");
    system.add_schema("counters/v1.avsc", COUNTERS)?;
    let system = system.up().await?;
    system.put("counters", "1", &json!({ "count": 0, "seen": {} })).await?;
    let stop = std::sync::atomic::AtomicBool::new(false);
    let overwriting = async || -> Result<()> {
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            system.put("counters", "1", &json!({ "count": 1, "seen": {} })).await?;
        }
        Ok(())
    };
    let patching = async {
        let mut contended = 0;
        let until = Instant::now() + e2e::system::PATIENCE;
        while contended == 0 && Instant::now() < until {
            let answers = join_all((0..32).map(|n| {
                let to = json!({ "seen": { format!("w{n}"): n } });
                let system = &system;
                async move { patch(system, "/counters/1", &to, &[]).await }
            }));
            for answer in answers.await {
                let answer = answer?;
                if answer.status() != 202 {
                    assert!(answer.headers().contains_key("retry-after"));
                    assert_eq!(kind(answer).await?, is(503, "contended"));
                    contended += 1;
                }
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        ensure!(contended > 0, "everybody was fast enough, and this shows nothing");
        Ok(())
    };
    let (overwritten, patched) = futures_util::join!(join_all((0..24).map(|_| overwriting())), patching);
    overwritten.into_iter().collect::<Result<Vec<_>>>()?;
    patched
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r9_a_patch_of_what_an_older_schema_wrote_grows_it_and_of_what_a_newer_one_wrote_is_refused() -> Result<()> {
    let mut system = System::prepare(Servers::shared())?;
    system.migrate()?;
    system.start_persister().await?;
    let newest = system.schemas.clone();
    system.schemas = at_version_1(&system)?;
    let old = Beside::start(&system, system.ingest_spec()).await?;
    system.schemas = newest;
    system.start_ingest().await?;
    old.put(&system, "1", &json!({ "name": "Jane", "age": 30, "occupation": "pilot" })).await?;
    assert_eq!(cached_schema(&system, "users:1").await?, "1");
    assert_eq!(patch(&system, "/users/1", &json!({ "last_name": "Doe" }), &[]).await?.status(), 202);
    let grown = text(&system, "/users/1").await?;
    assert_eq!(grown, r#"{"id":"1","name":"Jane","age":30,"occupation":"pilot","first_name":null,"last_name":"Doe"}"#);
    let lossy = send(&system, &old.url, "/users/1", &json!({ "age": 31 }), &[]).await?;
    assert_eq!(kind(lossy).await?, is(503, "newer-schema"), "it would lose the last name");
    assert_eq!(text(&system, "/users/1").await?, grown);
    Ok(())
}

/// The versions that a topic carries, with the age in each.
fn versions(system: &System) -> Result<Vec<String>> {
    let events = read_all(&system.servers.kafka.brokers(), &format!("{}users", system.topic_prefix))?;
    Ok(events.iter().filter_map(|event| Some(event.header("version")?.to_owned())).collect())
}

/// `k18`, `k50`: between script and topic the process dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r7_a_retried_patch_has_its_first_version_and_content_and_never_another() -> Result<()> {
    let mut system = System::prepare(Servers::shared())?;
    system.migrate()?;
    system.start_ingest().await?;
    let mut crashed = Vec::new();
    let key = ("Idempotency-Key", "a");
    for id in ["same", "moved", "gone"] {
        system.put("users", id, &json!({ "name": "Ada", "age": 1, "occupation": "poet" })).await?;
    }
    for id in ["same", "moved", "gone"] {
        let spec = system
            .spec("ingest-with-fail-points", "dying", &system.accounts.ingest)
            .env(FAIL_POINTS, "write.stored=return");
        let dying = Beside::start(&system, spec).await?;
        let died = send(&system, &dying.url, &format!("/users/{id}"), &json!({ "age": 2 }), &[key]).await;
        assert!(died.is_err(), "it was to die between script and topic: {died:?}");
        let read = system.call(Method::GET, &format!("/users/{id}"), None).await?;
        assert_eq!(header(&read, "write-behind-state"), "cached");
        crashed.push(header(&read, "etag").trim_matches('"').to_owned());
    }
    let retry =
        async |system: &System, id: &str| patch(system, &format!("/users/{id}"), &json!({ "age": 2 }), &[key]).await;

    // Still there: its own content is produced, by its version.
    let same = retry(&system, "same").await?;
    assert_eq!((same.status().as_u16(), header(&same, "idempotent-replayed")), (202, "true".to_owned()));
    let told: Value = same.json().await?;
    assert_eq!((told["version"].to_string(), &told["state"]), (crashed[0].clone(), &json!("logged")));
    assert!(versions(&system)?.contains(&crashed[0]), "it was answered logged");
    let other = patch(&system, "/users/same", &json!({ "age": 3 }), &[key]).await?;
    assert_eq!(kind(other).await?, is(422, "idempotency-key-reused"));

    // Somebody else has written, or deleted it: what it was merged into is no more.
    assert_eq!(patch(&system, "/users/moved", &json!({ "occupation": "pilot" }), &[]).await?.status(), 202);
    assert_eq!(system.call(Method::DELETE, "/users/gone", None).await?.status(), 202);
    for (id, version) in [("moved", &crashed[1]), ("gone", &crashed[2])] {
        let unknown = retry(&system, id).await?;
        assert_eq!(unknown.status(), 504, "{id}");
        let unknown: Value = unknown.json().await?;
        assert_eq!(unknown["version"].to_string(), *version, "{unknown}");
        assert!(!versions(&system)?.contains(version), "another content has gone out by the version of the first");
    }
    // Once the newer one is in the table it stands for the older one.
    system.start_persister().await?;
    for (id, version) in [("moved", &crashed[1]), ("gone", &crashed[2])] {
        system.eventually(&format!("{id} is answered"), async || Ok(retry(&system, id).await?.status() == 200)).await?;
        forget(&system, &format!("users:{id}")).await?;
        let known: Value = retry(&system, id).await?.json().await?;
        assert_eq!(
            (known["version"].to_string(), &known["state"]),
            (version.clone(), &json!("persisted")),
            "by its row"
        );
    }
    // Also where the cache knows of nothing but what came after that, and may be a dead letter yet.
    system.persister.take().context("a persister")?.stop(e2e::system::PATIENCE)?;
    assert_eq!(patch(&system, "/users/moved", &json!({ "occupation": "pilot" }), &[]).await?.status(), 202);
    let known = retry(&system, "moved").await?;
    assert_eq!(known.status(), 200, "the table has a newer one: {}", known.text().await?);
    let moved = shown(&system, "/users/moved").await?;
    assert_eq!((&moved["age"], &moved["occupation"]), (&json!(2), &json!("pilot")), "G9: neither is lost");
    assert_eq!(system.call(Method::GET, "/users/gone", None).await?.status(), 404, "G3");
    Ok(())
}
