//! An open loop that is many times what a system takes: what becomes of what it accepts?

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::open_loop::Load;
use crate::System;

/// What is written.
const BODY: &str = r#"{"name":"Jane Doe","age":41}"#;

/// What became of each write.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Version of each accepted record, by its id.
    pub accepted: HashMap<String, u64>,
    /// Milliseconds from the planned time of each accepted write to its answer.
    pub accepted_millis: Vec<f64>,
    /// The same of those that were refused for want of a place.
    pub refused_millis: Vec<f64>,
    /// Answers of another kind, and requests without one, by what they were.
    pub others: HashMap<String, u64>,
    /// From the first planned time to the last answer.
    pub took: Duration,
}

enum Told {
    Accepted { id: String, version: u64 },
    Refused,
    Other(String),
}

/// How often a connection's turn comes: longer than an accepted write takes, so that its answer delays nothing.
const TURNS_A_SECOND: u32 = 4;

/// Puts each record at its time. Many connections take turns, so that no answer is waited for before the next is sent; where one
/// is so late that its connection's next turn has passed, that delay counts. A shed request must cost its sender little, who
/// shares the machine: the requests are written by hand, and of an answer only its length, status and version are read.
///
/// # Errors
/// A connection cannot be made.
pub async fn run(system: &System, tag: &str, load: Load) -> Result<Outcome> {
    let host = system.ingest_url.trim_start_matches("http://").to_owned();
    let connections = load.rate.div_ceil(TURNS_A_SECOND);
    let mut senders = JoinSet::new();
    let begun = Instant::now() + Duration::from_secs(1);
    for first in 0..connections {
        let stream = TcpStream::connect(&host).await?;
        stream.set_nodelay(true)?;
        let numbers = (first..load.rate * load.seconds).step_by(connections as usize);
        senders.spawn(send(stream, host.clone(), tag.to_owned(), numbers, load.rate, begun));
    }
    let mut outcome = Outcome::default();
    while let Some(sent) = senders.join_next().await {
        for (told, millis) in sent? {
            match told {
                Told::Accepted { id, version } => {
                    outcome.accepted.insert(id, version);
                    outcome.accepted_millis.push(millis);
                }
                Told::Refused => outcome.refused_millis.push(millis),
                Told::Other(what) => *outcome.others.entry(what).or_default() += 1,
            }
        }
    }
    outcome.took = begun.elapsed();
    Ok(outcome)
}

async fn send(
    mut stream: TcpStream,
    host: String,
    tag: String,
    numbers: impl Iterator<Item = u32>,
    rate: u32,
    begun: Instant,
) -> Vec<(Told, f64)> {
    let mut all = Vec::new();
    for number in numbers {
        let planned = begun + Duration::from_secs(1) * number / rate;
        sleep_until(planned).await;
        let id = format!("{tag}-{number}");
        let told = match exchange(&mut stream, &host, &id).await {
            Ok((status, body)) => read(status, &body, id),
            Err(error) => {
                // What became of it is not known; the next turn has a connection again.
                if let Ok(another) = TcpStream::connect(&host).await {
                    stream = another;
                }
                Told::Other(format!("no answer: {error}"))
            }
        };
        all.push((told, planned.elapsed().as_secs_f64() * 1e3));
    }
    all
}

async fn exchange(stream: &mut TcpStream, host: &str, id: &str) -> Result<(u16, String)> {
    let length = BODY.len();
    let head = format!(
        "PUT /users/{id} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all((head + BODY).as_bytes()).await?;
    let (mut read, mut part) = (String::new(), [0; 2048]);
    loop {
        let bytes = stream.read(&mut part).await?;
        ensure!(bytes > 0, "the connection ended");
        read += &String::from_utf8_lossy(part.get(..bytes).unwrap_or_default());
        let Some((head, body)) = read.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if body.len() >= length.unwrap_or(0) {
            let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
            return Ok((status.context("a status")?, body.to_owned()));
        }
    }
}

fn read(status: u16, body: &str, id: String) -> Told {
    if status == 503 && body.contains(":busy\"") {
        return Told::Refused;
    }
    let answer: Value = serde_json::from_str(body).unwrap_or_default();
    match answer.get("version").and_then(Value::as_u64) {
        Some(version) if (200..300).contains(&status) => Told::Accepted { id, version },
        _ => Told::Other(format!("{status} {}", answer.get("type").and_then(Value::as_str).unwrap_or_default())),
    }
}

/// Waits until each accepted write has its row in its version, and says how many rows the others have all the same.
///
/// # Errors
/// A write that was accepted is lost.
pub async fn settled(system: &System, tag: &str, outcome: &Outcome) -> Result<usize> {
    let table = system.table().await?;
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        let rows: Vec<(String, u64)> = sqlx::query_as("SELECT id, version FROM users WHERE id LIKE CONCAT(?, '-%')")
            .bind(tag)
            .fetch_all(&table)
            .await?;
        let rows: HashMap<_, _> = rows.into_iter().collect();
        let has = |(id, version): (&String, &u64)| rows.get(id) == Some(version);
        let missing = outcome.accepted.iter().filter(|accepted| !has(*accepted)).count();
        if missing == 0 {
            return Ok(rows.len() - outcome.accepted.len());
        }
        ensure!(Instant::now() < until, "{missing} accepted writes have no row of their version after two minutes");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
