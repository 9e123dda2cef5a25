//! `GET /{entity}?ids=`: many records by one request, whole or not at all.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use e2e::{Servers, System};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use sqlx::Row;

use crate::answers::{kind, shown};
use crate::bulk::{bulk, line, results};

async fn get(system: &System, query: &str) -> Result<Response> {
    system.call(Method::GET, &format!("/users{query}"), None).await
}

async fn told(system: &System, ids: &[String]) -> Result<Value> {
    let answer = get(system, &format!("?ids={}", ids.join(","))).await?;
    ensure!(answer.status() == 200, "{}: {}", answer.status(), answer.text().await?);
    Ok(answer.json().await?)
}

/// Takes what is persisted out of the cache, as if its time were over.
async fn expired(system: &System, ids: &[String]) -> Result<()> {
    let persisted = async || {
        let read = told(system, ids).await?;
        let records = read["records"].as_array().context("records")?;
        Ok(records.len() == ids.len() && records.iter().all(|record| record["state"] == "persisted"))
    };
    system.eventually("all are persisted", persisted).await?;
    let keys: Vec<String> = system.redis(&["KEYS", "wb:*:record:users:*"], &[]).await?;
    let gone: usize = system.redis(&["DEL"], &keys).await?;
    ensure!(gone >= ids.len(), "only {gone} were cached");
    Ok(())
}

fn sources(read: &Value) -> Vec<&str> {
    read["records"].as_array().into_iter().flatten().filter_map(|record| record["source"].as_str()).collect()
}

/// How many statements the database has executed.
async fn executed(system: &System) -> Result<u64> {
    let row = sqlx::query("SHOW GLOBAL STATUS LIKE 'Com_stmt_execute'").fetch_one(&system.table().await?).await?;
    Ok(row.get::<String, _>(1).parse()?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r12_records_come_in_the_order_asked_from_wherever_they_are_and_fill_the_cache() -> Result<()> {
    let system = System::prepare(Servers::own()?)?.up().await?;
    let ids: Vec<_> = (0..100).map(|id| id.to_string()).collect();
    let lines: String = (0..100).map(|id| line(&id.to_string(), id)).collect();
    results(bulk(&system, &[], lines).await?).await?;
    expired(&system, &ids).await?;
    let (before, begun) = (executed(&system).await?, Instant::now());
    let read = told(&system, &ids).await?;
    let (seconds, statements) = (begun.elapsed().as_secs_f64(), executed(&system).await? - before);
    assert_eq!(sources(&read), vec!["table"; 100]);
    // Those of the services' own among them.
    assert!(statements < 20, "100 rows took {statements} statements");
    assert!(seconds < 1.0, "100 rows took {seconds} s");
    for (at, record) in read["records"].as_array().into_iter().flatten().enumerate() {
        ensure!(record["id"] == ids[at].as_str() && record["record"]["age"] == at, "number {at}: {record}");
        ensure!(record["state"] == "persisted" && record["version"].is_u64(), "number {at}: {record}");
    }
    let again = told(&system, &ids).await?;
    assert_eq!(sources(&again), vec!["cache"; 100], "what was read was not put into the cache");
    assert_eq!(again["records"][7]["version"], read["records"][7]["version"]);

    // Deleted, never there, twice, and in another order.
    system.call(Method::DELETE, "/users/5", None).await?;
    system.put("users", "7", &json!({ "name": "Ada", "age": 77 })).await?;
    let some: Vec<_> = ["7", "nobody", "5", "3", "7"].map(str::to_owned).into();
    let read = told(&system, &some).await?;
    assert_eq!(read["missing"], json!(["nobody", "5"]));
    let ages: Vec<_> =
        read["records"].as_array().into_iter().flatten().map(|record| &record["record"]["age"]).collect();
    assert_eq!(ages, [77, 3], "each once, in the order in which they were named first");
    assert_eq!(sources(&read), ["cache", "cache"]);

    // One that only a database which is away could tell of keeps all: nothing is told by halves.
    system.servers.database.kill()?;
    assert_eq!(kind(get(&system, "?ids=7,elsewhere,3").await?).await?, (503, "database-away".to_owned()));
    assert_eq!(told(&system, &["7".to_owned(), "3".to_owned()]).await?["records"].as_array().map(Vec::len), Some(2));
    system.servers.database.restart()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_exactly_as_many_ids_as_may_be_are_answered_and_nothing_else_is_a_listing() -> Result<()> {
    let system = System::prepare(Servers::shared())?.with("IDS_MOST", "3").with("BODY_BYTES_MOST", "400");
    let system = system.with("BODIES_BYTES_MOST", "500").up().await?;
    assert_eq!(get(&system, "?ids=a,b,c").await?.json::<Value>().await?["missing"], json!(["a", "b", "c"]));
    for refused in ["?ids=a,b,c,d", "", "?ids=", "?id=a", "?ids=a&ids=b"] {
        assert_eq!(kind(get(&system, refused).await?).await?, (400, "invalid-query".to_owned()), "{refused}");
    }
    let invalid: Value = get(&system, "?ids=a,b%20c").await?.json().await?;
    assert!(invalid["detail"].as_str().is_some_and(|detail| detail.starts_with("number 2 of ids")), "{invalid}");
    let head = system.call(Method::HEAD, "/users?ids=a", None).await?;
    assert_eq!((head.status().as_u16(), head.text().await?), (200, String::new()));
    let put = system.call(Method::PUT, "/users", Some(&json!({}))).await?;
    assert_eq!((put.status().as_u16(), &put.headers()["allow"]), (405, &"GET, HEAD, POST".parse()?));
    assert_eq!(kind(system.call(Method::GET, "/nobody?ids=a", None).await?).await?.0, 404);

    // An answer takes room as a body does.
    for id in ["1", "2"] {
        system.put("users", id, &json!({ "name": "x".repeat(255), "age": 1 })).await?;
    }
    assert_eq!(get(&system, "?ids=1").await?.status(), 200);
    assert_eq!(kind(get(&system, "?ids=1,2").await?).await?, (503, "bodies-full".to_owned()));
    let taken = async || Ok(shown(&system, "write_behind_bodies_bytes").await? == 0.0);
    system.eventually("what an answer has taken is given back", taken).await
}
