//! Where a detached process is noted, so that a later `make up` or `make down` finds it again.
//!
//! Pid, start time and boot id: after a reboot, or when the pid has gone to somebody else, the note finds nothing and
//! nobody is signalled.

use crate::Process;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What a process is noted with.
#[derive(Debug, Clone)]
pub struct Note {
    /// The file.
    pub file: PathBuf,
    /// What the owner wants to know later: one line, for example its ports.
    pub about: String,
}

/// A noted process that still runs.
#[derive(Debug)]
pub struct Noted {
    /// The process.
    pub process: Process,
    /// What its owner noted about it.
    pub about: String,
    /// When it was started.
    pub since: SystemTime,
}

impl Note {
    /// Written right after the start: a `make up` that is interrupted later must leave no unknown process behind.
    pub(crate) fn write(&self, pid: i32, started_at: u64) -> Result<()> {
        let text = format!("{pid}\n{started_at}\n{}\n{}\n", boot()?, self.about);
        crate::private::write(&self.file, &text)
    }
}

/// The process noted in `file`; none when there is no note or the process has ended since.
pub fn running(name: &str, file: &Path, log: &Path) -> Result<Option<Noted>> {
    let Ok(text) = std::fs::read_to_string(file) else {
        return Ok(None);
    };
    let mut lines = text.lines();
    let mut next = || lines.next().with_context(|| format!("{} is not whole", file.display()));
    let (pid, started_at, booted, about) = (next()?.parse()?, next()?.parse()?, next()?, next()?.to_owned());
    if booted != boot()? {
        return Ok(None);
    }
    let since = std::fs::metadata(file)?.modified()?;
    Ok(Process::adopt(name, pid, started_at, log).map(|process| Noted { process, about, since }))
}

fn boot() -> Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}
