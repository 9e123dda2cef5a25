//! The path from a request to the row on an idle system: one write at a time, watched from the table's side.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::task::JoinSet;

use super::rows::Rows;
use crate::System;

/// How often the table is asked for the row.
const ASK: Duration = Duration::from_micros(500);
/// Between two writes, so that the system is idle again.
const PAUSE: Duration = Duration::from_millis(30);

/// Posts `count` users one after the other; milliseconds from each request to its row being visible in the database.
///
/// # Errors
/// A write is not accepted, or its row does not appear.
pub async fn latencies(system: &System, tag: &str, count: usize) -> Result<Vec<f64>> {
    let mut rows = Rows::of(system, "users").await?;
    let mut latencies = Vec::with_capacity(count);
    for number in 0..count {
        tokio::time::sleep(PAUSE).await;
        let id = format!("{tag}-{number}");
        let body = json!({ "id": id, "name": "John Doe", "age": 30, "occupation": "Engineer" });
        let begun = Instant::now();
        let request = system.client.post(format!("{}/users", system.ingest_url)).json(&body).send();
        // A task, since watching the table blocks this one.
        let mut asked = JoinSet::new();
        asked.spawn(request);
        latencies.push(appears(&mut rows, &id, begun).await?.as_secs_f64() * 1e3);
        let answer = asked.join_next().await.context("one request was sent")???;
        ensure!(answer.status().is_success(), "a write was not accepted");
    }
    Ok(latencies)
}

async fn appears(rows: &mut Rows, id: &str, begun: Instant) -> Result<Duration> {
    while begun.elapsed() < Duration::from_secs(10) {
        if rows.has(&[id]).await? {
            return Ok(begun.elapsed());
        }
        // The runtime's own timer is too coarse for this.
        tokio::task::block_in_place(|| std::thread::sleep(ASK));
    }
    anyhow::bail!("the row of {id} did not appear")
}
