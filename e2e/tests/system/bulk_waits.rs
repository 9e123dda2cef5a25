//! A bulk whose client wants to know what the table has (`Prefer: state=persisted, wait=…`): each line waits for itself.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use crate::answers::is;
use crate::bulk::{bulk, line, results, told};
use crate::dead::{POISON, prepared};
use crate::every_type::until_persisted;

/// Status, and what kind of problem it is or which state it has.
fn all(results: &[Value]) -> Result<Vec<(u16, String)>> {
    let each = |result| {
        let (status, told) = told(result);
        Ok((u16::try_from(status)?, told))
    };
    results.iter().map(each).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_line_of_a_bulk_waits_for_the_table_and_says_what_came_of_it_there() -> Result<()> {
    let mut system = prepared(&[]).await?;
    system.start_persister().await?;
    let deletion = |id: &str| format!("{}\n", json!({ "id": id, "deleted": true }));
    let mut lines = line("1", 1) + &deletion("2") + &line("1", 2);
    lines += &format!("{}\n", json!({ "id": "3", "name": POISON, "age": 3 }));
    lines += &line("4", 4);
    let wait = [("Prefer", "state=persisted, wait=9"), ("Idempotency-Key", "a")];
    let first = results(bulk(&system, &wait, lines.clone()).await?).await?;
    let expected = [
        is(201, "persisted"),
        is(200, "persisted"),
        is(201, "persisted"),
        is(409, "dead-lettered"),
        is(201, "persisted"),
    ];
    assert_eq!(all(&first)?, expected, "{first:#?}");
    let dead = &first[3];
    let version = dead["version"].as_u64().context("a version")?;
    assert_eq!((&dead["id"], &dead["fate"]), (&json!("3"), &json!(format!("/users/3/writes/{version}"))), "{dead}");
    assert!(dead["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{dead}");
    let row: (u64, i32) = sqlx::query_as("SELECT CAST(version AS UNSIGNED), age FROM users WHERE id = '1'")
        .fetch_one(&system.table().await?)
        .await?;
    assert_eq!((Some(row.0), row.1), (first[2]["version"].as_u64(), 2), "it was answered before the table had it");
    // Whoever asks again is told the same.
    let again = results(bulk(&system, &wait, lines).await?).await?;
    assert_eq!(all(&again)?, expected, "{again:#?}");
    assert!([0, 1, 2, 4].iter().all(|at| again[*at]["replayed"] == true), "{again:#?}");

    // With nobody to persist them, the truth; they wait beside each other.
    system.persister.take().context("a persister")?.kill()?;
    let begun = Instant::now();
    let lines: String = (0..20).map(|at| line(&format!("late-{at}"), at)).collect();
    let late = results(bulk(&system, &[("Prefer", "state=persisted, wait=1")], lines).await?).await?;
    let took = begun.elapsed();
    ensure!(late.len() == 20 && all(&late)?.iter().all(|told| *told == is(202, "logged")), "{late:#?}");
    ensure!((1..6).contains(&took.as_secs()), "20 lines that wait a second each were answered after {took:?}");
    system.start_persister().await?;
    until_persisted(&system, "/users/late-19").await?;
    let read: Value = system.call(Method::GET, "/users/late-0", None).await?.json().await?;
    assert_eq!(read["age"], 0, "what was answered 202 comes to the table");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_is_not_asked_to_wait_is_answered_while_nobody_persists() -> Result<()> {
    let system = prepared(&[]).await?;
    for prefer in ["wait=9", "state=persisted", "state=logged, wait=9"] {
        let begun = Instant::now();
        let answered = results(bulk(&system, &[("Prefer", prefer)], line("1", 1)).await?).await?;
        assert_eq!(all(&answered)?, [is(202, "logged")], "{prefer}");
        ensure!(begun.elapsed() < Duration::from_secs(5), "{prefer}: it waited for {:?}", begun.elapsed());
    }
    Ok(())
}
