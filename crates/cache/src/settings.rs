//! Settings of the cache: where Redis is, and the numbers of PROTOCOL that its scripts need.

use std::time::Duration;

use service::settings::{Secret, millis, seconds};

/// Redis and the numbers that go into its scripts.
#[derive(Clone, Debug, clap::Args)]
pub struct RedisSettings {
    /// `redis://[user:password@]host:port[/database]`, or `rediss://` for TLS.
    #[arg(long, env = "REDIS_URL", default_value = "redis://127.0.0.1:6379")]
    pub redis_url: Secret,

    /// T: how long an answer of Redis may take before the connection is given up (at least 4 times --clock-skew-ms).
    #[arg(long, env = "REDIS_TIMEOUT_MS", default_value = "500", value_parser = millis)]
    pub redis_timeout_ms: Duration,

    /// D: how far the clocks of two machines may disagree before writes are refused.
    #[arg(long, env = "CLOCK_SKEW_MS", default_value = "50", value_parser = millis)]
    pub clock_skew_ms: Duration,

    /// How long a record stays in the cache after MySQL holds it.
    #[arg(long, env = "SETTLED_TTL_S", default_value = "3600", value_parser = seconds)]
    pub settled_ttl_s: Duration,

    /// How long a reader that missed may take to fill the record in.
    #[arg(long, env = "FILL_LEASE_MS", default_value = "5000", value_parser = millis)]
    pub fill_lease_ms: Duration,

    /// Most writes that wait for the topic, over all 16 shards; past it writes are refused with 503.
    #[arg(long, env = "OUTBOX_MOST", default_value = "1000000")]
    pub outbox_most: u64,

    /// Most writes that wait for MySQL, over all 16 shards; past it writes are refused with 503.
    #[arg(long, env = "UNSETTLED_MOST", default_value = "4000000")]
    pub unsettled_most: u64,
}

impl RedisSettings {
    /// Everything that is wrong with the numbers, each naming its flag.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.redis_timeout_ms < self.clock_skew_ms * 4 {
            faults.push("--redis-timeout-ms must be at least 4 times --clock-skew-ms (PROTOCOL R2)".to_owned());
        }
        for (name, value) in [("--outbox-most", self.outbox_most), ("--unsettled-most", self.unsettled_most)] {
            if value < u64::from(crate::keys::SHARDS) {
                faults
                    .push(format!("{name} must be at least {}: it is shared out over the shards", crate::keys::SHARDS));
            }
        }
        faults
    }
}
