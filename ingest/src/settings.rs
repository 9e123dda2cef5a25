//! The settings of ingest: what it stands on, and its own bounds and deadlines.

use std::net::SocketAddr;
use std::time::Duration;

use cache::RedisSettings;
use service::settings::{ProcessSettings, millis};
use table::DatabaseSettings;
use topic::KafkaSettings;

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
}

/// Where the service shows itself.
#[derive(Clone, Debug, clap::Args)]
pub struct AdminSettings {
    /// Where health and metrics are shown.
    #[arg(long, env = "ADMIN_LISTEN", default_value = "127.0.0.1:9101")]
    pub admin_listen: SocketAddr,
}

/// The settings of the service.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub process: ProcessSettings,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub redis: RedisSettings,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub kafka: KafkaSettings,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub database: DatabaseSettings,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub admin: AdminSettings,

    /// Where records are taken.
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// Threads that serve HTTP.
    #[arg(long, env = "HTTP_WORKERS", default_value = "2")]
    pub http_workers: usize,

    /// Routes beside the standard ones, `<route>:<entity>`: POST to the route writes a record of the entity.
    #[arg(long, env = "ROUTE_ALIAS", value_delimiter = ',', value_parser = alias)]
    pub route_alias: Vec<Alias>,

    /// Largest body of a request in bytes.
    #[arg(long, env = "BODY_BYTES_MOST", default_value = "1048576")]
    pub body_bytes_most: usize,

    /// How long a client may take to send its body.
    #[arg(long, env = "BODY_DEADLINE_MS", default_value = "10000", value_parser = millis)]
    pub body_deadline_ms: Duration,

    /// Most writes that wait for Redis at one time; past it 503.
    #[arg(long, env = "IN_FLIGHT_MOST", default_value = "4096")]
    pub in_flight_most: usize,

    /// How long a write waits for the topic before it is answered `cached`.
    #[arg(long, env = "ANSWER_DEADLINE_MS", default_value = "2000", value_parser = millis)]
    pub answer_deadline_ms: Duration,

    /// X: the age at which the relay takes an outbox entry; longer than a produce may take.
    #[arg(long, env = "RELAY_AFTER_MS", default_value = "12000", value_parser = millis)]
    pub relay_after_ms: Duration,
}

/// A route beside the standard ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The path's only segment.
    pub route: String,
    /// The entity it writes.
    pub entity: String,
}

fn alias(text: &str) -> Result<Alias, String> {
    match text.split_once(':') {
        Some((route, entity)) if !route.is_empty() && !entity.is_empty() && !route.contains('/') => {
            Ok(Alias { route: route.to_owned(), entity: entity.to_owned() })
        }
        _ => Err("expected <route>:<entity>, such as write-behind:users".to_owned()),
    }
}

impl Settings {
    /// Everything that is wrong, each naming its flag; the order of PROTOCOL's numbers among it.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = self.redis.faults();
        faults.extend(self.database.faults());
        let ordered = [
            ("--redis-timeout-ms", self.redis.redis_timeout_ms),
            ("--answer-deadline-ms", self.answer_deadline_ms),
            ("--produce-deadline-ms", self.kafka.produce_deadline_ms),
            ("--relay-after-ms", self.relay_after_ms),
            ("--settled-ttl-s", self.redis.settled_ttl_s),
        ];
        for ((name, value), (next, longer)) in ordered.iter().zip(ordered.iter().skip(1)) {
            if value >= longer {
                faults.push(format!("{name} must be shorter than {next} (docs/PROTOCOL.md, the numbers)"));
            }
        }
        // An event is the body in another form, plus key, frame and headers.
        if self.kafka.event_bytes_most < self.body_bytes_most + 65_536 {
            faults.push("--event-bytes-most must be at least --body-bytes-most plus 65536".to_owned());
        }
        for (name, value) in [("--in-flight-most", self.in_flight_most), ("--http-workers", self.http_workers)] {
            if value == 0 {
                faults.push(format!("{name} must be at least 1"));
            }
        }
        faults
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

    #[test]
    fn defaults_stand_in_the_order_that_the_protocol_demands() {
        assert_eq!(Arguments::parse_from(["ingest"]).settings.faults(), Vec::<String>::new());
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let flags = ["ingest", "--redis-timeout-ms=100", "--answer-deadline-ms=20000"];
        let faults = Arguments::parse_from(flags).settings.faults();
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("--redis-timeout-ms") && faults[1].contains("--answer-deadline-ms"), "{faults:?}");
    }
}
