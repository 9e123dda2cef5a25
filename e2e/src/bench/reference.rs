//! The reference programs that ingest is compared with, running.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use stack::{Lifetime, Process, Spec, shared};

use crate::System;
use crate::system::binary;

/// As many as ingest has.
const WORKERS: &str = "2";

/// One of them; it ends when this is dropped.
#[derive(Debug)]
pub struct Reference {
    process: Process,
    url: String,
}

impl Reference {
    /// A handler that does nothing.
    ///
    /// # Errors
    /// It does not start.
    pub async fn no_op() -> Result<Self> {
        let address = format!("127.0.0.1:{}", stack::port::free()?);
        let spec = Spec::new("no-op", binary("reference-no-op"), shared::scratch("no-op").join("log"));
        Self::start(spec.args([address.as_str(), WORKERS]), address).await
    }

    /// The thin pipeline, on the system's Redis and into its topic.
    ///
    /// # Errors
    /// It does not start.
    pub async fn thin(system: &System) -> Result<Self> {
        let address = format!("127.0.0.1:{}", stack::port::free()?);
        let spec = system.spec("reference-thin", "thin", "");
        Self::start(spec.env("LISTEN", &address).env("HTTP_WORKERS", WORKERS), address).await
    }

    async fn start(spec: Spec, address: String) -> Result<Self> {
        let process = Process::spawn(&spec, Lifetime::Attached)?;
        let until = Instant::now() + Duration::from_secs(10);
        while tokio::net::TcpStream::connect(&address).await.is_err() {
            ensure!(process.is_running() && Instant::now() < until, "{}: {}", process.name(), process.log_tail(10));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { process, url: format!("http://{address}") })
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}
