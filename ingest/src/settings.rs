//! The settings of ingest: what it stands on, and its own bounds and deadlines.

use std::net::SocketAddr;
use std::time::Duration;

use cache::RedisSettings;
use record::{Slot, SlotFault};
use service::process::Program;
use service::settings::{Findings, ProcessSettings, millis, seconds};
use service::{healthcheck, schemas};
use table::DatabaseSettings;
use topic::KafkaSettings;

use crate::App;
use crate::aliases::{self, Alias, alias};
use crate::app::{HTTP_BUDGET_SECONDS, stop_budgets};
use crate::callers::{CallerSettings, IssueKey};
use crate::http::BulkSettings;
use crate::http::{Origin, origin};
use crate::tls::TlsSettings;

/// Takes records over HTTP, into Redis and the topic.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "ingest", version, max_term_width = 120, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// What to do instead of taking records.
    #[command(subcommand)]
    pub command: Option<Command>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub settings: Settings,
}

/// The commands beside the service itself.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Ask the running service of the same settings whether it is ready: exit 0 if it is, 1 if not.
    Healthcheck(AdminSettings),
    /// Make an API key: its entry for the file of keys goes to standard output, the key itself to standard error, once.
    ApiKey(IssueKey),
}

/// Where the service shows itself.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Process")]
pub struct AdminSettings {
    /// Where health and metrics are shown.
    #[arg(long, env = "ADMIN_LISTEN", default_value = "127.0.0.1:9101")]
    pub admin_listen: SocketAddr,
}

/// The settings of the service.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Ingest")]
pub struct Settings {
    /// Where records are taken.
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// Threads that serve HTTP.
    #[arg(long, env = "HTTP_WORKERS", default_value = "2")]
    pub http_workers: usize,

    /// Routes beside the standard ones, `<route>:<entity>`: POST to the route writes a record of the entity. Several with commas between.
    #[arg(long, env = "ROUTE_ALIAS", value_delimiter = ',', value_parser = alias)]
    pub route_alias: Vec<Alias>,

    /// Largest body of a request in bytes.
    #[arg(long, env = "BODY_BYTES_MOST", default_value = "1048576")]
    pub body_bytes_most: usize,

    /// How long a client may take to send its body.
    #[arg(long, env = "BODY_DEADLINE_MS", default_value = "10000", value_parser = millis)]
    pub body_deadline_ms: Duration,

    /// Most bytes of bodies of all requests in progress together, from their arrival to their answer; past it 503.
    #[arg(long, env = "BODIES_BYTES_MOST", default_value = "67108864")]
    pub bodies_bytes_most: usize,

    /// How long a client may take to send the head of a request; then 408.
    #[arg(long, env = "HEAD_DEADLINE_MS", default_value = "5000", value_parser = millis)]
    pub head_deadline_ms: Duration,

    /// Most connections that are served at one time, spread over the threads; past it a new one waits to be accepted.
    #[arg(long, env = "CONNECTIONS_MOST", default_value = "10000")]
    pub connections_most: usize,

    /// Most connections that wait to be accepted; past it the system refuses to answer them.
    #[arg(long, env = "CONNECTIONS_WAITING_MOST", default_value = "1024")]
    pub connections_waiting_most: u32,

    /// Most requests in progress at one time, from head to answer; past it 503 before anything is done. A bulk request is one.
    #[arg(long, env = "IN_FLIGHT_MOST", default_value = "4096")]
    pub in_flight_most: usize,

    /// How long a client may leave unread what was answered; then its connection is closed.
    #[arg(long, env = "CLIENT_STALL_MS", default_value = "30000", value_parser = millis)]
    pub client_stall_ms: Duration,

    /// Origins whose pages may ask, such as `https://shop.example`, or `*` for all. Several with commas between; left out, none.
    #[arg(long, env = "CORS_ORIGINS", value_delimiter = ',', value_parser = origin)]
    pub cors_origins: Vec<Origin>,

    /// How long a write waits for the topic before it is answered `cached`.
    #[arg(long, env = "ANSWER_DEADLINE_MS", default_value = "2000", value_parser = millis)]
    pub answer_deadline_ms: Duration,

    /// The age at which the relay takes an outbox entry; longer than a produce may take.
    #[arg(long, env = "RELAY_AFTER_MS", default_value = "12000", value_parser = millis)]
    pub relay_after_ms: Duration,

    /// The age at which the sweep looks whether the table has an unsettled record; longer than the relay takes.
    #[arg(long, env = "SWEEP_AFTER_MS", default_value = "30000", value_parser = millis)]
    pub sweep_after_ms: Duration,

    /// How long after a loss of Redis no request from before it can be alive: preconditions are refused at least so long.
    #[arg(long, env = "INCOMPLETE_GRACE_MS", default_value = "30000", value_parser = millis)]
    pub incomplete_grace_ms: Duration,

    /// Longest wait that `Prefer: wait` and `Min-Version` are granted, in seconds.
    #[arg(long, env = "WAIT_MOST_S", default_value = "10", value_parser = seconds)]
    pub wait_most_s: Duration,

    /// What becomes of plain writes while Redis is away: to the topic with versions of this machine's clock, or 503. With `refuse`
    /// no precondition ever overlooks such a write.
    #[arg(long, env = "CACHE_AWAY", value_enum, default_value = "accept")]
    pub cache_away: CacheAway,

    /// This process' own number among all ingests, 1 to 14: part of its versions while Redis is away. Left out, one is leased in
    /// Redis: give it to all of them or to none.
    #[arg(long, env = "INSTANCE_SLOT", value_parser = slot)]
    pub instance_slot: Option<Slot>,

    /// How long a leased slot stays this process' own after Redis went away.
    #[arg(long, env = "SLOT_LEASE_S", default_value = "3600", value_parser = seconds)]
    pub slot_lease_s: Duration,

    /// Most acknowledgements of the topic that wait until Redis learns of them; past it they are dropped, and the relay
    /// sends their events again.
    #[arg(long, env = "ACKNOWLEDGEMENTS_MOST", default_value = "100000")]
    pub acknowledgements_most: usize,

    /// How long requests are taken after the readiness has fallen, so that a balancer sees it before it is refused.
    #[arg(long, env = "STOP_DELAY_MS", default_value = "1000", value_parser = millis)]
    pub stop_delay_ms: Duration,

    /// How long a stop in order may take in all; then, and when it is asked a second time, the process ends as it is. Nothing is lost
    /// by that: whoever comes next does what was left.
    #[arg(long, env = "STOP_WITHIN_MS", default_value = "40000", value_parser = millis)]
    pub stop_within_ms: Duration,

    /// How long a task may be at work without a sign of life; then the process ends in order, with a failure.
    #[arg(long, env = "STALL_AFTER_MS", default_value = "60000", value_parser = millis)]
    pub stall_after_ms: Duration,

    // Groups stand last, since each goes on under its own heading.
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub process: ProcessSettings,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub admin: AdminSettings,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub callers: CallerSettings,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub bulk: BulkSettings,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub tls: TlsSettings,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub redis: RedisSettings,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub kafka: KafkaSettings,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub database: DatabaseSettings,
}

/// What becomes of plain writes while Redis is away (PROTOCOL R8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum CacheAway {
    /// The topic alone takes them.
    Accept,
    /// They are refused with 503.
    Refuse,
}

fn slot(text: &str) -> Result<Slot, String> {
    let number = text.parse().map_err(|_| SlotFault.to_string())?;
    Slot::new(number).map_err(|fault| fault.to_string())
}

impl Settings {
    /// Everything that is wrong, each naming its flag; the order of PROTOCOL's numbers among it.
    #[must_use]
    pub fn findings(&self) -> Findings {
        let mut found = self.groups();
        let ordered = [
            ("--redis-timeout-ms", self.redis.redis_timeout_ms),
            ("--answer-deadline-ms", self.answer_deadline_ms),
            ("--produce-deadline-ms", self.kafka.produce_deadline_ms),
            ("--relay-after-ms", self.relay_after_ms),
            ("--sweep-after-ms", self.sweep_after_ms),
            ("--settled-ttl-s", self.redis.settled_ttl_s),
        ];
        for ((name, value), (next, longer)) in ordered.iter().zip(ordered.iter().skip(1)) {
            found.demand(value < longer, || {
                format!("{name} must be shorter than {next} (docs/PROTOCOL.md, the numbers)")
            });
        }
        found.demand(self.incomplete_grace_ms > self.answer_deadline_ms + self.kafka.produce_deadline_ms, || {
            "--incomplete-grace-ms must be longer than --answer-deadline-ms and --produce-deadline-ms together (PROTOCOL R16)"
                .to_owned()
        });
        found.demand(self.redis.fill_lease_ms < self.incomplete_grace_ms, || {
            "--fill-lease-ms must be shorter than --incomplete-grace-ms: a lease from before a loss would outlive the doubt \
             (PROTOCOL R12)"
                .to_owned()
        });
        // An event is the body in another form, plus key, frame and headers.
        found.demand(self.kafka.event_bytes_most >= self.body_bytes_most.saturating_add(65_536), || {
            "--event-bytes-most must be at least --body-bytes-most plus 65536".to_owned()
        });
        found.at_least_one([
            ("--in-flight-most", self.in_flight_most),
            ("--http-workers", self.http_workers),
            ("--body-bytes-most", self.body_bytes_most),
            ("--acknowledgements-most", self.acknowledgements_most),
            ("--connections-waiting-most", self.connections_waiting_most as usize),
        ]);
        found.demand(self.bodies_bytes_most >= self.body_bytes_most, || {
            "--bodies-bytes-most must be at least --body-bytes-most: the largest body would never find room".to_owned()
        });
        // Each thread has its share.
        found.demand(self.connections_most >= self.http_workers, || {
            "--connections-most must be at least --http-workers".to_owned()
        });
        found = found.and(self.stall()).and(self.door());
        found.demand(self.slot_lease_s >= Duration::from_secs(3), || {
            "--slot-lease-s must be at least 3: it is renewed every second".to_owned()
        });
        if self.wait_most_s + self.answer_deadline_ms > Duration::from_secs(HTTP_BUDGET_SECONDS) {
            found.warnings.push(format!(
                "--wait-most-s and --answer-deadline-ms are together more than the {HTTP_BUDGET_SECONDS} s that requests get \
                 when the process stops: longer waits are cut off then"
            ));
        }
        let stop = stop_budgets(self.stop_delay_ms);
        if self.stop_within_ms < stop {
            found.warnings.push(format!("--stop-within-ms is less than the {stop:?} that a stop in order may take"));
        }
        if self.body_deadline_ms + self.answer_deadline_ms > Duration::from_secs(HTTP_BUDGET_SECONDS) {
            found.warnings.push(format!(
                "--body-deadline-ms and --answer-deadline-ms are together more than the {HTTP_BUDGET_SECONDS} s that requests \
                 get when the process stops: slower ones are cut off then"
            ));
        }
        match schemas::load(&self.process.schemas_dir) {
            Ok(catalog) => {
                found.faults.extend(aliases::faults(&self.route_alias, &catalog));
                found.faults.extend(self.callers.file_faults(&catalog));
            }
            Err(error) => found.faults.extend(error.faults()),
        }
        found
    }

    fn groups(&self) -> Findings {
        let stores = self.redis.findings().and(self.kafka.findings(None)).and(self.database.findings());
        stores.and(self.bulk.findings(self.body_bytes_most))
    }

    /// Room for the writes of all requests in progress, for as many whose clients went away before Redis answered, and for the
    /// lines of all bulks: the queue is never what is full first.
    pub(crate) fn writes_waiting_most(&self) -> usize {
        self.in_flight_most.saturating_mul(2).saturating_add(self.bulk.lines_at_once())
    }

    /// Who is let in, and where.
    fn door(&self) -> Findings {
        let mut found = self.callers.findings(self.listen).and(self.tls.findings());
        found.demand(self.cors_origins.len() < 2 || !self.cors_origins.contains(&Origin::Any), || {
            "--cors-origins: * stands for all others: give it alone".to_owned()
        });
        if self.callers.api_keys.is_some() && !self.listen.ip().is_loopback() && !self.tls.is_on() {
            found.warnings.push(
                "--listen is reached from other machines without TLS, and API keys can be read on the way: give --tls-cert and \
                  --tls-key, or end TLS before it"
                    .to_owned(),
            );
        }
        found.demand(!same_port(self.listen, self.admin.admin_listen), || {
            "--listen and --admin-listen must not be the same: give them two ports".to_owned()
        });
        found
    }

    /// A store that is away, or does not answer, must never look like a task that stalls.
    fn stall(&self) -> Findings {
        let mut found = Findings::default();
        let longest = [
            ("20 times --redis-timeout-ms", self.redis.redis_timeout_ms * 20),
            ("--produce-deadline-ms", self.kafka.produce_deadline_ms),
            ("--database-timeout-ms", self.database.database_timeout_ms),
        ];
        found.outlasts("--stall-after-ms", self.stall_after_ms, longest);
        found
    }
}

/// Would two servers meet at one port?
fn same_port(one: SocketAddr, other: SocketAddr) -> bool {
    let overlap = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && overlap
}

impl Program for Arguments {
    fn process(&self) -> Option<&ProcessSettings> {
        self.command.is_none().then_some(&self.settings.process)
    }

    fn findings(&self) -> Findings {
        self.command.as_ref().map_or_else(|| self.settings.findings(), |_| Findings::default())
    }

    async fn execute(self) -> anyhow::Result<()> {
        match self.command {
            Some(Command::Healthcheck(admin)) => healthcheck::ask(admin.admin_listen).await,
            Some(Command::ApiKey(key)) => key.issue(),
            None => App::build(self.settings)?.run_until_stopped().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    fn found(flags: &[&str]) -> Findings {
        let schemas = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas");
        Arguments::parse_from(["ingest", "--schemas-dir", schemas].iter().chain(flags)).settings.findings()
    }

    #[test]
    fn defaults_stand_in_the_order_that_the_protocol_demands() {
        assert_eq!(found(&[]), Findings::default());
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let faults = found(&["--redis-timeout-ms=100", "--answer-deadline-ms=15000", "--http-workers=0"]).faults;
        assert_eq!(faults.len(), 3, "{faults:?}");
        for (fault, flag) in faults.iter().zip(["--redis-timeout-ms", "--answer-deadline-ms", "--http-workers"]) {
            assert!(fault.contains(flag), "{fault}");
        }
    }

    #[test]
    fn r16_the_grace_outlives_every_request_and_the_sweep_comes_after_the_relay() {
        let faults = |flag: &str| found(&[flag]).faults.join("\n");
        assert!(faults("--incomplete-grace-ms=12000").contains("--incomplete-grace-ms must be longer"));
        assert_eq!(faults("--incomplete-grace-ms=12001"), "");
        assert!(faults("--fill-lease-ms=30000").contains("--fill-lease-ms must be shorter than --incomplete-grace-ms"));
        assert_eq!(faults("--fill-lease-ms=29999"), "");
        assert!(faults("--sweep-after-ms=12000").contains("--relay-after-ms must be shorter than --sweep-after-ms"));
        assert!(faults("--settled-ttl-s=30").contains("--sweep-after-ms must be shorter than --settled-ttl-s"));
    }

    #[test]
    fn two_servers_need_two_ports() {
        let faults = |listen: &str| {
            found(&["--no-auth", &format!("--listen={listen}"), "--admin-listen=127.0.0.1:9101"]).faults.len()
        };
        assert_eq!((faults("127.0.0.1:9101"), faults("0.0.0.0:9101")), (1, 1));
        assert_eq!((faults("127.0.0.2:9101"), faults("127.0.0.1:9100")), (0, 0));
    }

    #[test]
    fn a_port_that_others_reach_asks_who_they_are_unless_it_is_told_not_to() {
        let faults = |flags: &[&str]| found(flags).faults.join("\n");
        assert!(faults(&["--listen=0.0.0.0:8080"]).contains("--listen is reached from other machines"));
        assert!(faults(&["--listen=[::]:8080"]).contains("give --api-keys with a file"));
        assert_eq!(faults(&["--listen=0.0.0.0:8080", "--no-auth"]), "");
        assert_eq!(faults(&["--listen=[::1]:8080"]), "");
        let fault = faults(&["--listen=0.0.0.0:8080", "--api-keys=/nowhere/keys.toml"]);
        assert!(fault.starts_with("--api-keys /nowhere/keys.toml: "), "{fault}");
    }

    #[test]
    fn keys_rates_and_origins_that_contradict_themselves_are_told() {
        let faults = |flags: &[&str]| found(flags).faults.join("\n");
        assert!(
            faults(&["--no-auth", "--api-keys=/nowhere"]).contains("--api-keys and --no-auth contradict each other")
        );
        assert_eq!(faults(&["--no-auth=false"]), "");
        assert!(faults(&["--rate-burst=5"]).contains("--rate-burst is given without --rate-per-s"));
        assert!(faults(&["--cors-origins=*,https://shop.example"]).contains("--cors-origins: * stands for all others"));
        assert_eq!(faults(&["--cors-origins=http://localhost:1,https://shop.example", "--rate-per-s=1"]), "");
        assert!(faults(&["--tls-cert=/nowhere/cert.pem"]).contains("--tls-cert is given without --tls-key"));
    }

    #[test]
    fn keys_that_can_be_read_on_the_way_are_warned_of() {
        let warned = |listen: &str| found(&["--api-keys=/nowhere", listen]).warnings.len();
        assert_eq!((warned("--listen=0.0.0.0:8080"), warned("--listen=127.0.0.1:8080")), (1, 0));
    }

    #[test]
    fn requests_that_outlast_the_stop_are_warned_of() {
        assert_eq!(found(&["--body-deadline-ms=14000"]).warnings.len(), 1);
        assert_eq!(found(&["--wait-most-s=14"]).warnings.len(), 1);
    }

    #[test]
    fn r4_an_instance_slot_is_1_to_14() {
        let read = |slot: &str| Arguments::try_parse_from(["ingest", &format!("--instance-slot={slot}")]).is_ok();
        assert_eq!(["0", "1", "14", "15", "256", "x"].map(read), [false, true, true, false, false, false]);
        assert_eq!(found(&["--slot-lease-s=2"]).faults.len(), 1);
    }
}
