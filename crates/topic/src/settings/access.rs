//! How Kafka knows us, and we it: TLS and SASL, with librdkafka's names behind `--kafka-`.

use std::path::PathBuf;

use rdkafka::config::ClientConfig;
use service::settings::{Findings, Secret, is_loopback};

/// Whether the way to the brokers is encrypted, and who we are.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct KafkaAccess {
    /// Whether connections use TLS, and whether we authenticate.
    #[arg(long, env = "KAFKA_SECURITY_PROTOCOL", default_value = "plaintext")]
    pub kafka_security_protocol: Protocol,

    /// How we authenticate.
    #[arg(long, env = "KAFKA_SASL_MECHANISM")]
    pub kafka_sasl_mechanism: Option<Mechanism>,

    /// As whom we authenticate; the name that ACLs are given for.
    #[arg(long, env = "KAFKA_SASL_USERNAME")]
    pub kafka_sasl_username: Option<String>,

    /// The password of that user.
    #[arg(long, env = "KAFKA_SASL_PASSWORD")]
    pub kafka_sasl_password: Option<Secret>,

    /// A PEM file with the authorities that a broker's certificate must come from; left out, those of this machine.
    #[arg(long, env = "KAFKA_SSL_CA_LOCATION")]
    pub kafka_ssl_ca_location: Option<PathBuf>,

    /// A PEM file with the certificate that we show to brokers.
    #[arg(long, env = "KAFKA_SSL_CERTIFICATE_LOCATION")]
    pub kafka_ssl_certificate_location: Option<PathBuf>,

    /// A PEM file with the key of that certificate.
    #[arg(long, env = "KAFKA_SSL_KEY_LOCATION")]
    pub kafka_ssl_key_location: Option<PathBuf>,

    /// The password of that key.
    #[arg(long, env = "KAFKA_SSL_KEY_PASSWORD")]
    pub kafka_ssl_key_password: Option<Secret>,
}

/// Kafka's security protocols.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// Neither.
    #[default]
    Plaintext,
    /// TLS.
    Ssl,
    /// SASL, and whoever is on the way can read along.
    #[value(name = "sasl_plaintext", alias = "sasl-plaintext")]
    SaslPlaintext,
    /// SASL over TLS.
    #[value(name = "sasl_ssl", alias = "sasl-ssl")]
    SaslSsl,
}

/// The SASL mechanisms that need no further library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mechanism {
    /// The password itself is sent: only over TLS.
    #[value(name = "PLAIN", alias = "plain")]
    Plain,
    /// Only a proof of the password is sent.
    #[value(name = "SCRAM-SHA-256", alias = "scram-sha-256")]
    ScramSha256,
    /// The same with the longer digest.
    #[value(name = "SCRAM-SHA-512", alias = "scram-sha-512")]
    ScramSha512,
}

impl KafkaAccess {
    /// Sets what librdkafka has to know.
    pub(crate) fn apply(&self, config: &mut ClientConfig) {
        let protocol = match self.kafka_security_protocol {
            Protocol::Plaintext => "plaintext",
            Protocol::Ssl => "ssl",
            Protocol::SaslPlaintext => "sasl_plaintext",
            Protocol::SaslSsl => "sasl_ssl",
        };
        let mechanism = self.kafka_sasl_mechanism.map(|mechanism| match mechanism {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        });
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
        let secret = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
        let given = [
            ("security.protocol", Some(protocol.to_owned())),
            ("sasl.mechanism", mechanism.map(str::to_owned)),
            ("sasl.username", self.kafka_sasl_username.clone()),
            ("sasl.password", secret(&self.kafka_sasl_password)),
            ("ssl.ca.location", path(&self.kafka_ssl_ca_location)),
            ("ssl.certificate.location", path(&self.kafka_ssl_certificate_location)),
            ("ssl.key.location", path(&self.kafka_ssl_key_location)),
            ("ssl.key.password", secret(&self.kafka_ssl_key_password)),
        ];
        for (property, value) in given {
            if let Some(value) = value {
                config.set(property, value);
            }
        }
    }

    /// What contradicts itself, or is not safe towards these brokers.
    pub(super) fn findings(&self, brokers: &str) -> Findings {
        let mut found = Findings::default();
        let protocol = self.kafka_security_protocol;
        let sasl = matches!(protocol, Protocol::SaslPlaintext | Protocol::SaslSsl);
        for (flag, given) in [
            ("--kafka-sasl-mechanism", self.kafka_sasl_mechanism.is_some()),
            ("--kafka-sasl-username", self.kafka_sasl_username.is_some()),
            ("--kafka-sasl-password", self.kafka_sasl_password.is_some()),
        ] {
            found.demand(given || !sasl, || format!("{flag} is needed with this --kafka-security-protocol"));
            found.demand(sasl || !given, || {
                format!("{flag} is used only where --kafka-security-protocol is sasl_ssl or sasl_plaintext")
            });
        }
        let tls = matches!(protocol, Protocol::Ssl | Protocol::SaslSsl);
        for (flag, given) in [
            ("--kafka-ssl-ca-location", self.kafka_ssl_ca_location.is_some()),
            ("--kafka-ssl-certificate-location", self.kafka_ssl_certificate_location.is_some()),
            ("--kafka-ssl-key-location", self.kafka_ssl_key_location.is_some()),
            ("--kafka-ssl-key-password", self.kafka_ssl_key_password.is_some()),
        ] {
            found.demand(tls || !given, || {
                format!("{flag} is used only where --kafka-security-protocol is ssl or sasl_ssl")
            });
        }
        let pair = self.kafka_ssl_certificate_location.is_some() == self.kafka_ssl_key_location.is_some();
        found.demand(pair, || {
            "--kafka-ssl-certificate-location and --kafka-ssl-key-location: give both or none".to_owned()
        });
        let afar = brokers
            .split(',')
            .any(|broker| !is_loopback(broker.trim().rsplit_once(':').map_or(broker, |(host, _)| host)));
        if protocol == Protocol::SaslPlaintext && self.kafka_sasl_mechanism == Some(Mechanism::Plain) && afar {
            let seen = "--kafka-sasl-mechanism is PLAIN, so the password goes to another machine in plain text";
            found.warnings.push(format!("{seen}: use sasl_ssl as --kafka-security-protocol"));
        }
        found
    }
}
