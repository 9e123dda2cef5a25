//! TLS of the HTTP port, with certificates of an authority that only these tests know.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::system::PATIENCE;
use e2e::{Servers, System};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::{Certificate, Client};
use stack::{Ended, Lifetime, Process, shared};

use crate::answers::shown;

/// An authority, and the files of a certificate of it.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let this = Self { issuer, folder: shared::scratch("tls") };
        std::fs::write(this.path("ca.pem"), this.issuer.pem())?;
        Ok(this)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes another pair; what it is called is how a client tells it from the others. Expires in `days`.
    fn write(&self, days: i64) -> Result<Vec<u8>> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
        params.subject_alt_names.push(rcgen::SanType::IpAddress(std::net::Ipv4Addr::LOCALHOST.into()));
        params.not_after =
            rcgen::date_time_ymd(2040, 1, 1) + std::time::Duration::from_secs(u64::try_from(days)? * 86_400);
        let made = params.signed_by(&key, &self.issuer)?;
        std::fs::write(self.path("cert.pem"), made.pem())?;
        std::fs::write(self.path("key.pem"), key.serialize_pem())?;
        Ok(made.der().to_vec())
    }

    fn client(&self) -> Result<Client> {
        let root = Certificate::from_pem(self.issuer.pem().as_bytes())?;
        let client = Client::builder().add_root_certificate(root).tls_built_in_root_certs(false).tls_info(true);
        Ok(client.timeout(Duration::from_secs(15)).build()?)
    }

    fn prepare(&self) -> Result<System> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let system = System::prepare(Servers::shared())?.with("TLS_CERT", &text(&self.path("cert.pem")));
        Ok(system.with("TLS_KEY", &text(&self.path("key.pem"))))
    }
}

fn https(system: &System) -> String {
    system.ingest_url.replace("http://", "https://")
}

fn wire(system: &System) -> Result<TcpStream> {
    let stream = TcpStream::connect(system.ingest_url.trim_start_matches("http://"))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}

/// Reads the record, and says with which certificate it was answered.
async fn served(system: &System, client: &Client) -> Result<Vec<u8>> {
    let answer = client.get(format!("{}/users/1", https(system))).send().await?;
    ensure!(answer.status() == 200 || answer.status() == 404, "{answer:?}");
    ensure!(answer.version() == reqwest::Version::HTTP_11, "only HTTP/1.1 has all the bounds: {answer:?}");
    let info = answer.extensions().get::<reqwest::tls::TlsInfo>().context("no TLS")?;
    Ok(info.peer_certificate().context("a certificate")?.to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_knows_the_root_is_answered_and_another_certificate_is_served_to_new_connections() -> Result<()> {
    let authority = Authority::new()?;
    let first = authority.write(0)?;
    let system = authority.prepare()?.up().await?;
    let old = authority.client()?;
    let put = old.put(format!("{}/users/1", https(&system))).json(&serde_json::json!({ "name": "Ada", "age": 36 }));
    ensure!(put.send().await?.status() == 202);
    ensure!(served(&system, &old).await? == first);
    let told = system.client.get(format!("{}/users/1", https(&system))).send().await;
    ensure!(told.is_err(), "somebody who does not know the root trusts it: {told:?}");
    let expires = async || shown(&system, "write_behind_tls_certificate_expiry_timestamp_seconds").await;
    let faulty = async || shown(&system, "write_behind_tls_files_faulty").await;
    ensure!(expires().await? == 2_208_988_800.0, "2040-01-01: {}", expires().await?);

    // A key that is not there yet, or is another's, changes nothing.
    let stale = std::fs::read(authority.path("cert.pem"))?;
    let second = authority.write(1)?;
    let fresh = std::fs::read(authority.path("cert.pem"))?;
    std::fs::write(authority.path("cert.pem"), stale)?;
    system.eventually("the pair is said to be faulty", async || Ok(faulty().await? == 1.0)).await?;
    ensure!(served(&system, &authority.client()?).await? == first, "a pair at fault is served");
    let log = system.ingest.as_ref().context("ingest")?.log_tail(100);
    ensure!(
        log.contains("they do not belong together") && log.contains("what was there before stays in force"),
        "{log}"
    );

    std::fs::write(authority.path("cert.pem"), fresh)?;
    system
        .eventually("the other certificate counts", async || Ok(expires().await? == 2_208_988_800.0 + 86_400.0))
        .await?;
    ensure!(faulty().await? == 0.0);
    ensure!(served(&system, &authority.client()?).await? == second, "a new connection gets the old certificate");
    // Its connection was kept alive: nobody has to connect again.
    ensure!(served(&system, &old).await? == first, "a connection from before was ended");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_whoever_speaks_no_tls_or_none_in_time_is_cut_off_and_nobody_else_notices() -> Result<()> {
    let authority = Authority::new()?;
    authority.write(0)?;
    let system =
        authority.prepare()?.with("TLS_HANDSHAKE_MS", "700").with("CONNECTIONS_MOST", "4").with("HTTP_WORKERS", "1");
    let system = system.up().await?;
    let client = authority.client()?;
    for garbage in [&b"GET /users/1 HTTP/1.1\r\nHost: ingest\r\n\r\n"[..], &[0xff; 4096], &[0x16, 3, 1, 0xff, 0xff, 1]]
    {
        let mut stream = wire(&system)?;
        stream.write_all(garbage)?;
        let (begun, mut read) = (Instant::now(), Vec::new());
        // A reset is an end, too.
        drop(stream.read_to_end(&mut read));
        ensure!(begun.elapsed() < Duration::from_secs(5), "it is not cut off: {:?}", begun.elapsed());
        ensure!(!read.starts_with(b"HTTP"), "it was answered in plain: {read:?}");
        served(&system, &client).await?;
    }
    // Whoever only connects holds a place until his time is over, so that all are taken and given back.
    let silent: Vec<_> = (0..8).map(|_| wire(&system)).collect::<Result<_>>()?;
    served(&system, &authority.client()?).await?;
    for mut stream in silent {
        ensure!(stream.read(&mut [0; 1]).is_ok_and(|read| read == 0), "a silent client is still connected");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_with_another_key_does_not_start_and_says_why() -> Result<()> {
    let authority = Authority::new()?;
    authority.write(0)?;
    let certificate = std::fs::read(authority.path("cert.pem"))?;
    authority.write(0)?;
    std::fs::write(authority.path("cert.pem"), certificate)?;
    let system = authority.prepare()?;
    let process = Process::spawn(&system.ingest_spec(), Lifetime::Attached)?;
    let Ended::Yes(Some(status)) = process.wait(PATIENCE)? else { anyhow::bail!("it runs") };
    let said = process.log_tail(20);
    ensure!(
        status.code() == Some(2) && said.contains("--tls-cert") && said.contains("do not belong together"),
        "{said}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_publisher_speaks_https_with_an_authority_of_its_own() -> Result<()> {
    let authority = Authority::new()?;
    authority.write(0)?;
    let system = authority.prepare()?.up().await?;
    let words = ["-l", "Smith", "-f", "John", "-a", "25"];
    let spec = system.spec("publisher", "publisher", "").env("INGEST_URL", https(&system)).args(words);
    let run = |spec: &stack::Spec| -> Result<(bool, String)> {
        let process = Process::spawn(spec, Lifetime::Attached)?;
        let Ended::Yes(Some(status)) = process.wait(PATIENCE)? else { anyhow::bail!("it does not end") };
        Ok((status.success(), process.log_tail(50)))
    };
    let (done, said) = run(&spec)?;
    ensure!(!done && said.to_lowercase().contains("certificate"), "an unknown authority is trusted: {said}");
    let (done, said) = run(&spec.arg("--ca").arg(authority.path("ca.pem")))?;
    ensure!(done, "{said}");
    Ok(())
}
