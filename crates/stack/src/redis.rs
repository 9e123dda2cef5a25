//! Redis, set as in production: append-only file, a memory bound, eviction only of what has a time to live.

use crate::server::{Place, Server, made};
use crate::{Spec, Tools, port};
use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::ops::Deref;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A running Redis. What every server can do ([`Server::kill`], [`Server::restart`], …) it does too.
#[derive(Debug)]
pub struct Redis {
    server: Server,
}

impl Redis {
    /// Starts it and waits until it has loaded its data and answers.
    pub fn start(tools: &Tools, place: &Place) -> Result<Self> {
        let dir = made(&place.dir)?;
        let program = called_redis_server(&tools.redis()?, dir)?;
        let server = port::settle(place.port, |port| {
            let settings = dir.join("redis.conf");
            std::fs::write(&settings, settings_for(dir, port))?;
            let spec = Spec::new("redis", &program, &place.log).arg(settings);
            Server::start(spec, port, place, Box::new(move || answers(port).unwrap_or(false)))
        })?;
        Ok(Self { server })
    }

    /// Where to connect; `database` is one of 0 to 999, so that every test can have an empty one.
    pub fn url(&self, database: u32) -> String {
        format!("redis://127.0.0.1:{}/{database}", self.server.port())
    }
}

impl Deref for Redis {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// Debian's `redis-tools` ships the server as `redis-check-rdb`; it serves when its own name says `redis-server`.
fn called_redis_server(program: &Path, dir: &Path) -> Result<PathBuf> {
    if program.ends_with("redis-server") {
        return Ok(program.to_owned());
    }
    let link = dir.join("redis-server");
    if !link.exists() {
        symlink(program, &link).with_context(|| format!("linking {}", link.display()))?;
    }
    Ok(link)
}

fn settings_for(dir: &Path, port: u16) -> String {
    let dir = dir.display();
    format!(
        "bind 127.0.0.1\nport {port}\ndir \"{dir}\"\ndaemonize no\ndatabases 1000\n\
         appendonly yes\nappendfsync everysec\nsave \"\"\n\
         maxmemory 512mb\nmaxmemory-policy volatile-ttl\ntcp-backlog 128\n"
    )
}

/// Asks PING; while it loads its data it answers with an error.
fn answers(port: u16) -> std::io::Result<bool> {
    let limit = Duration::from_secs(1);
    let mut stream = std::net::TcpStream::connect_timeout(&port::address(port), limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    Ok(&answer == b"+PONG\r\n")
}
