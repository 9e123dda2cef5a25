//! Databases and the accounts to them: one for each role, with the least rights, with passwords of their own.
//!
//! SQL goes through the command line client, so that no driver is needed here; passwords stand in files that only
//! their owner may read, never on a command line.

use crate::{Tools, private, random};
use anyhow::{Context, Result, bail, ensure};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The accounts to one database, as URLs `mysql://user:password@127.0.0.1:port/name`.
#[derive(Clone, PartialEq, Eq)]
pub struct Accounts {
    /// May do everything, everywhere.
    pub root: String,
    /// May change the tables of this database.
    pub migrate: String,
    /// May read and write rows of this database.
    pub persister: String,
    /// May read this database; what the service `ingest` has.
    pub ingest: String,
    /// May read this database; for people and dashboards.
    pub reader: String,
}

// By hand, because of the passwords.
impl std::fmt::Debug for Accounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accounts").finish_non_exhaustive()
    }
}

/// Each role and its rights on the database.
const RIGHTS: [(&str, &str); 4] = [
    ("migrate", "ALL PRIVILEGES"),
    ("persister", "SELECT, INSERT, UPDATE, DELETE"),
    ("ingest", "SELECT"),
    ("reader", "SELECT"),
];

/// Root's access to a running server, known by the server's folder.
#[derive(Debug, Clone)]
pub struct Admin {
    client: PathBuf,
    dir: PathBuf,
    port: u16,
}

impl Admin {
    /// Access to the server that runs in this folder on this port.
    pub fn of(tools: &Tools, dir: &Path, port: u16) -> Result<Self> {
        Ok(Self { client: tools.mariadb()?, dir: dir.to_owned(), port })
    }

    /// The same, before the server starts: root's password is generated once, and a first statement file sets it
    /// before the server takes connections.
    pub(super) fn prepare(tools: &Tools, dir: &Path, port: u16) -> Result<Self> {
        let admin = Self::of(tools, dir, port)?;
        let password = admin.root_password()?;
        private::write(
            &dir.join("init.sql"),
            &format!(
                "CREATE USER IF NOT EXISTS 'root'@'127.0.0.1';\n\
                 ALTER USER 'root'@'127.0.0.1' IDENTIFIED BY '{password}';\n\
                 GRANT ALL PRIVILEGES ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;\n\
                 ALTER USER 'root'@'localhost' IDENTIFIED BY '{password}';\n"
            ),
        )?;
        let client = format!("[client]\nhost=127.0.0.1\nprotocol=tcp\nport={port}\nuser=root\npassword={password}\n");
        private::write(&dir.join("root.cnf"), &client)?;
        Ok(admin)
    }

    /// Makes the database and its accounts. Called again, it gives the same accounts, also after a restart.
    pub fn create(&self, name: &str) -> Result<Accounts> {
        let fits = !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        ensure!(fits, "a database name is 1 to 64 of A-Z a-z 0-9 _, not {name:?}");
        let known = self.accounts_of(name)?;
        let pattern = name.replace('_', "\\_"); // in GRANT, a bare _ stands for any character
        let mut sql = format!("CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4;\n");
        for ((_, rights), (user, password)) in RIGHTS.iter().zip(&known) {
            sql += &format!("CREATE USER IF NOT EXISTS '{user}'@'127.0.0.1' IDENTIFIED BY '{password}';\n");
            sql += &format!("GRANT {rights} ON `{pattern}`.* TO '{user}'@'127.0.0.1';\n");
        }
        self.query(&sql)?;
        let url = |user: &str, password: &str| format!("mysql://{user}:{password}@127.0.0.1:{}/{name}", self.port);
        let [migrate, persister, ingest, reader] = known.map(|(user, password)| url(&user, &password));
        Ok(Accounts { root: url("root", &self.root_password()?), migrate, persister, ingest, reader })
    }

    /// Runs SQL as root and gives what the client prints: a line a row, columns separated by tabs.
    pub fn query(&self, sql: &str) -> Result<String> {
        let mut client = Command::new(&self.client)
            .arg(format!("--defaults-file={}", self.dir.join("root.cnf").display()))
            .args(["--batch", "--skip-column-names", "--default-character-set=utf8mb4", "--connect-timeout=5"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting the database client")?;
        if let Some(mut input) = client.stdin.take() {
            // A client that could not connect does not read; its own message says more than a broken pipe.
            drop(input.write_all(sql.as_bytes()));
        }
        let done = client.wait_with_output()?;
        if !done.status.success() {
            bail!("the database refuses: {}", String::from_utf8_lossy(&done.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }

    fn root_password(&self) -> Result<String> {
        let file = self.dir.join("root.password");
        if !file.exists() {
            private::write(&file, &random::hex::<16>()?)?;
        }
        Ok(std::fs::read_to_string(file)?)
    }

    /// User and password of each role of [`RIGHTS`], generated at the first call for this name.
    fn accounts_of(&self, name: &str) -> Result<[(String, String); 4]> {
        let file = self.dir.join("accounts").join(name);
        if !file.exists() {
            std::fs::create_dir_all(self.dir.join("accounts"))?;
            let mut text = String::new();
            for (role, _) in RIGHTS {
                // Not the database's name: MySQL allows 32 characters for a user.
                text += &format!("{role}_{} {}\n", random::hex::<6>()?, random::hex::<16>()?);
            }
            private::write(&file, &text)?;
        }
        let text = std::fs::read_to_string(&file)?;
        let pairs: Vec<_> = text.lines().filter_map(|l| l.split_once(' ')).collect();
        let owned = |(user, password): &(&str, &str)| ((*user).to_owned(), (*password).to_owned());
        match pairs.as_slice() {
            [a, b, c, d] => Ok([owned(a), owned(b), owned(c), owned(d)]),
            _ => bail!("{} is not whole", file.display()),
        }
    }
}
