//! Settings of the cache: where Redis is and how it lets us in, and the numbers of PROTOCOL that its scripts need.

use std::path::PathBuf;
use std::time::Duration;

use redis::{Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, TlsCertificates};
use service::settings::{Findings, Secret, ServerUrl, millis, seconds, tls};

use crate::keys::SHARDS;

/// Redis and the numbers that go into its scripts.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Redis")]
pub struct RedisSettings {
    /// `redis://[user:password@]host:port[/database]`, or `rediss://` for TLS.
    #[arg(long, env = "REDIS_URL", default_value = "redis://127.0.0.1:6379")]
    pub redis_url: ServerUrl,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub access: RedisAccess,

    /// How long an answer of Redis may take before the connection is given up (at least 4 times --clock-skew-ms).
    #[arg(long, env = "REDIS_TIMEOUT_MS", default_value = "500", value_parser = millis)]
    pub redis_timeout_ms: Duration,

    /// How far the clocks of two machines may disagree before writes are refused.
    #[arg(long, env = "CLOCK_SKEW_MS", default_value = "50", value_parser = millis)]
    pub clock_skew_ms: Duration,

    /// How long a record stays in the cache after MySQL holds it.
    #[arg(long, env = "SETTLED_TTL_S", default_value = "3600", value_parser = seconds)]
    pub settled_ttl_s: Duration,

    /// How long a reader that missed may take to fill the record in.
    #[arg(long, env = "FILL_LEASE_MS", default_value = "5000", value_parser = millis)]
    pub fill_lease_ms: Duration,

    /// How long an idempotency key is remembered; longer than --settled-ttl-s.
    #[arg(long, env = "IDEMPOTENCY_TTL_S", default_value = "86400", value_parser = seconds)]
    pub idempotency_ttl_s: Duration,

    /// Most writes that wait for the topic, over all 16 shards; past it writes are refused with 503.
    #[arg(long, env = "OUTBOX_MOST", default_value = "1000000")]
    pub outbox_most: u64,

    /// Most writes that wait for MySQL, over all 16 shards; past it writes are refused with 503.
    #[arg(long, env = "UNSETTLED_MOST", default_value = "4000000")]
    pub unsettled_most: u64,
}

/// How Redis knows us, and we it.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct RedisAccess {
    /// The ACL user, where the URL names none.
    #[arg(long, env = "REDIS_USERNAME")]
    pub redis_username: Option<String>,

    /// Its password, or that of the default user; not in the URL as well.
    #[arg(long, env = "REDIS_PASSWORD")]
    pub redis_password: Option<Secret>,

    /// A PEM file with the authorities that Redis' certificate must come from; left out, the public ones.
    #[arg(long, env = "REDIS_TLS_CA")]
    pub redis_tls_ca: Option<PathBuf>,

    /// A PEM file with the certificate that we show to Redis.
    #[arg(long, env = "REDIS_TLS_CERT")]
    pub redis_tls_cert: Option<PathBuf>,

    /// A PEM file with the key of that certificate.
    #[arg(long, env = "REDIS_TLS_KEY")]
    pub redis_tls_key: Option<PathBuf>,
}

impl RedisSettings {
    /// Everything that is wrong, each naming its flag.
    #[must_use]
    pub fn findings(&self) -> Findings {
        let mut found = Findings::default();
        match self.client() {
            Ok(client) => found.warnings.extend(plaintext(client.get_connection_info())),
            Err(faults) => found.faults.extend(faults),
        }
        found.demand(self.redis_timeout_ms >= self.clock_skew_ms * 4, || {
            "--redis-timeout-ms must be at least 4 times --clock-skew-ms (PROTOCOL R2)".to_owned()
        });
        found.demand(self.redis_timeout_ms < self.settled_ttl_s, || {
            "--redis-timeout-ms must be shorter than --settled-ttl-s (docs/PROTOCOL.md, the numbers)".to_owned()
        });
        found.demand(self.settled_ttl_s < self.idempotency_ttl_s, || {
            "--settled-ttl-s must be shorter than --idempotency-ttl-s (docs/PROTOCOL.md, the numbers)".to_owned()
        });
        for (name, value) in [("--outbox-most", self.outbox_most), ("--unsettled-most", self.unsettled_most)] {
            found.demand(value >= u64::from(SHARDS), || {
                format!("{name} must be at least {SHARDS}: it is shared out over the shards")
            });
        }
        found
    }

    /// The client that these settings describe; it connects to nothing yet.
    ///
    /// # Errors
    /// What is wrong, each naming its flag.
    pub(crate) fn client(&self) -> Result<Client, Vec<String>> {
        let url = self.redis_url.expose().into_connection_info();
        let url = url.map_err(|error| {
            vec![format!("--redis-url: {error}: expected redis://[user:password@]host:port[/database], or rediss://")]
        })?;
        let mut faults = Vec::new();
        let info = self.access.known_by(url, &mut faults);
        // Calls share a connection: with Nagle's algorithm one would wait until Redis has acknowledged the one before it.
        let undelayed = info.tcp_settings().clone().set_nodelay(true);
        let info = info.set_tcp_settings(undelayed);
        let files = self.access.files();
        let tls = files.read().map_err(|wrong| faults.extend(wrong)).unwrap_or_default();
        let Some(flag) = files.first_given() else {
            return if faults.is_empty() { Client::open(info).map_err(|e| vec![url_fault(&e)]) } else { Err(faults) };
        };
        if !matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            faults.push(format!("{flag} is used only with TLS: --redis-url must begin with rediss://"));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let identity = tls.identity.map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
        let certificates = TlsCertificates { client_tls: identity, root_cert: tls.authority };
        Client::build_with_tls(info, certificates).map_err(|error| vec![url_fault(&error)])
    }
}

fn url_fault(error: &redis::RedisError) -> String {
    format!("--redis-url: {error}")
}

impl RedisAccess {
    fn files(&self) -> tls::Files<'_> {
        tls::Files {
            authority: ("--redis-tls-ca", self.redis_tls_ca.as_ref()),
            certificate: ("--redis-tls-cert", self.redis_tls_cert.as_ref()),
            key: ("--redis-tls-key", self.redis_tls_key.as_ref()),
        }
    }

    /// The user and password of these settings, where the URL has none.
    fn known_by(&self, url: ConnectionInfo, faults: &mut Vec<String>) -> ConnectionInfo {
        let mut known = url.redis_settings().clone();
        if let Some(password) = &self.redis_password {
            if known.password().is_some() {
                faults.push("--redis-password is given, and --redis-url has a password, too: give one".to_owned());
            }
            known = known.set_password(password.expose());
        }
        if let Some(username) = &self.redis_username {
            if known.username().is_some_and(|named| named != username) {
                faults.push("--redis-username is another user than that of --redis-url: give one".to_owned());
            }
            known = known.set_username(username);
            if known.password().is_none() {
                faults.push("--redis-username needs --redis-password".to_owned());
            }
        }
        url.set_redis_settings(known)
    }
}

/// A password that anybody on the way can read.
fn plaintext(info: &ConnectionInfo) -> Option<String> {
    let ConnectionAddr::Tcp(host, _) = info.addr() else { return None };
    let seen = info.redis_settings().password().is_some() && !service::settings::is_loopback(host);
    seen.then(|| {
        "--redis-url has no TLS, so the password goes to another machine in plain text: use rediss://".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        redis: RedisSettings,
    }

    fn read(flags: &[&str]) -> RedisSettings {
        Line::parse_from(["test"].iter().chain(flags)).redis
    }

    #[test]
    fn user_and_password_reach_the_client_from_settings_of_their_own() {
        let client = read(&["--redis-url=redis://cache:6380/3", "--redis-username=me", "--redis-password=s3cret"]);
        let client = client.client().expect("a client");
        let known = client.get_connection_info().redis_settings();
        assert_eq!((known.username(), known.password(), known.db()), (Some("me"), Some("s3cret"), 3));
    }

    #[test]
    fn no_call_waits_for_the_one_before_it_to_arrive() {
        let client = read(&["--redis-url=redis://cache"]).client().expect("a client");
        assert!(client.get_connection_info().tcp_settings().nodelay());
    }

    #[test]
    fn a_password_in_plain_text_to_another_machine_is_warned_of() {
        let warned =
            |url: &str| read(&["--redis-password=s3cret", &format!("--redis-url={url}")]).findings().warnings.len();
        assert_eq!(warned("redis://cache:6379"), 1);
        assert_eq!(warned("redis://127.0.0.1:6379"), 0);
        assert_eq!(warned("redis://localhost"), 0);
        assert_eq!(warned("rediss://cache:6379"), 0);
        assert_eq!(read(&["--redis-url=redis://cache"]).findings().warnings.len(), 0, "there is no password");
    }

    #[test]
    fn what_contradicts_itself_is_a_fault() {
        let faults = |flags: &[&str]| read(flags).findings().faults.join("\n");
        assert!(faults(&["--redis-url=redis://:s3cret@h", "--redis-password=t"]).contains("give one"));
        assert!(faults(&["--redis-username=me"]).contains("needs --redis-password"));
        assert!(faults(&["--redis-tls-ca=/nowhere/ca.pem"]).contains("must begin with rediss://"));
        let both = faults(&["--redis-url=rediss://h", "--redis-tls-ca=/nowhere/ca.pem", "--redis-tls-cert=Cargo.toml"]);
        assert!(both.contains("--redis-tls-ca: cannot read /nowhere/ca.pem"), "{both}");
        assert!(both.contains("Cargo.toml holds no certificate") && both.contains("without --redis-tls-key"), "{both}");
        let url = faults(&["--redis-url=s3cret"]);
        assert!(url.contains("--redis-url: ") && !url.contains("s3cret"), "{url}");
    }
}
