//! Bulk writes: what a line costs beside a request of its own, and whether memory stays flat over one request of a million
//! lines.

use std::io;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use reqwest::{Body, Client};

use super::cpu::Meter;
use super::ingest::{drained, sum};
use super::memory::{Curve, Sample, sample};
use super::report::Report;
use super::rows::Rows;
use super::wrk::Wrk;
use super::{Extent, machine, stand};
use crate::{Servers, System};

/// Lines that a client hands over at once.
const LINES_AT_ONCE: u64 = 200;
/// Connections of the requests of their own.
const CONNECTIONS: u32 = 256;

/// What the figures of requests of their own are called.
const SINGLE: &str = "requests, 256 connections";

/// `logged` writes a second, as lines of one or two requests, and as requests of their own (PUT from 256 connections), in turn.
///
/// # Errors
/// Something does not run, or a line is not `logged`: then there are no figures.
pub async fn run(servers: Servers, extent: Extent) -> Result<Report> {
    let mut report = Report::new("bulk", machine::facts(&servers).await?);
    let mut wrk = Wrk::new()?;
    let mut warming = Report::new("warming", serde_json::Value::Null);
    round(servers, &mut wrk, (extent, true), &mut warming).await?;
    for number in 0..extent.rounds {
        eprintln!("bulk: round {} of {}", number + 1, extent.rounds);
        round(servers, &mut wrk, (extent, number % 2 == 0), &mut report).await?;
    }
    for bulks in [1, 2] {
        report.compare(&lines_of(bulks), SINGLE);
        report.compare(&format!("ingest CPU, {}", lines_of(bulks)), &format!("ingest CPU, {SINGLE}"));
    }
    Ok(report)
}

fn lines_of(bulks: u64) -> String {
    format!("lines, {bulks} at once")
}

async fn round(
    servers: Servers,
    wrk: &mut Wrk,
    (extent, single_first): (Extent, bool),
    report: &mut Report,
) -> Result<()> {
    let (time, lines) = if extent.quick { (2, 20_000) } else { (6, 100_000) };
    let mut system = System::prepare(servers)?;
    system.migrate()?;
    system.start_ingest().await?;
    let pids = [system.ingest.as_ref().context("ingest runs")?.pid(), servers.redis.pid(), servers.kafka.pid()];
    let mut sent = 0;
    for single_now in [single_first, !single_first] {
        if single_now {
            let meter = Meter::start(&pids)?;
            let run = wrk.run(&system.ingest_url, None, CONNECTIONS, Duration::from_secs(time))?;
            add(report, SINGLE, run.rate, &meter.micros_per(run.answered)?);
            sent += run.answered;
        } else {
            for bulks in [1, 2] {
                let (meter, begun) = (Meter::start(&pids)?, Instant::now());
                let each = (0..bulks).map(|bulk| send(&system, format!("{bulks}-{bulk}"), lines));
                for done in join_all(each).await {
                    ensure!(done? == lines, "not every line was answered");
                }
                let rate = per_second(lines * bulks, begun.elapsed());
                add(report, &lines_of(bulks), rate, &meter.micros_per(lines * bulks)?);
                sent += lines * bulks;
            }
        }
    }
    system.start_persister().await?;
    drained(&system).await?;
    let found = Rows::of(&system, "users").await?.count().await?;
    ensure!(found >= sent, "{found} rows of {sent} that were acknowledged");
    (system.persister, system.ingest) = (None, None);
    stand::forget_cache(&system).await
}

fn add(report: &mut Report, what: &str, rate: f64, cpu: &[f64]) {
    report.add(what, "/s", rate);
    for (of, micros) in ["ingest", "Redis", "Kafka"].iter().zip(cpu) {
        report.add(&format!("{of} CPU, {what}"), "µs/write", *micros);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of a bench is far below 2^53")]
fn per_second(count: u64, span: Duration) -> f64 {
    count as f64 / span.as_secs_f64()
}

/// So many lines by one request, while the persister brings them to the table; and the memory of both meanwhile.
///
/// # Errors
/// A line is refused, a row is missing, or a process ended.
pub async fn memory(servers: Servers, lines: u64, told: impl Fn(&Sample)) -> Result<Curve> {
    let system = System::prepare(servers)?.up().await?;
    let (begun, mut samples) = (Instant::now(), Vec::new());
    let sending = send(&system, "million".to_owned(), lines);
    let mut sending = std::pin::pin!(sending);
    let accepted = loop {
        tokio::select! {
            accepted = &mut sending => break accepted?,
            () = tokio::time::sleep(Duration::from_secs(1)) => samples.push(sample(&system, begun, &told)?),
        }
    };
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(accepted == lines, "{accepted} of {lines} lines were accepted");
    let logged = sum(&system.metrics(&system.ingest_admin_url).await?, "write_behind_accepted_total{", |_| true);
    ensure!(logged == lines, "{logged} writes were accepted for {lines} lines");
    drained(&system).await?;
    let found = Rows::of(&system, "users").await?.count().await?;
    ensure!(found == lines, "{found} rows of {lines} lines");
    let done = format!("{lines} lines by one request in {seconds:.0} s, each in the table");
    Ok(Curve { samples, done })
}

/// Sends so many lines by one request, and counts their results, each of which is 202 `logged`.
async fn send(system: &System, tag: String, lines: u64) -> Result<u64> {
    let chunk = move |from: u64| -> io::Result<String> {
        let line = |at: u64| {
            let age = 10 + at % 90;
            format!(
                "{{\"id\":\"{tag}-{at:08}\",\"name\":\"user {tag}-{at:08}\",\"age\":{age},\"occupation\":\"builder of bridges and \
                 harbours\",\"first_name\":\"Maximiliane\",\"last_name\":\"Hohenstein-Lindenberg\"}}\n"
            )
        };
        Ok((from..lines.min(from + LINES_AT_ONCE)).map(line).collect())
    };
    let starts = (0..lines).step_by(usize::try_from(LINES_AT_ONCE)?);
    let body = Body::wrap_stream(stream::iter(starts.map(chunk)));
    let request = Client::new().post(format!("{}/users:bulk", system.ingest_url));
    let answer = request.header("Content-Type", "application/x-ndjson").body(body).send().await?;
    ensure!(answer.status() == 207, "{}", answer.status());
    let (mut results, mut line, mut count) = (answer.bytes_stream(), Vec::new(), 0);
    while let Some(bytes) = results.next().await.transpose()? {
        for byte in &bytes {
            if *byte != b'\n' {
                line.push(*byte);
                continue;
            }
            count += 1;
            let text = std::str::from_utf8(&line)?;
            ensure!(text.contains("\"status\":202") && text.contains("\"state\":\"logged\""), "line {count}: {text}");
            line.clear();
        }
    }
    Ok(count)
}
