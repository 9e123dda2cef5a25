//! TLS of the HTTP port: the certificate and its key, and others whenever their files hold others.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use prometheus::IntGauge;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use service::settings::tls::{Files, Material};
use service::settings::{Findings, millis};
use service::{Metrics, Supervisor};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::files::Kept;

/// The settings of TLS.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "TLS")]
pub struct TlsSettings {
    /// The certificate of the HTTP port, with those that lead to its root behind it, as PEM; with --tls-key. Others are in force
    /// within two seconds. Without both the port speaks plain HTTP.
    #[arg(long, env = "TLS_CERT")]
    pub tls_cert: Option<PathBuf>,

    /// The private key of --tls-cert, as PEM.
    #[arg(long, env = "TLS_KEY")]
    pub tls_key: Option<PathBuf>,

    /// How long a client may take for its TLS handshake; then its connection is closed.
    #[arg(long, env = "TLS_HANDSHAKE_MS", default_value = "3000", value_parser = millis)]
    pub tls_handshake_ms: Duration,
}

impl TlsSettings {
    /// Everything that is wrong with the files.
    #[must_use]
    pub fn findings(&self) -> Findings {
        let faults = if self.is_on() { self.load().err() } else { None };
        Findings { faults: faults.unwrap_or_default(), warnings: Vec::new() }
    }

    /// Whether the port has TLS.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.tls_cert.is_some() || self.tls_key.is_some()
    }

    fn load(&self) -> Result<Pair, Vec<String>> {
        let files = Files {
            authority: ("", None),
            certificate: ("--tls-cert", self.tls_cert.as_ref()),
            key: ("--tls-key", self.tls_key.as_ref()),
        };
        let Material { identity, .. } = files.read()?;
        let Some((certificate, key)) = identity else {
            return Err(vec!["--tls-cert and --tls-key: give both".to_owned()]);
        };
        Pair::read(&certificate, &key).map_err(|fault| vec![fault])
    }
}

/// A certificate with its key.
#[derive(Clone)]
struct Pair {
    certified: Arc<CertifiedKey>,
    /// In seconds since 1970.
    expires: i64,
    /// As it stands in the files.
    text: [Vec<u8>; 2],
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Pair {
    fn read(certificate: &[u8], key: &[u8]) -> Result<Self, String> {
        let told = |fault: &str| format!("--tls-cert and --tls-key: {fault}");
        let provider = rustls::crypto::ring::default_provider();
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate).flatten().collect();
        let expires =
            chain.first().and_then(|first| Some(X509Certificate::from_der(first).ok()?.1.validity().not_after));
        let expires = expires.ok_or_else(|| told("the certificate cannot be read"))?.timestamp();
        let private = PrivateKeyDer::from_pem_slice(key).map_err(|_| told("the key cannot be read"))?;
        // What rustls says of a key names no byte of it.
        let certified = CertifiedKey::from_der(chain, private, &provider)
            .map_err(|error| told(&format!("they do not belong together: {error}")))?;
        Ok(Self { certified: certified.into(), expires, text: [certificate.to_vec(), key.to_vec()] })
    }
}

/// What connections get that begin now.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// TLS as the settings have it, with its files looked at from now on; `None` without TLS.
///
/// # Errors
/// A file is at fault.
pub(crate) fn supervise(
    settings: &TlsSettings,
    metrics: &Metrics,
    supervisor: &Supervisor,
) -> anyhow::Result<Option<ServerConfig>> {
    let expiry = metrics.gauge(
        "tls_certificate_expiry_timestamp_seconds",
        "When the certificate of the HTTP port expires, in seconds since 1970; 0 without TLS",
    );
    let faulty = metrics
        .gauge("tls_files_faulty", "1 while --tls-cert or --tls-key is at fault, and what was there before counts");
    if !settings.is_on() {
        return Ok(None);
    }
    let load = {
        let settings = settings.clone();
        move || settings.load().map_err(|faults| faults.join("; "))
    };
    let first = load().map_err(anyhow::Error::msg)?;
    let current = Arc::new(Current(first.certified.into()));
    let take = taken(Arc::clone(&current), expiry);
    Kept { name: "tls-files", load: Arc::new(load), take: Box::new(take), faulty }.supervise(supervisor)?;
    let mut config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(current);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(config))
}

fn taken(current: Arc<Current>, expiry: IntGauge) -> impl Fn(Pair) {
    move |pair| {
        expiry.set(pair.expires);
        tracing::info!(expires = pair.expires, "this certificate is in force");
        *current.0.write().unwrap_or_else(PoisonError::into_inner) = pair.certified;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Vec<u8>, Vec<u8>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem().into_bytes(), made.signing_key.serialize_pem().into_bytes())
    }

    fn settings(certificate: &[u8], key: &[u8]) -> (TlsSettings, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let at = |name| Some(folder.path().join(name));
        std::fs::write(at("cert").unwrap(), certificate).unwrap();
        std::fs::write(at("key").unwrap(), key).unwrap();
        let tls_handshake_ms = Duration::from_secs(1);
        (TlsSettings { tls_cert: at("cert"), tls_key: at("key"), tls_handshake_ms }, folder)
    }

    #[test]
    fn a_certificate_has_its_own_key_and_says_when_it_expires() {
        let ((certificate, key), (_, other)) = (pair(), pair());
        let (sound, _folder) = settings(&certificate, &key);
        assert_eq!(sound.findings(), Findings::default());
        assert!(sound.load().unwrap_or_else(|_| panic!("sound")).expires > 1_700_000_000);
        let (foreign, _folder) = settings(&certificate, &other);
        assert!(foreign.findings().faults[0].contains("--tls-cert and --tls-key: they do not belong together"));
        let (empty, _folder) = settings(&certificate, b"");
        assert!(empty.findings().faults[0].starts_with("--tls-key: "));
        let alone = TlsSettings { tls_key: None, ..sound };
        assert!(alone.findings().faults[0].contains("--tls-cert is given without --tls-key"));
    }
}
