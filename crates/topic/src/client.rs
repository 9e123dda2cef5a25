//! What every client of ours sets, never inherits, and how librdkafka's own words reach our logs.

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

use crate::KafkaSettings;

/// What is common to all, then what this client sets beside it, then what is passed through; `role` becomes part of the
/// client id.
pub(crate) fn config<'a>(
    settings: &KafkaSettings,
    role: &str,
    own: impl IntoIterator<Item = (&'a str, String)>,
) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &settings.kafka_brokers)
        .set("client.id", format!("write-behind-{role}"))
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set_log_level(RDKafkaLogLevel::Warning);
    settings.access.apply(&mut config);
    for (property, value) in own {
        config.set(property, value);
    }
    for property in &settings.kafka_prop {
        property.apply(&mut config);
    }
    config
}

/// A client's context: what it does with its own callbacks, and everybody's way to log.
pub(crate) struct Reporting<T>(pub(crate) T);

impl<T: Send + Sync> ClientContext for Reporting<T> {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        note(facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        met(&error, reason);
    }
}

/// What librdkafka repeats many times a second while a broker is away goes to the debug level; the probe and the health of
/// the dependency say it once.
pub(crate) fn note(facility: &str, message: &str) {
    tracing::debug!(facility, message, "librdkafka");
}

pub(crate) fn met(error: &KafkaError, reason: &str) {
    tracing::debug!(%error, reason, "Kafka client");
}

/// For clients that need no callbacks.
pub(crate) struct Quiet;

impl ConsumerContext for Reporting<Quiet> {}
