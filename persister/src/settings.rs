//! The settings of `persister run`: what it stands on, and its own bounds and deadlines.

use std::net::SocketAddr;
use std::time::Duration;

use cache::RedisSettings;
use service::schemas;
use service::settings::{Findings, ProcessSettings, millis};
use table::DatabaseSettings;
use topic::{KafkaSettings, MemberSettings};

use crate::brake::Allowance;

use crate::commands::stop_budgets;

/// Where the service shows itself.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Process")]
pub struct AdminSettings {
    /// Where health and metrics are shown.
    #[arg(long, env = "ADMIN_LISTEN", default_value = "127.0.0.1:9102")]
    pub admin_listen: SocketAddr,
}

/// When a lane stops rather than move more events to the dead letters.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Brake")]
pub struct BrakeSettings {
    /// Over how many of a partition's last events dead letters are counted.
    #[arg(long, env = "BRAKE_WINDOW_EVENTS", default_value = "1000")]
    pub brake_window_events: usize,

    /// Most dead letters of a hundred of these events; one more stops the lane.
    #[arg(long, env = "BRAKE_DEAD_PERCENT", default_value = "1")]
    pub brake_dead_percent: usize,

    /// Most late tombstones of a hundred of these events; one more stops the lane.
    #[arg(long, env = "BRAKE_LATE_PERCENT", default_value = "1")]
    pub brake_late_percent: usize,

    /// So many of each never stop a lane, however few the events.
    #[arg(long, env = "BRAKE_LEAST", default_value = "10")]
    pub brake_least: usize,

    /// Most dead letters one behind the other.
    #[arg(long, env = "BRAKE_IN_A_ROW", default_value = "10")]
    pub brake_in_a_row: usize,

    /// How often a lane that was stopped tries its first event again.
    #[arg(long, env = "BRAKE_PROBE_MS", default_value = "30000", value_parser = millis)]
    pub brake_probe_ms: Duration,
}

impl BrakeSettings {
    /// How many dead letters a lane may have.
    pub(crate) fn dead(&self) -> Allowance {
        Allowance {
            window: self.brake_window_events,
            percent: self.brake_dead_percent,
            least: self.brake_least,
            in_a_row: self.brake_in_a_row,
        }
    }

    /// How many late tombstones (R18).
    pub(crate) fn late(&self) -> Allowance {
        Allowance { percent: self.brake_late_percent, in_a_row: usize::MAX, ..self.dead() }
    }
}

/// What every command but the service itself stands on: log and schemas, the topics, the tables.
#[derive(Clone, Debug, clap::Args)]
pub struct BaseSettings {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub process: ProcessSettings,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub kafka: KafkaSettings,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub database: DatabaseSettings,
}

impl BaseSettings {
    /// Everything that is wrong with topics and tables, each naming its flag.
    #[must_use]
    pub fn findings(&self) -> Findings {
        self.kafka.findings(None).and(self.database.findings())
    }
}

/// Brings the topics into the tables.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Persister")]
pub struct RunSettings {
    /// Most events in one transaction.
    #[arg(long, env = "BATCH_ROWS_MOST", default_value = "500")]
    pub batch_rows_most: usize,

    /// Bytes after which a transaction takes no further event; its last one may pass it.
    #[arg(long, env = "BATCH_BYTES_MOST", default_value = "4194304")]
    pub batch_bytes_most: usize,

    /// Most events that wait in one lane; past it its partition is paused, and what was fetched ahead is fetched again.
    #[arg(long, env = "LANE_EVENTS_MOST", default_value = "30000")]
    pub lane_events_most: usize,

    /// Most bytes that wait in one lane, one event more at most; past it its partition is paused.
    #[arg(long, env = "LANE_BYTES_MOST", default_value = "8388608")]
    pub lane_bytes_most: usize,

    /// How often offsets are committed.
    #[arg(long, env = "COMMIT_EVERY_MS", default_value = "100", value_parser = millis)]
    pub commit_every_ms: Duration,

    /// How long a lane may take to finish its batch when its partition is given back.
    #[arg(long, env = "DRAIN_DEADLINE_MS", default_value = "10000", value_parser = millis)]
    pub drain_deadline_ms: Duration,

    /// Most settles that wait for Redis.
    #[arg(long, env = "SETTLES_MOST", default_value = "200000")]
    pub settles_most: usize,

    /// How far ahead of this machine's clock and the database's a version may be; a later one is a dead letter.
    #[arg(long, env = "FUTURE_MOST_MS", default_value = "60000", value_parser = millis)]
    pub future_most_ms: Duration,

    /// How long an event whose schema id is unknown holds its lane undecided; then a later event that can be read makes
    /// it poison, and where there is none this persister is older than ingest and holds on.
    #[arg(long, env = "UNKNOWN_SCHEMA_HOLD_MS", default_value = "900000", value_parser = millis)]
    pub unknown_schema_hold_ms: Duration,

    /// How long a stop in order may take in all; then, and when it is asked a second time, the process ends as it is. Nothing is lost
    /// by that: whoever comes next does what was left.
    #[arg(long, env = "STOP_WITHIN_MS", default_value = "60000", value_parser = millis)]
    pub stop_within_ms: Duration,

    /// How long a task may be at work without a sign of life; then the process ends in order, with a failure.
    #[arg(long, env = "STALL_AFTER_MS", default_value = "60000", value_parser = millis)]
    pub stall_after_ms: Duration,

    // Groups stand last, since each goes on under its own heading.
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub brake: BrakeSettings,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub process: ProcessSettings,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub admin: AdminSettings,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub redis: RedisSettings,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub kafka: KafkaSettings,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub member: MemberSettings,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub database: DatabaseSettings,
}

impl RunSettings {
    /// Everything that is wrong, each naming its flag.
    #[must_use]
    pub fn findings(&self) -> Findings {
        let kafka = self.kafka.findings(Some(&self.member));
        let mut found = self.redis.findings().and(kafka).and(self.database.findings());
        found.at_least_one([
            ("--batch-rows-most", self.batch_rows_most),
            ("--batch-bytes-most", self.batch_bytes_most),
            ("--lane-events-most", self.lane_events_most),
            ("--lane-bytes-most", self.lane_bytes_most),
            ("--settles-most", self.settles_most),
            ("--brake-window-events", self.brake.brake_window_events),
            ("--brake-least", self.brake.brake_least),
            ("--brake-in-a-row", self.brake.brake_in_a_row),
        ]);
        // A member drains inside the rebalance, which waits for it so long and no longer.
        found.demand(self.drain_deadline_ms < self.member.poll_interval_most_ms, || {
            "--drain-deadline-ms must be shorter than --poll-interval-most-ms".to_owned()
        });
        // A store that is away, or does not answer, must never look like a task that stalls.
        let longest = [
            ("20 times --redis-timeout-ms", self.redis.redis_timeout_ms * 20),
            ("--produce-deadline-ms", self.kafka.produce_deadline_ms),
            ("--database-timeout-ms", self.database.database_timeout_ms),
            ("--drain-deadline-ms", self.drain_deadline_ms),
        ];
        found.outlasts("--stall-after-ms", self.stall_after_ms, longest);
        let stop = stop_budgets(self.drain_deadline_ms);
        if self.stop_within_ms < stop {
            found.warnings.push(format!("--stop-within-ms is less than the {stop:?} that a stop in order may take"));
        }
        // What a clock within its bounds may give is not from the future.
        found.demand(self.future_most_ms >= self.redis.clock_skew_ms, || {
            "--future-most-ms must be at least --clock-skew-ms".to_owned()
        });
        let percents = [
            ("--brake-dead-percent", self.brake.brake_dead_percent),
            ("--brake-late-percent", self.brake.brake_late_percent),
        ];
        for (flag, percent) in percents {
            found.demand(percent <= 100, || format!("{flag} must be at most 100"));
        }
        if let Err(error) = schemas::load(&self.process.schemas_dir) {
            found.faults.extend(error.faults());
        }
        found
    }
}
