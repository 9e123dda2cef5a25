//! Finds the programs that the stack runs. Installs nothing: that is `packages.sh`, called by `make install`.

use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// Must be the version that `packages.sh` fetches.
const KAFKA_VERSION: &str = "4.3.1";

/// Where programs are looked for.
#[derive(Debug, Clone)]
pub struct Tools {
    folder: PathBuf,
}

/// What it takes to run a Kafka broker.
#[derive(Debug, Clone)]
pub struct KafkaTools {
    /// The Java launcher.
    pub java: PathBuf,
    /// The broker's jars, in an order that never changes (an AppCDS archive holds for one class path only).
    pub class_path: String,
    /// The folder of this version: here its AppCDS archive is kept.
    pub folder: PathBuf,
}

impl Tools {
    /// `STACK_TOOLS`, else `.stack/tools` in this workspace; and the PATH. Whether a program is there is found out
    /// when it is asked for, so that a test that wants Redis alone needs no Kafka.
    pub fn find() -> Self {
        let folder = std::env::var_os("STACK_TOOLS").map(PathBuf::from);
        Self { folder: folder.unwrap_or_else(|| workspace().join(".stack/tools")) }
    }

    /// Java and the jars of Kafka.
    pub fn kafka(&self) -> Result<KafkaTools> {
        let java = named("java", "Java 17 or newer")?;
        let folder = self.folder.join(format!("kafka-{KAFKA_VERSION}"));
        if !folder.join("complete").exists() {
            return missing(&format!("Kafka {KAFKA_VERSION} in {}", folder.display()));
        }
        let mut jars = Vec::new();
        for entry in std::fs::read_dir(folder.join("libs"))? {
            jars.push(entry?.path().to_string_lossy().into_owned());
        }
        jars.sort();
        Ok(KafkaTools { java, class_path: jars.join(":"), folder })
    }

    /// A Redis server: itself, or the program of `redis-tools` that is one when it is called by that name.
    pub fn redis(&self) -> Result<PathBuf> {
        named("redis-server", "Redis").or_else(|_| named("redis-check-rdb", "Redis (package redis-tools)"))
    }

    /// The MariaDB server. (Debian's `mysqld` is MariaDB too.)
    pub fn mariadbd(&self) -> Result<PathBuf> {
        named("mariadbd", "MariaDB (package mariadb-server-core)")
    }

    /// What makes MariaDB's first data folder.
    pub fn mariadb_install_db(&self) -> Result<PathBuf> {
        named("mariadb-install-db", "MariaDB (package mariadb-server-core)")
    }

    /// The command line client; it speaks to MySQL too.
    pub fn mariadb(&self) -> Result<PathBuf> {
        named("mariadb", "the database client (package mariadb-client-core)")
    }

    /// The folder of an unpacked MySQL with its own libraries (`usr/sbin/mysqld`).
    pub fn mysql(&self) -> Result<PathBuf> {
        let folder = self.folder.join("mysql");
        if !folder.join("usr/sbin/mysqld").exists() {
            bail!("MySQL is missing in {}; to mend it: STACK_DB=mysql make install", folder.display());
        }
        Ok(folder)
    }

    /// The Python of the environment that `packages.sh test` made, with the readers of topics that are not ours.
    pub fn python(&self) -> Result<PathBuf> {
        let folder = self.folder.join("python");
        if !folder.join("complete").exists() {
            bail!(
                "Python's Kafka readers and API checkers are missing in {}; to mend it: crates/stack/packages.sh test",
                folder.display()
            );
        }
        Ok(folder.join("bin/python"))
    }

    /// The Prometheus server.
    pub fn prometheus(&self) -> Result<PathBuf> {
        self.unpacked("prometheus")
    }

    /// Prometheus' checker of rules and metrics.
    pub fn promtool(&self) -> Result<PathBuf> {
        self.unpacked("promtool")
    }

    /// Docker compose: it reads and renders its file without a container engine.
    pub fn compose(&self) -> Result<PathBuf> {
        let own = self.folder.join("docker-compose/docker-compose");
        if !own.exists() {
            bail!("docker compose is missing in {}; to mend it: crates/stack/packages.sh test", self.folder.display());
        }
        Ok(own)
    }

    fn unpacked(&self, program: &str) -> Result<PathBuf> {
        let own = self.folder.join("prometheus/usr/bin").join(program);
        if own.exists() { Ok(own) } else { named(program, "Prometheus") }
    }
}

/// The root of this workspace.
pub fn workspace() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here)
}

fn named(program: &str, what: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Servers lie in sbin, which an ordinary account has not on its PATH.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    match folders.map(|folder| folder.join(program)).find(|file| file.is_file()) {
        Some(file) => Ok(file),
        None => missing(&format!("{what}: no {program} on the PATH")),
    }
}

fn missing<T>(what: &str) -> Result<T> {
    bail!("missing: {what}; to mend it: make install (make doctor lists all)")
}
