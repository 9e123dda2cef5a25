//! The settings of `persister run`: what it stands on, and its own bounds and deadlines.

use std::net::SocketAddr;
use std::time::Duration;

use cache::RedisSettings;
use service::settings::{ProcessSettings, millis};
use table::DatabaseSettings;
use topic::{KafkaSettings, MemberSettings};

/// Where the service shows itself.
#[derive(Clone, Debug, clap::Args)]
pub struct AdminSettings {
    /// Where health and metrics are shown.
    #[arg(long, env = "ADMIN_LISTEN", default_value = "127.0.0.1:9102")]
    pub admin_listen: SocketAddr,
}

/// Brings the topics into the tables.
#[derive(Clone, Debug, clap::Args)]
pub struct RunSettings {
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
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub member: MemberSettings,

    /// Most events in one transaction.
    #[arg(long, env = "BATCH_ROWS_MOST", default_value = "500")]
    pub batch_rows_most: usize,

    /// Most bytes in one transaction, one event more at most.
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

    /// How far ahead of the clock a version may be; a later one is held as poison.
    #[arg(long, env = "FUTURE_MOST_MS", default_value = "60000", value_parser = millis)]
    pub future_most_ms: Duration,
}

impl RunSettings {
    /// Everything that is wrong, each naming its flag.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = self.redis.faults();
        faults.extend(self.database.faults());
        let positive = [
            ("--batch-rows-most", self.batch_rows_most),
            ("--batch-bytes-most", self.batch_bytes_most),
            ("--lane-events-most", self.lane_events_most),
            ("--lane-bytes-most", self.lane_bytes_most),
            ("--settles-most", self.settles_most),
        ];
        for (name, value) in positive {
            if value == 0 {
                faults.push(format!("{name} must be at least 1"));
            }
        }
        // A member drains inside the rebalance, which waits for it so long and no longer.
        if self.drain_deadline_ms >= self.member.poll_interval_most_ms {
            faults.push("--drain-deadline-ms must be shorter than --poll-interval-most-ms".to_owned());
        }
        if self.member.session_timeout_ms >= self.member.poll_interval_most_ms {
            faults.push("--session-timeout-ms must be shorter than --poll-interval-most-ms".to_owned());
        }
        faults
    }
}
