//! The programs of a database server, and the making of its first data folder.

use super::Kind;
use crate::{Ended, Lifetime, Process, Spec, Tools};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Written last: which kind of server made the data.
pub(super) const MARKER: &str = "kind";

/// How a kind of server is called.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) kind: Kind,
    server: Vec<PathBuf>,
    install: Vec<PathBuf>,
    /// Where an unpacked MySQL lies.
    pub(super) unpacked: Option<PathBuf>,
}

impl Programs {
    pub(super) fn find(tools: &Tools, kind: Kind) -> Result<Self> {
        Ok(match kind {
            Kind::MariaDb => Self {
                kind,
                server: vec![tools.mariadbd()?],
                install: vec![tools.mariadb_install_db()?],
                unpacked: None,
            },
            Kind::MySql => {
                let folder = tools.mysql()?;
                let server = with_its_own_libraries(&folder)?;
                Self { kind, install: server.clone(), server, unpacked: Some(folder) }
            }
        })
    }

    /// The server, with its settings first, as both kinds want it.
    pub(super) fn server(&self, settings: &Path, log: &Path) -> Spec {
        call("database", &self.server, log).arg(defaults(settings))
    }

    fn installer(&self, settings: &Path, log: &Path) -> Spec {
        let spec = call("database-install", &self.install, log).arg(defaults(settings));
        match self.kind {
            Kind::MariaDb => spec.args(["--auth-root-authentication-method=socket", "--skip-test-db"]),
            Kind::MySql => spec.arg("--initialize-insecure"),
        }
    }
}

/// Makes the data folder unless it is there.
pub(super) fn once(programs: &Programs, dir: &Path) -> Result<()> {
    let (marker, data) = (dir.join(MARKER), dir.join("data"));
    if marker.exists() {
        return Ok(());
    }
    if data.exists() {
        // An earlier making was cut off: there is no marker.
        std::fs::remove_dir_all(&data).with_context(|| format!("removing {}", data.display()))?;
    }
    std::fs::create_dir_all(&data)?;
    let (settings, log) = (dir.join("install.cnf"), dir.join("install.log"));
    std::fs::write(&settings, super::settings::of(programs, dir, 0)?)?;
    let installing = Process::spawn(&programs.installer(&settings, &log), Lifetime::Attached)?;
    match installing.wait(Duration::from_secs(120))? {
        Ended::Yes(Some(status)) if status.success() => Ok(std::fs::write(marker, programs.kind.to_string())?),
        Ended::Yes(_) => bail!("making the data folder of {} failed:\n{}", programs.kind, installing.log_tail(60)),
        Ended::No => bail!("making the data folder of {} takes too long", programs.kind),
    }
}

fn call(name: &str, program: &[PathBuf], log: &Path) -> Spec {
    let mut words = program.iter();
    let first = words.next().cloned().unwrap_or_default();
    Spec::new(name, first, log).args(words)
}

fn defaults(settings: &Path) -> String {
    format!("--defaults-file={}", settings.display())
}

/// An unpacked MySQL is newer than this system: it is called through the loader and the libraries that came with it.
fn with_its_own_libraries(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = None;
    for entry in std::fs::read_dir(folder.join("usr/lib"))? {
        let libraries = entry?.path();
        if !libraries.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(&libraries)? {
            let file = file?.path();
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with("ld-linux") && name.contains(".so") {
                found = Some((file, libraries.clone()));
            }
        }
    }
    let (loader, libraries) = found.with_context(|| format!("no loader in {}", folder.display()))?;
    Ok(vec![loader, "--library-path".into(), libraries, folder.join("usr/sbin/mysqld")])
}
