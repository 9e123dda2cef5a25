//! Redis, set as in production: append-only file, a memory bound, eviction only of what has a time to live.

mod clock;

use clock::Clock;

use crate::server::{Place, Server, made};
use crate::{Spec, Tools, port};
use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::ops::Deref;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What Redis keeps on disk, and when it makes sure that it is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fsync {
    /// Each second, as in production: about two seconds of writes may be lost in a crash.
    #[default]
    EverySecond,
    /// Before each answer.
    Always,
    /// When the system pleases.
    Never,
    /// Nothing is on disk: a restart is empty.
    NoFile,
}

/// What a Redis needs beside its [`Place`].
#[derive(Debug, Clone, Copy, Default)]
pub struct RedisOptions {
    /// What is on disk.
    pub fsync: Fsync,
    /// Whether [`Redis::step_clock`] works.
    pub clock: bool,
}

/// A running Redis. What every server can do ([`Server::kill`], [`Server::restart`], …) it does too.
#[derive(Debug)]
pub struct Redis {
    server: Server,
    dir: PathBuf,
    clock: Option<Clock>,
}

impl Redis {
    /// Starts it and waits until it has loaded its data and answers.
    pub fn start(tools: &Tools, place: &Place) -> Result<Self> {
        Self::start_with(tools, place, RedisOptions::default())
    }

    /// The same, set otherwise than in production.
    pub fn start_with(tools: &Tools, place: &Place, options: RedisOptions) -> Result<Self> {
        let dir = made(&place.dir)?;
        let program = called_redis_server(&tools.redis()?, dir)?;
        let clock = if options.clock { Some(Clock::make(dir)?) } else { None };
        let server = port::settle(place.port, |port| {
            let settings = dir.join("redis.conf");
            std::fs::write(&settings, settings_for(dir, port, options.fsync))?;
            let mut spec = Spec::new("redis", &program, &place.log).arg(settings);
            for (name, value) in clock.iter().flat_map(Clock::environment) {
                spec = spec.env(name, value);
            }
            Server::start(spec, port, place, Box::new(move || answers(port).unwrap_or(false)))
        })?;
        Ok(Self { server, dir: dir.to_owned(), clock })
    }

    /// Kills it and starts it again without its data, as a new machine would have it.
    pub fn restart_empty(&self) -> Result<()> {
        self.server.kill()?;
        for data in ["appendonlydir", "dump.rdb"].map(|name| self.dir.join(name)) {
            if data.is_dir() {
                std::fs::remove_dir_all(data)?;
            } else if data.exists() {
                std::fs::remove_file(data)?;
            }
        }
        self.server.restart()
    }

    /// Lets its clock be this far from the machine's, at once; only with [`RedisOptions::clock`].
    pub fn step_clock(&self, seconds: i64) -> Result<()> {
        self.clock.as_ref().context("this Redis was started with the machine's clock")?.step(seconds)
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

fn settings_for(dir: &Path, port: u16, fsync: Fsync) -> String {
    let dir = dir.display();
    let (file, when) = match fsync {
        Fsync::EverySecond => ("yes", "everysec"),
        Fsync::Always => ("yes", "always"),
        Fsync::Never => ("yes", "no"),
        Fsync::NoFile => ("no", "no"),
    };
    format!(
        "bind 127.0.0.1\nport {port}\ndir \"{dir}\"\ndaemonize no\ndatabases 1000\n\
         appendonly {file}\nappendfsync {when}\nsave \"\"\n\
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
