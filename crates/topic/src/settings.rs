//! Settings of the topic: where Kafka is, and what is demanded of it.

use std::time::Duration;

use service::settings::{millis, seconds};

/// Kafka, the topics and the consumer group.
#[derive(Clone, Debug, clap::Args)]
pub struct KafkaSettings {
    /// Addresses of brokers to begin with: `host:port,host:port`.
    #[arg(long, env = "KAFKA_BROKERS", default_value = "127.0.0.1:9092")]
    pub kafka_brokers: String,

    /// The persister's consumer group; ingest measures its lag.
    #[arg(long, env = "CONSUMER_GROUP", default_value = "write-behind-persister")]
    pub consumer_group: String,

    /// What stands before the entity's name in the name of its topic.
    #[arg(long, env = "TOPIC_PREFIX", default_value = "")]
    pub topic_prefix: String,

    /// How long the producer tries to deliver an event (librdkafka's message.timeout.ms).
    #[arg(long, env = "PRODUCE_DEADLINE_MS", default_value = "10000", value_parser = millis)]
    pub produce_deadline_ms: Duration,

    /// The longest outage of the persister that must lose nothing: topics that compact or forget tombstones sooner are
    /// refused.
    #[arg(long, env = "LONGEST_OUTAGE_S", default_value = "604800", value_parser = seconds)]
    pub longest_outage_s: Duration,

    /// Largest event on a topic in bytes, frame and headers included; at least the body limit.
    #[arg(long, env = "EVENT_BYTES_MOST", default_value = "2097152")]
    pub event_bytes_most: usize,

    /// Accept topics with fewer than three replicas: for development. One lost disk then loses acknowledged writes.
    #[arg(long, env = "ALLOW_SINGLE_BROKER", default_value = "false", action = clap::ArgAction::Set,
          num_args = 0..=1, default_missing_value = "true")]
    pub allow_single_broker: bool,
}

impl KafkaSettings {
    /// The topic of an entity.
    #[must_use]
    pub fn topic(&self, entity: &str) -> String {
        format!("{}{entity}", self.topic_prefix)
    }
}

/// Settings of a member of the consumer group.
#[derive(Clone, Debug, clap::Args)]
pub struct MemberSettings {
    /// How long a member may be silent before the group gives its partitions to others: the wait after a kill.
    #[arg(long, env = "SESSION_TIMEOUT_MS", default_value = "15000", value_parser = millis)]
    pub session_timeout_ms: Duration,

    /// How long a member may go without polling, and a rebalance may wait for a member that drains.
    #[arg(long, env = "POLL_INTERVAL_MOST_MS", default_value = "120000", value_parser = millis)]
    pub poll_interval_most_ms: Duration,
}
