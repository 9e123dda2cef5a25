//! Settings of the topic: where Kafka is, how it lets us in, and what is demanded of it.

mod access;
mod property;

use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::producer::BaseProducer;
use service::settings::{Findings, is_secret_name, millis, seconds};

pub use access::{KafkaAccess, Mechanism, Protocol};
pub use property::Property;

use crate::{consumer, publisher};

/// Kafka, the topics and the consumer group.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Kafka")]
pub struct KafkaSettings {
    /// Addresses of brokers to begin with: `host:port,host:port`.
    #[arg(long, env = "KAFKA_BROKERS", default_value = "127.0.0.1:9092")]
    pub kafka_brokers: String,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub access: KafkaAccess,

    /// Any other property of librdkafka, `<property>=<value>`; as a variable its own name follows, in capitals and with `_`
    /// for every dot. May be given many times.
    #[arg(long, env = "KAFKA_PROP_", value_name = "PROPERTY=VALUE")]
    pub kafka_prop: Vec<Property>,

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

    /// Most events that the producer holds until a broker has acknowledged them; past it a write is answered `cached` at once.
    #[arg(long, env = "PRODUCER_EVENTS_MOST", default_value = "100000")]
    pub producer_events_most: usize,

    /// Most bytes that the producer holds, in whole KiB; past it likewise.
    #[arg(long, env = "PRODUCER_BYTES_MOST", default_value = "67108864")]
    pub producer_bytes_most: usize,

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

    /// Everything that is wrong, each naming its flag; also with a member of the group, if this process is one. What only
    /// librdkafka knows is asked of clients that have no broker to connect to.
    #[must_use]
    pub fn findings(&self, member: Option<&MemberSettings>) -> Findings {
        let mut found = self.access.findings(&self.kafka_brokers);
        // What we know to contradict itself librdkafka need not say again; the rest it is asked of all the same.
        let access = if found.faults.is_empty() { self.access.clone() } else { KafkaAccess::default() };
        let asked = Self { access, ..self.clone() };
        found.warnings.extend(self.kafka_prop.iter().filter_map(Property::weakens_tls));
        let brokers = self.kafka_brokers.split(',').all(|broker| !broker.trim().is_empty());
        found
            .demand(brokers, || "--kafka-brokers must be host:port, or several of them with commas between".to_owned());
        found.demand(!self.consumer_group.is_empty(), || "--consumer-group must not be empty".to_owned());
        let legal = self.topic_prefix.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        found.demand(legal, || "--topic-prefix may have only A-Z a-z 0-9 . _ -".to_owned());
        found.demand(self.producer_bytes_most >= self.event_bytes_most, || {
            "--producer-bytes-most must be at least --event-bytes-most: the largest event would never find room"
                .to_owned()
        });
        let of_member = member.map(MemberSettings::findings).unwrap_or_default();
        let consistent = member.filter(|_| of_member.faults.is_empty());
        found = found.and(of_member);
        let publisher = without_brokers(publisher::config(&asked)).create::<BaseProducer>().map(drop);
        let consuming = consistent.map(|member| consumer::config(&asked, member));
        let consumer = consuming.map_or(Ok(()), |config| without_brokers(config).create::<BaseConsumer>().map(drop));
        found.faults.extend(publisher.and(consumer).err().map(|error| refused(&error)));
        found
    }
}

/// Settings of a member of the consumer group.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Kafka")]
pub struct MemberSettings {
    /// How long a member may be silent before the group gives its partitions to others: the wait after a kill.
    #[arg(long, env = "SESSION_TIMEOUT_MS", default_value = "15000", value_parser = millis)]
    pub session_timeout_ms: Duration,

    /// Longest time between two polls before the group takes the partitions away; so long may a member drain in a rebalance.
    #[arg(long, env = "POLL_INTERVAL_MOST_MS", default_value = "120000", value_parser = millis)]
    pub poll_interval_most_ms: Duration,

    /// How long a member may be without a steady place in its group while Kafka answers. Then its client is made anew in the same
    /// process, and what it was given counts as lost.
    #[arg(long, env = "UNSTEADY_MOST_MS", default_value = "60000", value_parser = millis)]
    pub unsteady_most_ms: Duration,

    /// How the group shares out its partitions. With `consumer` (KIP-848) the broker does, and its settings take the place of
    /// --session-timeout-ms.
    #[arg(long, env = "GROUP_PROTOCOL", default_value = "classic")]
    pub group_protocol: GroupProtocol,

    /// A name that this member alone has and keeps (librdkafka's group.instance.id): its partitions then wait for it
    /// through a restart, for --session-timeout-ms at most; 45 s suit most. Left out, a member that stops leaves the group. Where
    /// two have the same, one of them says so and waits until the name is free.
    #[arg(long, env = "GROUP_INSTANCE_ID")]
    pub group_instance_id: Option<String>,
}

/// Kafka's protocols of a consumer group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum GroupProtocol {
    /// A member computes the assignment, and every member waits for all others.
    #[default]
    Classic,
    /// The broker computes it, and members follow one by one: KIP-848, with brokers of 4.0 or newer.
    Consumer,
}

impl MemberSettings {
    fn findings(&self) -> Findings {
        let mut found = Findings::default();
        let timed = self.group_protocol == GroupProtocol::Classic;
        found.demand(!timed || self.session_timeout_ms < self.poll_interval_most_ms, || {
            "--session-timeout-ms must be shorter than --poll-interval-most-ms".to_owned()
        });
        // So long a group may wait for a member that has died before it gives the others their places.
        found.demand(!timed || self.session_timeout_ms < self.unsteady_most_ms, || {
            "--unsteady-most-ms must be longer than --session-timeout-ms".to_owned()
        });
        // As Kafka has them; it would refuse another only when the member joins.
        let legal = self.group_instance_id.as_ref().is_none_or(|id| {
            let chars = id.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
            chars && (1..=249).contains(&id.len()) && id != "." && id != ".."
        });
        found.demand(legal, || "--group-instance-id may have only A-Z a-z 0-9 . _ -, at most 249 of them".to_owned());
        found
    }
}

fn without_brokers(mut config: ClientConfig) -> ClientConfig {
    config.remove("bootstrap.servers");
    config
}

/// What librdkafka said, by the flag that is meant.
fn refused(error: &KafkaError) -> String {
    let (text, secret) = match error {
        KafkaError::ClientConfig(_, reason, name, _) => {
            (format!("{name}: {}", reason.trim_end()), is_secret_name(name))
        }
        KafkaError::ClientCreation(reason) => (reason.trim_end().to_owned(), false),
        other => (other.to_string(), false),
    };
    let meant = property::OURS.iter().find(|(name, _)| text.contains(name)).map(|(_, flag)| *flag);
    match (meant, secret) {
        (Some(flag), true) => format!("{flag} is not taken by librdkafka"),
        (Some(flag), false) => format!("{flag}: {text}"),
        (None, _) => format!("--kafka-prop or a setting of Kafka: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        kafka: KafkaSettings,
        #[command(flatten)]
        member: MemberSettings,
    }

    fn read(flags: &[&str]) -> Line {
        Line::parse_from(["test"].iter().chain(flags))
    }

    pub(super) fn defaults() -> (KafkaSettings, MemberSettings) {
        let Line { kafka, member } = read(&[]);
        (kafka, member)
    }

    fn found(flags: &[&str]) -> Findings {
        let Line { kafka, member } = read(flags);
        kafka.findings(Some(&member))
    }

    const SASL: [&str; 4] = [
        "--kafka-security-protocol=sasl_ssl",
        "--kafka-sasl-mechanism=SCRAM-SHA-512",
        "--kafka-sasl-username=me",
        "--kafka-sasl-password=s3cret",
    ];

    #[test]
    fn tls_and_sasl_reach_every_client() {
        assert_eq!(found(&SASL), Findings::default());
        let Line { kafka, member } = read(&SASL);
        for config in [publisher::config(&kafka), consumer::config(&kafka, &member)] {
            let wanted =
                [("security.protocol", "sasl_ssl"), ("sasl.mechanism", "SCRAM-SHA-512"), ("sasl.password", "s3cret")];
            for (property, value) in wanted {
                assert_eq!(config.get(property), Some(value), "{property}");
            }
        }
        assert!(!format!("{kafka:?}").contains("s3cret"));
    }

    #[test]
    fn a_property_wins_over_our_own_choice() {
        let Line { kafka, .. } = read(&["--kafka-prop=linger.ms=5", "--kafka-prop=SOCKET_KEEPALIVE_ENABLE=false"]);
        let config = publisher::config(&kafka);
        assert_eq!((config.get("linger.ms"), config.get("socket.keepalive.enable")), (Some("5"), Some("false")));
    }

    #[test]
    fn tls_that_checks_nobody_is_warned_of() {
        for property in ["enable.ssl.certificate.verification=false", "ssl.endpoint.identification.algorithm=none"] {
            let given = format!("--kafka-prop={property}");
            let flags = [&SASL[..], &[&given]].concat();
            let Findings { faults, warnings } = found(&flags);
            assert!(faults.is_empty() && warnings.len() == 1 && warnings[0].contains(property), "{warnings:?}");
        }
        let checked = [&SASL[..], &["--kafka-prop=enable.ssl.certificate.verification=true"]].concat();
        assert_eq!(found(&checked), Findings::default());
    }

    #[test]
    fn what_contradicts_itself_is_a_fault() {
        let faults = |flags: &[&str]| found(flags).faults.join("\n");
        assert!(faults(&SASL[..1]).contains("--kafka-sasl-password is needed"));
        assert!(faults(&SASL[3..]).contains("--kafka-sasl-password is used only where"));
        assert!(faults(&["--kafka-ssl-ca-location=/nowhere/ca.pem"]).contains("is used only where"));
        let authority = faults(&["--kafka-security-protocol=ssl", "--kafka-ssl-ca-location=/nowhere/ca.pem"]);
        assert!(authority.contains("--kafka-ssl-ca-location: "), "{authority}");
        assert!(
            faults(&["--session-timeout-ms=3600001", "--poll-interval-most-ms=3600002", "--unsteady-most-ms=3600002"])
                .contains("--session-timeout-ms: ")
        );
        let impatient = faults(&["--session-timeout-ms=120000", "--unsteady-most-ms=120001"]);
        assert_eq!(impatient, "--session-timeout-ms must be shorter than --poll-interval-most-ms");
        assert_eq!(
            faults(&["--unsteady-most-ms=15000"]),
            "--unsteady-most-ms must be longer than --session-timeout-ms"
        );
        assert_eq!(faults(&["--unsteady-most-ms=15001"]), "");
        let unnamed = faults(&["--group-instance-id=a b"]);
        assert!(unnamed.contains("--group-instance-id may have only"), "{unnamed}");
        assert!(faults(&["--kafka-prop=max.in.flight=6"]).contains("--kafka-prop"));
        assert!(faults(&["--kafka-brokers=a:1,,b:2", "--topic-prefix=a b"]).lines().count() == 2);
    }

    /// librdkafka takes them for errors there.
    #[test]
    fn with_the_consumer_protocol_nothing_is_set_that_the_broker_decides() {
        let flags = ["--group-protocol=consumer", "--session-timeout-ms=120000", "--group-instance-id=persister-0"];
        assert_eq!(found(&flags), Findings::default());
        let Line { kafka, member } = read(&flags);
        let config = consumer::config(&kafka, &member);
        assert_eq!(config.get("group.protocol"), Some("consumer"));
        for property in ["session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"] {
            assert_eq!(config.get(property), None, "{property}");
        }
    }

    /// Members of one client id and of several instance ids confuse the broker's quotas and its metrics, and librdkafka's
    /// issue 4783 loses the assignment.
    #[test]
    fn a_static_member_has_a_client_id_of_its_own() {
        let Line { kafka, member } = read(&["--group-instance-id=persister-0"]);
        let config = consumer::config(&kafka, &member);
        let named = (config.get("group.instance.id"), config.get("client.id"));
        assert_eq!(named, (Some("persister-0"), Some("write-behind-persister-persister-0")));
        let Line { kafka, member } = read(&[]);
        let config = consumer::config(&kafka, &member);
        assert_eq!((config.get("group.instance.id"), config.get("client.id")), (None, Some("write-behind-persister")));
    }

    #[test]
    fn a_password_in_plain_text_to_another_machine_is_warned_of() {
        let plain =
            [&["--kafka-security-protocol=sasl_plaintext", "--kafka-sasl-mechanism=PLAIN"], &SASL[2..]].concat();
        assert_eq!(found(&[&plain[..], &["--kafka-brokers=127.0.0.1:9092"]].concat()).warnings.len(), 0);
        assert_eq!(found(&[&plain[..], &["--kafka-brokers=127.0.0.1:9092,k:9092"]].concat()).warnings.len(), 1);
        assert_eq!(found(&[&SASL[..], &["--kafka-brokers=k:9092"]].concat()).warnings.len(), 0);
    }
}
