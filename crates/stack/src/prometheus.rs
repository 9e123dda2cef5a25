//! Prometheus with a configuration of ours.

use crate::server::{Place, Server, made};
use crate::{Spec, Tools, http, port};
use anyhow::Result;
use std::ops::Deref;
use std::path::Path;

/// A running Prometheus. What every server can do ([`Server::kill`], [`Server::restart`], …) it does too.
#[derive(Debug)]
pub struct Prometheus {
    server: Server,
}

impl Prometheus {
    /// Starts it with this configuration file and waits until it is ready to answer queries.
    pub fn start(tools: &Tools, place: &Place, config: &Path) -> Result<Self> {
        let data = made(&place.dir)?.join("data");
        let program = tools.prometheus()?;
        let server = port::settle(place.port, |port| {
            let spec = Spec::new("prometheus", &program, &place.log)
                .arg(format!("--config.file={}", config.display()))
                .arg(format!("--storage.tsdb.path={}", data.display()))
                .arg("--storage.tsdb.retention.size=1GB")
                .arg(format!("--web.listen-address=127.0.0.1:{port}"));
            Server::start(spec, port, place, Box::new(move || is_ready(port)))
        })?;
        Ok(Self { server })
    }

    /// Its page and its HTTP interface.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.server.port())
    }
}

impl Deref for Prometheus {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

fn is_ready(port: u16) -> bool {
    http::get(port, "/-/ready").is_ok_and(|(status, _)| status == 200)
}
