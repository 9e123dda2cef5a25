//! A load whose send times are fixed in advance: a slow answer delays nothing behind it, so that no slowness is hidden
//! (no coordinated omission). Once a second it is asked how far behind the table is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::Client;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::lag::Lag;
use super::rows::Rows;
use crate::System;

/// How much is sent.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Writes a second.
    pub rate: u32,
    /// For so long.
    pub seconds: u32,
}

/// One second of the curve.
#[derive(Clone, Copy, Debug)]
pub struct Second {
    /// Since the beginning.
    pub second: u32,
    /// Writes sent until then.
    pub sent: u64,
    /// Writes acknowledged until then.
    pub acknowledged: u64,
    /// Events that the group has not committed, as Kafka has it.
    pub uncommitted: u64,
    /// Acknowledged writes without a row: the honest measure.
    pub rowless: u64,
    /// Half of all writes were in the database within so many milliseconds of their birth, by the persister's histogram.
    pub lag_p50_millis: f64,
    /// 99 of 100.
    pub lag_p99_millis: f64,
}

/// How it went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The curve.
    pub seconds: Vec<Second>,
    /// From the last send until every write was acknowledged, had its row, and nothing was uncommitted.
    pub until_rows: Duration,
    /// The same until the offsets were committed too.
    pub until_zero: Duration,
    /// Milliseconds from each planned send to its acknowledgement.
    pub answers_millis: Vec<f64>,
}

/// What the senders have done so far.
#[derive(Debug, Default)]
struct Progress {
    sent: AtomicU64,
    acknowledged: AtomicU64,
    failed: AtomicU64,
    answers: Mutex<Vec<f64>>,
}

/// Runs the load; `show` gets each second as it ends.
///
/// # Errors
/// A write fails, or the system does not come to rest.
pub async fn run(system: &System, load: Load, mut show: impl FnMut(&Second)) -> Result<Outcome> {
    let progress = Arc::new(Progress::default());
    let (mut rows, mut lag) = (Rows::of(system, "users").await?, Lag::of(system, "users")?);
    let there = rows.count().await?;
    let begun = Instant::now() + Duration::from_millis(100);
    let url = format!("{}/users", system.ingest_url);
    let mut sending = JoinSet::new();
    sending.spawn(send(system.client.clone(), url, load, begun, Arc::clone(&progress)));
    let mut seconds = Vec::new();
    for second in 1..=load.seconds {
        sleep_until(begun + Duration::from_secs(second.into())).await;
        let now = look(system, second, &progress, &mut rows, &mut lag, there).await?;
        show(&now);
        seconds.push(now);
    }
    let last = sending.join_next().await.context("the sender runs")???;
    let all = u64::from(load.rate) * u64::from(load.seconds);
    let until_rows = until(last, async || {
        ensure!(progress.failed.load(Ordering::Relaxed) == 0, "a write was not acknowledged as logged");
        Ok(progress.acknowledged.load(Ordering::Relaxed) == all && rows.count().await? - there == all)
    })
    .await?;
    let until_zero = until(last, async || Ok(lag.behind()? == 0)).await?;
    let answers_millis = std::mem::take(&mut *progress.answers.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Outcome { seconds, until_rows, until_zero: until_zero.max(until_rows), answers_millis })
}

/// Sends each write at its time, whatever became of the ones before; returns the time of the last.
async fn send(client: Client, url: String, load: Load, begun: Instant, progress: Arc<Progress>) -> Result<Instant> {
    let run: u64 = rand::random();
    let mut writes = JoinSet::new();
    for number in 0..load.rate * load.seconds {
        let planned = begun + Duration::from_secs(1) * number / load.rate;
        sleep_until(planned).await;
        let id = format!("{run:016x}-{number}");
        let request = client.post(&url).json(&json!({ "id": id, "name": "Jane Doe", "age": 41, "occupation": null }));
        let progress = Arc::clone(&progress);
        progress.sent.fetch_add(1, Ordering::Relaxed);
        writes.spawn(async move {
            let logged = match request.send().await {
                Ok(answer) => answer.status().is_success() && state(&answer) == Some("logged"),
                Err(_) => false,
            };
            let counter = if logged { &progress.acknowledged } else { &progress.failed };
            counter.fetch_add(1, Ordering::Relaxed);
            let millis = planned.elapsed().as_secs_f64() * 1e3;
            progress.answers.lock().unwrap_or_else(PoisonError::into_inner).push(millis);
        });
    }
    let last = Instant::now();
    while let Some(ended) = writes.join_next().await {
        ended?;
    }
    Ok(last)
}

fn state(answer: &reqwest::Response) -> Option<&str> {
    answer.headers().get("write-behind-state")?.to_str().ok()
}

/// Rows are counted before acknowledgements, so that what is behind is overstated rather than hidden.
async fn look(
    system: &System,
    second: u32,
    progress: &Progress,
    rows: &mut Rows,
    lag: &mut Lag,
    there: u64,
) -> Result<Second> {
    let stored = rows.count().await? - there;
    let (sent, acknowledged) = (progress.sent.load(Ordering::Relaxed), progress.acknowledged.load(Ordering::Relaxed));
    let uncommitted = lag.behind()?;
    let text = system.metrics(&system.persister_admin_url).await?;
    let lag = |share| histogram_quantile(&text, "write_behind_write_lag_seconds", share).unwrap_or(0.0) * 1e3;
    let rowless = acknowledged.saturating_sub(stored);
    Ok(Second { second, sent, acknowledged, uncommitted, rowless, lag_p50_millis: lag(0.5), lag_p99_millis: lag(0.99) })
}

async fn until(since: Instant, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<Duration> {
    while since.elapsed() < Duration::from_secs(120) {
        if holds().await? {
            return Ok(since.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    anyhow::bail!("not at rest two minutes after the load ended")
}

/// As Prometheus estimates it: linear within a bucket. Over the series of `users`.
fn histogram_quantile(text: &str, name: &str, share: f64) -> Option<f64> {
    let series = format!("{name}_bucket{{entity=\"users\"");
    let bucket = |line: &str| {
        let (labels, count) = line.strip_prefix(&series)?.rsplit_once(' ')?;
        let bound = labels.split("le=\"").nth(1)?.split('"').next()?;
        Some((bound.parse::<f64>().ok()?, count.parse::<f64>().ok()?))
    };
    let buckets: Vec<_> = text.lines().filter_map(bucket).collect();
    let rank = buckets.last()?.1 * share;
    let (mut below, mut counted) = (0.0, 0.0);
    for (bound, count) in buckets {
        if count >= rank && count > 0.0 {
            let bound = if bound.is_finite() { bound } else { below };
            return Some(below + (bound - below) * (rank - counted) / (count - counted));
        }
        (below, counted) = (bound, count);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let text = "x_bucket{entity=\"users\",le=\"1\"} 0\nx_bucket{entity=\"users\",le=\"2\"} 8\n\
                    x_bucket{entity=\"users\",le=\"4\"} 10\nx_bucket{entity=\"users\",le=\"+Inf\"} 10\n";
        assert_eq!(histogram_quantile(text, "x", 0.5), Some(1.0 + 5.0 / 8.0));
        assert_eq!(histogram_quantile(text, "x", 0.9), Some(3.0));
        assert_eq!(histogram_quantile("", "x", 0.5), None);
    }
}
