//! What a write costs, answered `logged` or `cached`, beside a handler that does nothing and beside the thin pipeline, which does
//! what must be done and guarantees nothing. In each round all serve the same load in turn; every round has a system of its own, so
//! that cache, topic and table begin empty. The persister runs after the load, not beside it, and then the table must hold what was
//! acknowledged.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::cpu::Meter;
use super::lag::Lag;
use super::reference::Reference;
use super::report::Report;
use super::rows::Rows;
use super::wrk::{Run, Wrk};
use super::{Extent, machine, stand};
use crate::system::metric;
use crate::{Servers, System};

const CONNECTIONS: [u32; 4] = [1, 16, 64, 256];
/// How long the persister may take to bring a round's writes into the table.
const DRAIN: Duration = Duration::from_secs(300);

/// Who takes the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contender {
    NoOp,
    Thin,
    Logged,
    Cached,
}

impl Contender {
    const ALL: [Self; 4] = [Self::NoOp, Self::Thin, Self::Logged, Self::Cached];

    fn name(self) -> &'static str {
        match self {
            Self::NoOp => "no-op",
            Self::Thin => "thin",
            Self::Logged => "logged",
            Self::Cached => "cached",
        }
    }

    /// What a write waits for, where it is not the service's own choice.
    fn state(self) -> Option<&'static str> {
        (self == Self::Cached).then_some("cached")
    }

    /// Processes whose processor time counts beside its own.
    fn servers(self) -> &'static [&'static str] {
        if self == Self::NoOp { &[] } else { &["Redis CPU", "Kafka CPU"] }
    }
}

/// Measures and checks.
///
/// # Errors
/// Something does not run, or a check fails: then there are no figures.
pub async fn run(servers: Servers, extent: Extent) -> Result<Report> {
    let mut report = Report::new("ingest", machine::facts(&servers).await?);
    let time = Duration::from_secs(if extent.quick { 2 } else { 4 });
    let connections = if extent.quick { &CONNECTIONS[2..] } else { &CONNECTIONS[..] };
    let mut wrk = Wrk::new()?;
    // The round before the first warms up what lives longer than a round: Kafka above all.
    let mut warming = Report::new("warming", serde_json::Value::Null);
    round(servers, &mut wrk, (connections, time), false, &mut warming).await?;
    for number in 0..extent.rounds {
        eprintln!("ingest: round {} of {}", number + 1, extent.rounds);
        round(servers, &mut wrk, (connections, time), number % 2 == 1, &mut report).await?;
    }
    for connections in connections {
        let of = |what: &str| format!("{what}, {connections} connections");
        for ours in ["logged", "cached"] {
            report.compare(&of(ours), &of("thin"));
            for cpu in ["CPU", "Redis CPU", "Kafka CPU"] {
                report.compare(&of(&format!("{ours} {cpu}")), &of(&format!("thin {cpu}")));
            }
        }
        report.compare(&of("thin"), &of("no-op"));
    }
    Ok(report)
}

async fn round(
    servers: Servers,
    wrk: &mut Wrk,
    (connections, time): (&[u32], Duration),
    backwards: bool,
    report: &mut Report,
) -> Result<()> {
    let mut system = System::prepare(servers)?;
    system.migrate()?;
    system.start_ingest().await?;
    let (no_op, thin) = (Reference::no_op().await?, Reference::thin(&system).await?);
    let ingest = (system.ingest.as_ref().context("ingest runs")?.pid(), system.ingest_url.clone());
    let at = |contender| match contender {
        Contender::NoOp => (no_op.pid(), no_op.url()),
        Contender::Thin => (thin.pid(), thin.url()),
        Contender::Logged | Contender::Cached => (ingest.0, &*ingest.1),
    };
    let mut tally = Tally::default();
    let mut order = Contender::ALL;
    if backwards {
        order.reverse();
    }
    for contender in order {
        tally.take(contender, &wrk.run(at(contender).1, contender.state(), 64, Duration::from_secs(1))?);
    }
    for connections in connections {
        for contender in order {
            let (pid, url) = at(contender);
            let meter = Meter::start(&[pid, servers.redis.pid(), servers.kafka.pid()])?;
            let run = wrk.run(url, contender.state(), *connections, time)?;
            let figure = |what: &str| format!("{}{what}, {connections} connections", contender.name());
            report.add(&figure(""), "/s", run.rate);
            let cpu = ["CPU"].iter().chain(contender.servers());
            for (name, micros) in cpu.zip(meter.micros_per(run.answered)?) {
                report.add(&figure(&format!(" {name}")), "µs/request", micros);
            }
            report.add(&figure(" p99"), "ms", run.p99_millis);
            tally.take(contender, &run);
        }
    }
    drop((no_op, thin));
    check(&mut system, &tally).await
}

/// What the load generator saw of one system.
#[derive(Debug, Default)]
struct Tally {
    /// Sent and answered by ingest.
    ours: (u64, u64),
    /// The same by the thin pipeline.
    thin: (u64, u64),
    /// Answered by ingest before the topic had them.
    cached: u64,
}

impl Tally {
    fn take(&mut self, contender: Contender, run: &Run) {
        let of = match contender {
            Contender::NoOp => return,
            Contender::Thin => &mut self.thin,
            Contender::Logged | Contender::Cached => &mut self.ours,
        };
        of.0 += run.sent;
        of.1 += run.answered;
        if contender == Contender::Cached {
            self.cached += run.sent;
        }
    }
}

/// Every answer was what was asked for, and once the persister has drained the table holds what was acknowledged, as it was sent.
async fn check(system: &mut System, tally: &Tally) -> Result<()> {
    let Tally { ours: (sent, answered), thin, cached: preferred } = *tally;
    let text = system.metrics(&system.ingest_admin_url).await?;
    let accepted = sum(&text, "write_behind_accepted_total{", |_| true);
    let cached = sum(&text, "write_behind_accepted_total{", |line| line.contains("state=\"cached\""));
    let refused = sum(&text, "write_behind_rejected_total{", |_| true);
    let told = format!("{sent} sent, {answered} answered, {accepted} accepted, {cached} cached, {refused} refused");
    // What was on its way when the time was over may be accepted although its answer was not awaited.
    let good = cached <= preferred && (answered..=sent).contains(&accepted) && refused == 0;
    ensure!(good, "not all are what was asked for: {told}");
    system.start_persister().await?;
    drained(system).await?;
    let mut rows = Rows::of(system, "users").await?;
    let (all, good) = (rows.count().await?, rows.count_where("`name` = CONCAT('user ', `id`)").await?);
    let expected = accepted + thin.1..=sent + thin.0;
    ensure!(expected.contains(&all) && good == all, "{all} rows, {good} as they were sent: {told}, thin {thin:?}");
    eprintln!("   checked: {told}; {all} rows in the table, those of the thin pipeline among them");
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
