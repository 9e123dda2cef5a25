//! Properties of librdkafka that are passed through as they are, except those that belong to a setting of ours or that a
//! guarantee rests on.

use std::fmt;
use std::str::FromStr;

use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use service::settings::is_secret_name;

/// One property and its value, as in `socket.keepalive.enable=true`.
#[derive(Clone)]
pub struct Property {
    name: String,
    value: String,
}

impl fmt::Debug for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = if is_secret_name(&self.name) { "(redacted)" } else { &self.value };
        write!(f, "{}={shown}", self.name)
    }
}

impl FromStr for Property {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = text.split_once('=').ok_or("expected <property>=<value>")?;
        let name = name.to_ascii_lowercase();
        // A variable's name has no dots.
        let name = if name.contains('.') { name } else { name.replace('_', ".") };
        let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, known)| (*known).to_owned());
        let property = Self { name, value: value.to_owned() };
        match property.refusal() {
            Some(reason) => Err(format!("{} is not passed through: {reason}", property.name)),
            None => property.taken().map(|()| property),
        }
    }
}

impl Property {
    pub(crate) fn apply(&self, config: &mut ClientConfig) {
        config.set(&self.name, &self.value);
    }

    /// What it takes away from TLS, if it does.
    pub(crate) fn weakens_tls(&self) -> Option<String> {
        let off = match self.name.as_str() {
            "enable.ssl.certificate.verification" => ["false", "f", "0"].contains(&self.value.to_lowercase().as_str()),
            "ssl.endpoint.identification.algorithm" => self.value.eq_ignore_ascii_case("none"),
            _ => false,
        };
        off.then(|| format!("--kafka-prop: with {self:?} anybody in between can be the broker, and sees the password"))
    }

    fn refusal(&self) -> Option<String> {
        // librdkafka takes it off, and a property that is guarded would come in by it.
        if let Some(plain) = self.name.strip_prefix("topic.").filter(|rest| !OF_TOPICS.contains(rest)) {
            return Some(format!("name it {plain}"));
        }
        let ours = OURS.iter().find(|(name, _)| *name == self.name).map(|(_, flag)| format!("it is {flag}"));
        ours.or_else(|| GUARDED.iter().find(|(name, _)| *name == self.name).map(|(_, reason)| (*reason).to_owned()))
    }

    fn taken(&self) -> Result<(), String> {
        let mut alone = ClientConfig::new();
        self.apply(&mut alone);
        match alone.create_native_config() {
            Ok(_) => Ok(()),
            Err(KafkaError::ClientConfig(_, reason, name, _)) if !is_secret_name(&name) => {
                Err(format!("{name}: {}", reason.trim_end()))
            }
            Err(_) => Err(format!("{}: librdkafka does not take this property or its value", self.name)),
        }
    }
}

/// Second names of properties, by their first. Given under both, it would be left to chance which one holds.
const ALIASES: &[(&str, &str)] = &[
    ("queue.buffering.max.ms", "linger.ms"),
    ("compression.codec", "compression.type"),
    ("message.send.max.retries", "retries"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
];

/// What follows `topic.` in names of which it is a part.
const OF_TOPICS: &[&str] = &[
    "blacklist",
    "metadata.refresh.interval.ms",
    "metadata.refresh.fast.interval.ms",
    "metadata.refresh.fast.cnt",
    "metadata.refresh.sparse",
    "metadata.propagation.max.ms",
];

/// Properties behind a setting of ours.
pub(crate) const OURS: &[(&str, &str)] = &[
    ("bootstrap.servers", "--kafka-brokers"),
    ("metadata.broker.list", "--kafka-brokers"),
    ("security.protocol", "--kafka-security-protocol"),
    ("sasl.mechanism", "--kafka-sasl-mechanism"),
    ("sasl.mechanisms", "--kafka-sasl-mechanism"),
    ("sasl.username", "--kafka-sasl-username"),
    ("sasl.password", "--kafka-sasl-password"),
    ("ssl.ca.location", "--kafka-ssl-ca-location"),
    ("ssl.certificate.location", "--kafka-ssl-certificate-location"),
    ("ssl.key.location", "--kafka-ssl-key-location"),
    ("ssl.key.password", "--kafka-ssl-key-password"),
    ("group.id", "--consumer-group"),
    ("message.timeout.ms", "--produce-deadline-ms"),
    ("delivery.timeout.ms", "--produce-deadline-ms"),
    ("message.max.bytes", "--event-bytes-most"),
    ("fetch.message.max.bytes", "--event-bytes-most"),
    ("max.partition.fetch.bytes", "--event-bytes-most"),
    ("queue.buffering.max.messages", "--producer-events-most"),
    ("queue.buffering.max.kbytes", "--producer-bytes-most"),
    ("session.timeout.ms", "--session-timeout-ms"),
    ("heartbeat.interval.ms", "a fifth of --session-timeout-ms"),
    ("max.poll.interval.ms", "--poll-interval-most-ms"),
    ("group.protocol", "--group-protocol"),
    ("group.instance.id", "--group-instance-id"),
    ("log.level", "--log"),
];

/// Properties that a guarantee rests on.
const GUARDED: &[(&str, &str)] = &[
    ("acks", "an event counts as logged only when every in-sync replica has it"),
    ("request.required.acks", "an event counts as logged only when every in-sync replica has it"),
    ("enable.idempotence", "without it a retry may put an event behind a newer one"),
    ("delivery.report.only.error", "an acknowledgement that is not reported would never be known"),
    ("transactional.id", "events are published outside of transactions"),
    ("partitioner", "a key must land where Java's partitioner puts it, for every writer of the topic alike"),
    ("allow.auto.create.topics", "topics are made by `persister migrate`, with the settings that they need"),
    ("enable.auto.commit", "offsets are committed only after what stands before them is in the table"),
    ("auto.commit.enable", "offsets are committed only after what stands before them is in the table"),
    ("auto.commit.interval.ms", "the persister's own way to commit rests on it"),
    ("enable.auto.offset.store", "offsets are committed only after what stands before them is in the table"),
    ("offset.store.method", "offsets belong to the broker, where every member of the group finds them"),
    ("auto.offset.reset", "a group that is new to a topic must not skip what is there"),
    ("partition.assignment.strategy", "rebalances are handled as cooperative-sticky has them"),
    ("statistics.interval.ms", "the persister learns by it that it has no place in its group"),
    ("enable.partition.eof", "the end of a partition is not an event"),
    ("test.mock.num.brokers", "it would put a mock in the place of Kafka"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{consumer, publisher};

    fn parsed(text: &str) -> Result<String, String> {
        text.parse::<Property>().map(|property| format!("{property:?}"))
    }

    #[test]
    fn a_property_is_named_as_librdkafka_does_or_as_a_variable() {
        assert_eq!(parsed("socket.keepalive.enable=false").as_deref(), Ok("socket.keepalive.enable=false"));
        assert_eq!(parsed("SOCKET_KEEPALIVE_ENABLE=false").as_deref(), Ok("socket.keepalive.enable=false"));
        assert_eq!(parsed("SSL_KEYSTORE_PASSWORD=s3cret").as_deref(), Ok("ssl.keystore.password=(redacted)"));
    }

    #[test]
    fn what_librdkafka_does_not_take_is_said_by_name() {
        let unknown = parsed("SOCKET_KEEPALIFE=1").expect_err("no such property");
        assert!(unknown.contains("socket.keepalife"), "{unknown}");
        let value = parsed("linger.ms=soon").expect_err("no number");
        assert!(value.contains("linger.ms"), "{value}");
        let secret = parsed("ssl.key.pem.s3cret=s3cret").expect_err("no such property");
        assert!(!secret.replace("ssl.key.pem.s3cret", "").contains("s3cret"), "{secret}");
    }

    #[test]
    fn what_a_guarantee_rests_on_is_refused_with_the_reason() {
        for (name, reason) in GUARDED {
            assert!(parsed(&format!("{name}=1")).expect_err("a guarantee").contains(reason));
        }
        assert!(parsed("SASL_PASSWORD=x").expect_err("a setting").contains("--kafka-sasl-password"));
    }

    #[test]
    fn a_guard_cannot_be_gone_round_by_the_prefix_of_topics() {
        for (name, _) in GUARDED.iter().chain(OURS) {
            let refused = parsed(&format!("topic.{name}=1")).expect_err("the same property");
            assert!(refused.contains(&format!("name it {name}")), "{refused}");
        }
        assert!(parsed("TOPIC_AUTO_OFFSET_RESET=latest").is_err());
        assert!(parsed("topic.metadata.refresh.interval.ms=1000").is_ok());
    }

    #[test]
    fn a_second_name_is_the_same_property() {
        assert_eq!(parsed("queue.buffering.max.ms=5").as_deref(), Ok("linger.ms=5"));
        assert_eq!(parsed("COMPRESSION_CODEC=zstd").as_deref(), Ok("compression.type=zstd"));
    }

    /// Whoever sets a property more has to decide whether it may be changed from outside.
    #[test]
    fn every_property_that_we_set_is_refused_or_known_to_be_free() {
        const FREE: [&str; 8] = [
            "client.id",
            "compression.type",
            "fetch.wait.max.ms",
            "linger.ms",
            "queued.max.messages.kbytes",
            "reconnect.backoff.max.ms",
            "reconnect.backoff.ms",
            "socket.keepalive.enable",
        ];
        let (settings, member) = super::super::tests::defaults();
        for config in [publisher::config(&settings), consumer::config(&settings, &member)] {
            for name in config.config_map().keys() {
                let refused = OURS.iter().chain(GUARDED).any(|(known, _)| known == name);
                assert!(refused || FREE.contains(name), "{name} is set, and nobody has decided about it");
            }
        }
    }
}
