//! What a `logged` write costs, beside a handler that does nothing. In each round both serve the same load in turn; every
//! round has a system of its own, so that cache, topic and table begin empty. The persister runs after the load, not beside it,
//! and then the table must hold what was acknowledged.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use stack::{Lifetime, Process, Spec, shared};

use super::cpu::Meter;
use super::lag::Lag;
use super::report::Report;
use super::rows::Rows;
use super::wrk::{Run, Wrk};
use super::{Extent, machine, stand};
use crate::system::{binary, metric};
use crate::{Servers, System};

const CONNECTIONS: [u32; 2] = [64, 256];
/// As many as ingest has.
const WORKERS: &str = "2";
/// How long the persister may take to bring a round's writes into the table.
const DRAIN: Duration = Duration::from_secs(300);

/// Measures and checks.
///
/// # Errors
/// Something does not run, or a check fails: then there are no figures.
pub async fn run(servers: Servers, extent: Extent) -> Result<Report> {
    let mut report = Report::new("ingest", machine::facts(&servers).await?);
    let time = Duration::from_secs(if extent.quick { 2 } else { 6 });
    let mut wrk = Wrk::new()?;
    // The round before the first warms up what lives longer than a round: Kafka above all.
    let mut warming = Report::new("warming", serde_json::Value::Null);
    round(servers, &mut wrk, time, true, &mut warming).await?;
    for number in 0..extent.rounds {
        eprintln!("ingest: round {} of {}", number + 1, extent.rounds);
        round(servers, &mut wrk, time, number % 2 == 0, &mut report).await?;
    }
    for connections in CONNECTIONS {
        let [no_op, logged, no_op_cpu, logged_cpu, ..] = names(connections);
        report.compare(&logged, &no_op);
        report.compare(&logged_cpu, &no_op_cpu);
    }
    Ok(report)
}

/// What the figures of one number of connections are called.
fn names(connections: u32) -> [String; 8] {
    let own = ["no-op", "logged", "no-op CPU", "ingest CPU", "Redis CPU", "Kafka CPU", "logged p50", "logged p99"];
    own.map(|name| format!("{name}, {connections} connections"))
}

async fn round(servers: Servers, wrk: &mut Wrk, time: Duration, no_op_first: bool, report: &mut Report) -> Result<()> {
    let mut system = System::prepare(servers)?;
    system.migrate()?;
    system.start_ingest().await?;
    let no_op = NoOp::start().await?;
    let mut tally = Tally::default();
    for url in [&no_op.url, &system.ingest_url] {
        let warm = wrk.run(url, 64, Duration::from_secs(1))?;
        if *url == system.ingest_url {
            tally.take(&warm);
        }
    }
    for connections in CONNECTIONS {
        let [rate, logged_rate, cpu, ingest_cpu, redis_cpu, kafka_cpu, p50, p99] = names(connections);
        for no_op_now in [no_op_first, !no_op_first] {
            if no_op_now {
                let meter = Meter::start(&[no_op.process.pid()])?;
                let run = wrk.run(&no_op.url, connections, time)?;
                report.add(&rate, "/s", run.rate);
                add_cpu(report, &meter, &run, &[&cpu])?;
            } else {
                let ingest = system.ingest.as_ref().context("ingest runs")?.pid();
                let meter = Meter::start(&[ingest, servers.redis.pid(), servers.kafka.pid()])?;
                let run = wrk.run(&system.ingest_url, connections, time)?;
                report.add(&logged_rate, "/s", run.rate);
                add_cpu(report, &meter, &run, &[&ingest_cpu, &redis_cpu, &kafka_cpu])?;
                report.add(&p50, "ms", run.p50_millis);
                report.add(&p99, "ms", run.p99_millis);
                tally.take(&run);
            }
        }
    }
    drop(no_op);
    check(&mut system, &tally).await
}

fn add_cpu(report: &mut Report, meter: &Meter, run: &Run, names: &[&str]) -> Result<()> {
    for (name, micros) in names.iter().zip(meter.micros_per(run.answered)?) {
        report.add(name, "µs/request", micros);
    }
    Ok(())
}

/// What the load generator saw of one system.
#[derive(Debug, Default)]
struct Tally {
    sent: u64,
    answered: u64,
}

impl Tally {
    fn take(&mut self, run: &Run) {
        self.sent += run.sent;
        self.answered += run.answered;
    }
}

/// Every answer was `logged`, and once the persister has drained the table holds what was acknowledged, as it was sent.
async fn check(system: &mut System, tally: &Tally) -> Result<()> {
    let Tally { sent, answered } = *tally;
    let text = system.metrics(&system.ingest_admin_url).await?;
    let accepted = sum(&text, "write_behind_accepted_total{", |_| true);
    let logged = sum(&text, "write_behind_accepted_total{", |line| line.contains("state=\"logged\""));
    let refused = sum(&text, "write_behind_rejected_total{", |_| true);
    let told = format!("{sent} sent, {answered} answered, {accepted} accepted, {logged} logged, {refused} refused");
    // What was on its way when the time was over may be accepted although its answer was not awaited.
    ensure!(accepted == logged && (answered..=sent).contains(&logged) && refused == 0, "not all are logged: {told}");
    system.start_persister().await?;
    drained(system).await?;
    let mut rows = Rows::of(system, "users").await?;
    let (all, good) = (rows.count().await?, rows.count_where("`name` = CONCAT('user ', `id`)").await?);
    ensure!((logged..=sent).contains(&all) && good == all, "{all} rows, {good} as they were sent: {told}");
    eprintln!("   checked: {told}; {all} rows in the table");
    system.persister = None;
    system.ingest = None;
    stand::forget_cache(system).await
}

/// Waits until the group has committed everything.
pub(super) async fn drained(system: &System) -> Result<()> {
    let (mut lag, until) = (Lag::of(system, "users")?, Instant::now() + DRAIN);
    while Instant::now() < until {
        if lag.behind()? == 0 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let log = system.persister.as_ref().map(|process| process.log_tail(20)).unwrap_or_default();
    bail!("the persister has not drained in {DRAIN:?}\n{log}")
}

/// The sum of a counter's series.
pub(super) fn sum(text: &str, series: &str, wanted: impl Fn(&str) -> bool) -> u64 {
    let lines = text.lines().filter(|line| line.starts_with(series) && wanted(line));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counters are whole and positive")]
    lines.filter_map(|line| metric(line, series)).map(|value| value as u64).sum()
}

/// The handler that does nothing, running.
#[derive(Debug)]
struct NoOp {
    process: Process,
    url: String,
}

impl NoOp {
    async fn start() -> Result<Self> {
        let address = format!("127.0.0.1:{}", stack::port::free()?);
        let spec = Spec::new("no-op", binary("reference-no-op"), shared::scratch("no-op").join("log"));
        let process = Process::spawn(&spec.args([address.as_str(), WORKERS]), Lifetime::Attached)?;
        let until = Instant::now() + Duration::from_secs(10);
        while tokio::net::TcpStream::connect(&address).await.is_err() {
            ensure!(process.is_running() && Instant::now() < until, "no-op: {}", process.log_tail(10));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { process, url: format!("http://{address}") })
    }
}
