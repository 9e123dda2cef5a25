//! Preconditions, idempotency keys and preferences, as a client meets them (PROTOCOL R5 to R7; G9).

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use e2e::System;
use e2e::topic_reader::read_all;
use futures_util::future::join_all;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::answers::{header, is, kind};

async fn send(system: &System, method: Method, path: &str, age: u64, headers: &[(&str, &str)]) -> Result<Response> {
    let mut request = system.client.request(method.clone(), format!("{}{path}", system.ingest_url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if method != Method::DELETE {
        request = request.json(&json!({ "name": "Ada", "age": age }));
    }
    Ok(request.send().await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_if_match_and_if_none_match_decide_on_what_is_there() -> Result<()> {
    let system = System::start().await?;
    let missing = send(&system, Method::PUT, "/users/1", 1, &[("If-Match", "\"16\"")]).await?;
    assert_eq!(header(&missing, "etag"), "");
    assert_eq!(kind(missing).await?, is(412, "precondition-failed"));
    let created = send(&system, Method::PUT, "/users/1", 1, &[("If-None-Match", "*")]).await?;
    assert_eq!(created.status(), 202);
    let first = header(&created, "etag");
    let there = send(&system, Method::PUT, "/users/1", 2, &[("If-None-Match", "*")]).await?;
    assert_eq!(header(&there, "etag"), first, "the version that is there");
    assert_eq!(kind(there).await?, is(412, "precondition-failed"));
    let replaced = send(&system, Method::PUT, "/users/1", 2, &[("If-Match", &first)]).await?;
    assert_eq!(replaced.status(), 202);
    let second = header(&replaced, "etag");
    let stale = send(&system, Method::DELETE, "/users/1", 0, &[("If-Match", &first)]).await?;
    assert_eq!(header(&stale, "etag"), second);
    assert_eq!(kind(stale).await?, is(412, "precondition-failed"));
    assert_eq!(send(&system, Method::DELETE, "/users/1", 0, &[("If-Match", &second)]).await?.status(), 202);
    let posted = system.client.post(format!("{}/users", system.ingest_url)).header("If-None-Match", "*");
    let posted = posted.json(&json!({ "id": "1", "name": "Ada", "age": 3 })).send().await?;
    assert_eq!(posted.status(), 202, "a deleted record is none");
    for (name, value) in
        [("If-Match", "W/\"16\""), ("If-Match", "*"), ("If-Match", "\"16\", \"32\""), ("If-None-Match", "\"16\"")]
    {
        assert_eq!(
            kind(send(&system, Method::PUT, "/users/1", 9, &[(name, value)]).await?).await?,
            is(400, "invalid-condition")
        );
    }
    assert_eq!(
        kind(send(&system, Method::PUT, "/users/1", 9, &[("Idempotency-Key", "a b")]).await?).await?,
        is(400, "invalid-condition")
    );

    // What has left the cache is brought back for the decision (R12), and what never was there is found to be nowhere.
    system
        .eventually("it is persisted", async || {
            Ok(header(&system.call(Method::GET, "/users/1", None).await?, "write-behind-state") == "persisted")
        })
        .await?;
    let third = header(&system.call(Method::GET, "/users/1", None).await?, "etag");
    let mut redis = redis::Client::open(system.redis_url.as_str())?.get_connection()?;
    let keys: Vec<String> = redis::cmd("KEYS").arg("wb:*:record:users:1").query(&mut redis)?;
    ensure!(redis::cmd("DEL").arg(keys).query::<u8>(&mut redis)? == 1, "the record was cached");
    assert_eq!(
        kind(send(&system, Method::PUT, "/users/1", 4, &[("If-Match", &first)]).await?).await?,
        is(412, "precondition-failed")
    );
    assert_eq!(send(&system, Method::PUT, "/users/1", 4, &[("If-Match", &third)]).await?.status(), 202);
    Ok(())
}

/// `d13`, `d14`: everybody counts up what he has read, and starts over when somebody else was faster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_if_match_loses_no_update_under_32_writers() -> Result<()> {
    let system = System::start().await?;
    system.put("users", "count", &json!({ "name": "Ada", "age": 0 })).await?;
    let count = async || -> Result<()> {
        loop {
            let read = system.call(Method::GET, "/users/count", None).await?;
            let etag = header(&read, "etag");
            let age = read.json::<Value>().await?["age"].as_u64().unwrap_or(0);
            let answer = send(&system, Method::PUT, "/users/count", age + 1, &[("If-Match", &etag)]).await?;
            match answer.status().as_u16() {
                202 => return Ok(()),
                412 => {}
                status => anyhow::bail!("{status}: {}", answer.text().await?),
            }
        }
    };
    for done in join_all((0..32).map(|_| count())).await {
        done?;
    }
    let read: Value = system.call(Method::GET, "/users/count", None).await?.json().await?;
    assert_eq!(read["age"], 32, "an update was lost");
    let created =
        join_all((0..32).map(|n| send(&system, Method::PUT, "/users/once", n, &[("If-None-Match", "*")]))).await;
    let created =
        created.into_iter().filter(|answer| answer.as_ref().is_ok_and(|answer| answer.status() == 202)).count();
    assert_eq!(created, 1, "a record is created once");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g9_k18_one_key_gives_one_version_however_many_send_it_at_once() -> Result<()> {
    let system = System::start().await?;
    let key = [("Idempotency-Key", "8e03978e-40d5-43dd-bc93-6894a57f9324")];
    let answers = join_all((0..32).map(|_| send(&system, Method::PUT, "/users/1", 7, &key))).await;
    let (mut versions, mut replayed) = (BTreeSet::new(), 0);
    for answer in answers {
        let answer = answer?;
        replayed += u32::from(header(&answer, "idempotent-replayed") == "true");
        let body: Value = answer.json().await?;
        ensure!(body["state"] == "logged" || body["state"] == "persisted", "by its own acknowledgement: {body}");
        versions.insert(body["version"].as_u64());
    }
    assert_eq!((versions.len(), replayed), (1, 31), "{versions:?}");
    let other = send(&system, Method::PUT, "/users/1", 8, &key).await?;
    assert_eq!(kind(other).await?, is(422, "idempotency-key-reused"));
    assert_eq!(send(&system, Method::PUT, "/users/1", 9, &[]).await?.status(), 202);
    assert_eq!(header(&send(&system, Method::PUT, "/users/1", 7, &key).await?, "idempotent-replayed"), "true");
    let read: Value = system.call(Method::GET, "/users/1", None).await?.json().await?;
    assert_eq!(read["age"], 9, "a retry put the old content on top");
    let events = read_all(&system.servers.kafka.brokers(), &format!("{}users", system.topic_prefix))?;
    let carried: BTreeSet<_> = events.iter().filter_map(|event| event.header("version")).collect();
    assert_eq!(carried.len(), 2, "the key's version and the other one: {carried:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_a_post_without_an_id_gets_one_from_its_key_and_never_overwrites() -> Result<()> {
    let system = System::start().await?;
    let key = [("Idempotency-Key", "\"order 17\"")];
    let first = send(&system, Method::POST, "/users", 1, &key).await?;
    assert_eq!(first.status(), 202);
    let path = header(&first, "location");
    let id: Value = first.json().await?;
    assert_eq!(id["id"].as_str().and_then(|id| id.chars().nth(14)), Some('8'), "UUIDv8: {id}");
    let known = send(&system, Method::POST, "/users", 1, &key).await?;
    let shown = (header(&known, "idempotent-replayed"), known.headers().contains_key("idempotency-checked"));
    assert_eq!(shown, ("true".to_owned(), false), "the key was looked up, and is known");
    assert_eq!(send(&system, Method::PUT, &path, 2, &[]).await?.status(), 202);
    // As after the key's TTL, or with a Redis that has lost it.
    let mut redis = redis::Client::open(system.redis_url.as_str())?.get_connection()?;
    let keys: Vec<String> = redis::cmd("KEYS").arg("wb:*:idem:*").query(&mut redis)?;
    ensure!(redis::cmd("DEL").arg(&keys).query::<u8>(&mut redis)? == 1, "{keys:?}");
    let again = send(&system, Method::POST, "/users", 1, &key).await?;
    // 201 where MySQL has it by now.
    assert_eq!((again.status().is_success(), header(&again, "idempotent-replayed")), (true, "true".to_owned()));
    assert_eq!(header(&again, "location"), path);
    assert_eq!(header(&again, "idempotency-checked"), "false", "whose content it is, the key would have told");
    let read: Value = system.call(Method::GET, &path, None).await?.json().await?;
    assert_eq!(read["age"], 2, "newer data was destroyed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r6_whoever_waits_for_the_table_is_told_by_201_or_200_and_else_the_truth_by_202() -> Result<()> {
    let mut system = System::start().await?;
    let wait = ("Prefer", "state=persisted, wait=9");
    let mut told = Vec::new();
    for (method, path, more) in [
        (Method::POST, "/users", None),
        (Method::PUT, "/users/1", Some(("If-None-Match", "*"))),
        (Method::PUT, "/users/1", None),
        (Method::DELETE, "/users/1", None),
    ] {
        let headers: Vec<_> = [wait].into_iter().chain(more).collect();
        let answer = send(&system, method, path, 1, &headers).await?;
        told.push((
            answer.status().as_u16(),
            header(&answer, "preference-applied"),
            header(&answer, "write-behind-state"),
        ));
    }
    let applied = |status| (status, "state=persisted, wait=9".to_owned(), "persisted".to_owned());
    assert_eq!(told, [201, 201, 200, 200].map(applied));
    system.persister.take().map(|persister| persister.kill()).transpose()?;
    let answer = send(&system, Method::PUT, "/users/2", 1, &[("Prefer", "state=persisted, wait=1")]).await?;
    let told = (answer.status().as_u16(), header(&answer, "preference-applied"), header(&answer, "write-behind-state"));
    assert_eq!(told, (202, "wait=1".to_owned(), "logged".to_owned()), "there is nobody who could persist it");
    let answer = send(&system, Method::PUT, "/users/2", 1, &[("Prefer", "state=cached")]).await?;
    assert_eq!(header(&answer, "preference-applied"), "state=cached");
    let answer = send(&system, Method::PUT, "/users/2", 1, &[("Prefer", "state=logged")]).await?;
    assert_eq!(
        (header(&answer, "preference-applied"), header(&answer, "write-behind-state")),
        ("state=logged".to_owned(), "logged".to_owned())
    );
    Ok(())
}

/// RFC 9110: what the client has already is not sent again, wherever the record is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn if_none_match_answers_304_to_who_has_the_newest_version_and_every_answer_has_its_etag() -> Result<()> {
    let system = System::start().await?;
    let created = send(&system, Method::PUT, "/users/1", 1, &[]).await?;
    let first = header(&created, "etag");
    assert_eq!(first, format!("\"{}\"", created.json::<Value>().await?["version"]));
    let changed = send(&system, Method::PUT, "/users/1", 2, &[]).await?;
    let second = header(&changed, "etag");
    crate::every_type::until_persisted(&system, "/users/1").await?;
    for source in ["cache", "table"] {
        for method in [Method::GET, Method::HEAD] {
            for (known, status) in [
                (second.clone(), 304),
                (format!("W/{second}"), 304),
                (format!("\"other\", {first} , {second}"), 304),
                ("*".to_owned(), 304),
                (first.clone(), 200),
                ("\"other\"".to_owned(), 200),
                ("16".to_owned(), 400),
            ] {
                if source == "table" {
                    crate::every_type::forget(&system, "users:1").await.ok();
                }
                let answer = send(&system, method.clone(), "/users/1", 0, &[("If-None-Match", &known)]).await?;
                assert_eq!(answer.status(), status, "{method} {known} from the {source}");
                if status < 400 {
                    let said = ["etag", "write-behind-state", "write-behind-source"].map(|name| header(&answer, name));
                    assert_eq!(said, [&*second, "persisted", source], "{method} {known}");
                    let empty = answer.bytes().await?.is_empty();
                    assert_eq!(empty, status == 304 || method == Method::HEAD, "{method} {known}");
                }
            }
        }
    }
    // What only the table has is compared all the same: with a version, and with none.
    for (name, value, status) in [("If-None-Match", "*", 412), ("If-Match", &*first, 412), ("If-Match", &*second, 202)]
    {
        crate::every_type::forget(&system, "users:1").await.ok();
        let answer = send(&system, Method::PUT, "/users/1", 3, &[(name, value)]).await?;
        assert_eq!(answer.status(), status, "{name}: {value}");
        let tag = header(&answer, "etag");
        assert_eq!(tag == second, status == 412, "412 names what is there: {tag}");
        assert!(!tag.is_empty(), "{name}: {value}");
    }
    for (method, path) in [(Method::DELETE, "/users/1"), (Method::POST, "/users"), (Method::POST, "/write-behind")] {
        let answer = send(&system, method.clone(), path, 4, &[]).await?;
        assert!(answer.status().is_success() && header(&answer, "etag").len() > 10, "{method} {path}");
    }
    let gone = send(&system, Method::GET, "/users/1", 0, &[("If-None-Match", "*")]).await?;
    assert_eq!(kind(gone).await?, is(404, "not-found"), "a deleted record is no version that somebody has");
    Ok(())
}

/// RFC 9110, 13.2.2: which version is wanted is looked at first, and only of a record that is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn if_match_on_a_read_answers_that_version_or_412_with_the_one_that_is_there() -> Result<()> {
    let system = System::start().await?;
    let first = header(&send(&system, Method::PUT, "/users/1", 1, &[]).await?, "etag");
    let second = header(&send(&system, Method::PUT, "/users/1", 2, &[]).await?, "etag");
    crate::every_type::until_persisted(&system, "/users/1").await?;
    let version = second.trim_matches('"');
    for source in ["cache", "table"] {
        for method in [Method::GET, Method::HEAD] {
            let headers = [
                (&[("If-Match", &*second)][..], 200),
                (&[("If-Match", &first)], 412),
                (&[("If-Match", &second), ("If-None-Match", &first)], 200),
                (&[("If-Match", &second), ("If-None-Match", &second)], 304),
                (&[("If-Match", &first), ("If-None-Match", &second)], 412),
                (&[("If-Match", &first), ("If-None-Match", "*")], 412),
                (&[("If-Match", &first), ("Min-Version", &second)], 412),
                (&[("If-Match", &second), ("Min-Version", &first)], 200),
                (&[("If-Match", "*")], 400),
                (&[("If-Match", version)], 400),
            ];
            for (headers, status) in headers {
                if source == "table" {
                    crate::every_type::forget(&system, "users:1").await.ok();
                }
                let answer = send(&system, method.clone(), "/users/1", 0, headers).await?;
                let what = format!("{method} {headers:?} from the {source}");
                assert_eq!(answer.status(), status, "{what}");
                if status == 400 {
                    continue;
                }
                let said = ["etag", "write-behind-source"].map(|name| header(&answer, name));
                assert_eq!(said, [&*second, source], "{what}");
                if status == 412 && method == Method::GET {
                    let problem: Value = answer.json().await?;
                    assert_eq!(problem["type"], "urn:write-behind:problem:precondition-failed", "{what}");
                    assert_eq!(problem["version"].to_string(), version, "{what}");
                }
            }
        }
    }
    let nobody = send(&system, Method::GET, "/users/nobody", 0, &[("If-Match", &second)]).await?;
    assert_eq!(kind(nobody).await?, is(404, "not-found"), "what would be no success is not made one by a condition");
    Ok(())
}
