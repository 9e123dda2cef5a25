//! The folder `.stack`: data, logs, notes of what runs, and the lock that lets one `stack` at a time change it.

use anyhow::{Context, Result, bail};
use stack::note::{self, Note, Noted};
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Everything that can run, in the order of starting; stopped in reverse.
pub(crate) const ALL: [&str; 6] = ["database", "redis", "kafka", "prometheus", "persister", "ingest"];

/// The folder `.stack`, locked.
#[derive(Debug)]
pub(crate) struct State {
    root: PathBuf,
    _lock: File,
}

impl State {
    /// Opens the folder (`.stack` in the workspace unless `dir` is given), made when it is not there, and locks it.
    pub(crate) fn open(dir: Option<&Path>) -> Result<Self> {
        let root = dir.map_or_else(|| stack::workspace().join(".stack"), Path::to_owned);
        for folder in ["data", "log", "run"] {
            let folder = root.join(folder);
            std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        }
        let root = root.canonicalize()?;
        let lock = File::create(root.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { root, _lock: lock }),
            Err(TryLockError::WouldBlock) => bail!("another make up, down or clean is at work in {}", root.display()),
            Err(TryLockError::Error(e)) => Err(e).context("locking"),
        }
    }

    /// A file or folder in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Where a server keeps its settings and data.
    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.root.join("data").join(name)
    }

    /// Where a process logs.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.root.join("log").join(format!("{name}.log"))
    }

    /// A fresh log for a process about to start; the one before is kept, older ones are not.
    pub(crate) fn fresh_log(&self, name: &str) -> Result<PathBuf> {
        let log = self.log(name);
        match std::fs::rename(&log, log.with_extension("log.1")) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e).context("keeping the log before"),
            _ => Ok(log),
        }
    }

    /// The note to start a process with.
    pub(crate) fn note(&self, name: &str, about: String) -> Note {
        Note { file: self.note_file(name), about }
    }

    /// The process of this name that an earlier `up` started, if it still runs.
    pub(crate) fn running(&self, name: &str) -> Result<Option<Noted>> {
        note::running(name, &self.note_file(name), &self.log(name))
    }

    /// Forgets that a process ran.
    pub(crate) fn forget(&self, name: &str) -> Result<()> {
        remove(&self.note_file(name))
    }

    /// Removes everything but the tools.
    pub(crate) fn forget_everything(&self) -> Result<()> {
        ["data", "log", "run", "prometheus", "env", "reader.cnf"].iter().try_for_each(|it| remove(&self.path(it)))
    }

    fn note_file(&self, name: &str) -> PathBuf {
        self.root.join("run").join(name)
    }
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match removed {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e).with_context(|| format!("removing {}", path.display())),
        _ => Ok(()),
    }
}
