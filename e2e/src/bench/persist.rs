//! What the guarantees of the persister cost: a backlog drained by it, and by a bare consumer with the same statement. Both
//! read the same topic from its beginning with a group of their own into an emptied table; the tables must be equal.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use stack::{Ended, Lifetime, Process};

use super::backlog::{self, Backlog};
use super::cpu::Meter;
use super::lag::Lag;
use super::report::Report;
use super::rows::{Content, Rows};
use super::{Extent, machine, stand};
use crate::{Servers, System};

/// How long one drain may take.
const DRAIN: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contender {
    Bare,
    Persister,
}

/// Measures and checks.
///
/// # Errors
/// Something does not run, or a check fails: then there are no figures.
pub async fn run(servers: Servers, extent: Extent) -> Result<Report> {
    let mut report = Report::new("persist", machine::facts(&servers).await?);
    let mut warming = Report::new("warming", serde_json::Value::Null);
    let mut system = System::prepare(servers)?;
    system.migrate()?;
    let events = if extent.quick { 50_000 } else { 200_000 };
    let backlog = tokio::task::block_in_place(|| backlog::produce(&system, events))?;
    let both = [Contender::Bare, Contender::Persister];
    let mut seen = None;
    for number in 0..=extent.rounds {
        eprintln!("persist: round {number} of {}", extent.rounds);
        let order = if number % 2 == 0 { both } else { [both[1], both[0]] };
        for contender in order {
            // The first round warms up: Kafka's page cache, its compiled paths, the database's pages.
            let report = if number == 0 { &mut warming } else { &mut report };
            system.group = format!("{contender:?}-{number}");
            let content = drain(&system, contender, &backlog, report).await?;
            ensure!(content.rows == backlog.events, "{contender:?} left {} of {events} rows", content.rows);
            ensure!(*seen.get_or_insert(content) == content, "the tables differ: {seen:?}, {contender:?} {content:?}");
        }
    }
    if let Some(Content { rows, checksum }) = seen {
        eprintln!("   checked: every table had {rows} rows and the checksum {checksum}");
    }
    for unit in ["rows", "CPU", "database CPU"] {
        report.compare(&format!("persister {unit}"), &format!("bare consumer {unit}"));
    }
    Ok(report)
}

/// One drain, from the first batch in the table to the last row.
async fn drain(system: &System, contender: Contender, backlog: &Backlog, report: &mut Report) -> Result<Content> {
    let Servers { database, redis, kafka } = system.servers;
    database.query(&format!("TRUNCATE `{}`.`users`", stand::database_name(system)))?;
    let mut rows = Rows::of(system, "users").await?;
    let spec = match contender {
        Contender::Persister => system.persister_spec(&system.persister_admin_url),
        Contender::Bare => system.spec("reference-consumer", "reference-consumer", &system.accounts.persister),
    };
    let process = Process::spawn(&spec, Lifetime::Attached)?;
    let until = Instant::now() + DRAIN;
    while !rows.any().await? {
        wait(&process, until, Duration::from_millis(1)).await?;
    }
    let (before, begun) = (rows.count().await?, Instant::now());
    let meter = Meter::start(&[process.pid(), database.pid(), redis.pid(), kafka.pid()])?;
    let last: Vec<_> = backlog.last.iter().map(String::as_str).collect();
    while !rows.has(&last).await? {
        wait(&process, until, Duration::from_millis(5)).await?;
    }
    let (took, counted) = (begun.elapsed(), backlog.events - before);
    let micros = meter.micros_per(counted)?;
    end(system, contender, &process)?;
    let name = if contender == Contender::Bare { "bare consumer" } else { "persister" };
    #[expect(clippy::cast_precision_loss, reason = "counts of a bench are far below 2^53")]
    report.add(&format!("{name} rows"), "/s", counted as f64 / took.as_secs_f64());
    for (whose, micros) in ["", "database ", "Redis ", "Kafka "].iter().zip(micros) {
        report.add(&format!("{name} {whose}CPU"), "µs/row", micros);
    }
    rows.content(&backlog.entity).await
}

async fn wait(process: &Process, until: Instant, pause: Duration) -> Result<()> {
    let ended = !process.is_running() && process.log_tail(30).contains("rror");
    ensure!(!ended && Instant::now() < until, "{} does not drain:\n{}", process.name(), process.log_tail(30));
    tokio::time::sleep(pause).await;
    Ok(())
}

/// Both must have committed everything when they end. The bare consumer ends by itself.
fn end(system: &System, contender: Contender, process: &Process) -> Result<()> {
    let ended = match contender {
        Contender::Persister => process.stop(Duration::from_secs(30))?,
        Contender::Bare => match process.wait(Duration::from_secs(30))? {
            Ended::Yes(status) => status,
            Ended::No => None,
        },
    };
    ensure!(ended.is_some_and(|status| status.success()), "{contender:?} ended {ended:?}:\n{}", process.log_tail(30));
    let behind = Lag::of(system, "users")?.behind()?;
    ensure!(behind == 0, "{contender:?} has not committed {behind} events");
    Ok(())
}
