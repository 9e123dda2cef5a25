//! The database server: Debian's MariaDB, or a real MySQL where `STACK_DB=mysql make install` unpacked one.

mod accounts;
mod install;
mod settings;

pub use accounts::{Accounts, Admin};

use crate::server::{Place, Server, made};
use crate::{Tools, port};
use anyhow::{Result, bail};
use std::fmt::{Display, Formatter};
use std::io::Read;
use std::net::TcpStream;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// Which database server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// Debian's own.
    #[default]
    MariaDb,
    /// Unpacked under `.stack/tools/mysql`.
    MySql,
}

impl Kind {
    /// What `STACK_DB` says; MariaDB when it says nothing.
    pub fn from_env() -> Result<Self> {
        std::env::var("STACK_DB").map_or(Ok(Self::default()), |name| name.parse())
    }

    /// An error when the data in `dir` was made by the other kind: neither can read what the other wrote.
    pub fn check(self, dir: &Path) -> Result<()> {
        match std::fs::read_to_string(dir.join(install::MARKER)) {
            Ok(kind) if kind != self.to_string() => {
                bail!("the data in {} was made by {kind}, not by {self}; to forget it: make clean", dir.display())
            }
            _ => Ok(()),
        }
    }
}

impl FromStr for Kind {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "mariadb" | "" => Ok(Self::MariaDb),
            "mysql" => Ok(Self::MySql),
            _ => bail!("STACK_DB is mariadb or mysql, not {name}"),
        }
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::MariaDb => "mariadb",
            Self::MySql => "mysql",
        })
    }
}

/// A running database server. What every server can do ([`Server::kill`], [`Server::restart`], …) it does too.
#[derive(Debug)]
pub struct Database {
    server: Server,
    admin: Admin,
    dir: PathBuf,
}

impl Database {
    /// Starts it, on a fresh data folder when there is none yet, waits until it answers, and sees that root may ask it.
    pub fn start(tools: &Tools, place: &Place, kind: Kind) -> Result<Self> {
        let dir = made(&place.dir)?;
        kind.check(dir)?;
        made(&dir.join("tmp"))?;
        let programs = install::Programs::find(tools, kind)?;
        install::once(&programs, dir)?;
        let (server, admin) = port::settle(place.port, |port| {
            let admin = Admin::prepare(tools, dir, port)?;
            let settings = dir.join("my.cnf");
            std::fs::write(&settings, settings::of(&programs, dir, port)?)?;
            let spec = programs.server(&settings, &place.log);
            let probe = move || greets(port).unwrap_or(false);
            Ok((Server::start(spec, port, place, Box::new(probe))?, admin))
        })?;
        admin.query("SELECT 1")?;
        Ok(Self { server, admin, dir: dir.to_owned() })
    }

    /// Its version as it says it itself; one of MariaDB has that word in it.
    pub fn version(&self) -> Result<String> {
        Ok(self.admin.query("SELECT VERSION()")?.trim().to_owned())
    }

    /// Its folder: settings and data.
    pub fn folder(&self) -> &Path {
        &self.dir
    }

    /// Makes a database of this name with its accounts; see [`Admin::create`].
    pub fn create(&self, name: &str) -> Result<Accounts> {
        self.admin.create(name)
    }

    /// Runs SQL as root; see [`Admin::query`].
    pub fn query(&self, sql: &str) -> Result<String> {
        self.admin.query(sql)
    }
}

impl Deref for Database {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// Whether the server sends its greeting: protocol 10 after a header of four bytes; an error (255) otherwise.
fn greets(port: u16) -> std::io::Result<bool> {
    let limit = Duration::from_secs(1);
    let mut stream = TcpStream::connect_timeout(&port::address(port), limit)?;
    stream.set_read_timeout(Some(limit))?;
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    Ok(matches!(head, [_, _, _, _, 10]))
}
