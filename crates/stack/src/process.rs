//! One child process: started, watched, signalled, ended.
//!
//! A process is known by pid *and* start time (ticks since boot, from `/proc`), so that a pid which the system has
//! given to somebody else is never signalled, also not by a later `make down` that only has them noted in a file.

use crate::{Spec, spawner};
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often an ending process is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// How long a child lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Killed when this process ends, even by SIGKILL, and when its [`Process`] is dropped.
    Attached,
    /// Goes on in a session of its own until somebody stops it.
    Detached,
}

/// A running (or ended) child.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: i32,
    born: u64,
    log: PathBuf,
    log_from: u64,
    lifetime: Lifetime,
    /// None when it was started by an earlier process and is only known by pid and start time.
    child: Option<Mutex<Child>>,
}

impl Process {
    /// Starts what `spec` says. Returns at once: whether it serves yet is for [`crate::Server`] to find out.
    pub fn spawn(spec: &Spec, lifetime: Lifetime) -> Result<Self> {
        let starting = || format!("starting {} ({})", spec.name, spec.program.display());
        // setpriv and setsid would report a missing program into the log only.
        if spec.program.is_absolute() && !spec.program.exists() {
            bail!("{}: no such program", starting());
        }
        let log = OpenOptions::new().create(true).append(true).open(&spec.log).with_context(starting)?;
        let log_from = log.metadata()?.len();
        let child = spawner::spawn(spec.command(lifetime, log)?).with_context(starting)?;
        let pid = i32::try_from(child.id()).with_context(starting)?;
        let (_, born) = look(&format!("/proc/{pid}")).with_context(starting)?; // there even when it has ended: nobody has reaped it
        let (name, log) = (spec.name.clone(), spec.log.clone());
        let process = Self { name, pid, born, log, log_from, lifetime, child: Some(Mutex::new(child)) };
        if let Some(Err(e)) = spec.note.as_ref().map(|note| note.write(pid, born)) {
            process.kill()?; // what is not noted, nobody would ever stop
            return Err(e);
        }
        Ok(process)
    }

    /// A process that an earlier run noted; none when it has ended since, whoever has its pid now.
    pub(crate) fn adopt(name: &str, pid: i32, started_at: u64, log: &Path) -> Option<Self> {
        let (name, log) = (name.to_owned(), log.to_owned());
        let it = Self { name, pid, born: started_at, log, log_from: 0, lifetime: Lifetime::Detached, child: None };
        it.is_running().then_some(it)
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether it has not ended yet (a stopped or paused one runs).
    pub fn is_running(&self) -> bool {
        match &self.child {
            Some(child) => matches!(lock(child).try_wait(), Ok(None)),
            None => lives(self.pid, self.born),
        }
    }

    /// Asks it to end, and kills it when it has not after `deadline`. The exit status is known for own children only.
    pub fn stop(&self, deadline: Duration) -> Result<Option<ExitStatus>> {
        self.signal(Signal::SIGTERM)?;
        self.signal(Signal::SIGCONT)?; // a paused one would not notice
        match self.wait(deadline)? {
            Ended::Yes(status) => Ok(status),
            Ended::No => self.kill(),
        }
    }

    /// Kills it and waits for its end.
    pub fn kill(&self) -> Result<Option<ExitStatus>> {
        self.signal(Signal::SIGKILL)?;
        match self.wait(Duration::from_secs(30))? {
            Ended::Yes(status) => Ok(status),
            Ended::No => bail!("{} (pid {}) outlives SIGKILL", self.name, self.pid),
        }
    }

    /// Freezes it (SIGSTOP): its connections stay open and nothing answers. Returns when its last thread stands still, which
    /// may be a moment after the signal.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)?;
        let since = Instant::now();
        while self.is_running() && !stands_still(self.pid) {
            if since.elapsed() > Duration::from_secs(10) {
                bail!("{} (pid {}) goes on in spite of SIGSTOP", self.name, self.pid);
            }
            sleep(LOOK);
        }
        Ok(())
    }

    /// Lets a paused one go on (SIGCONT).
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Any other signal; one for a process that has ended is not an error.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        // Held while signalling, so that nobody reaps the child and frees its pid in between.
        let _held = self.child.as_ref().map(lock);
        if lives(self.pid, self.born) {
            kill(Pid::from_raw(self.pid), signal).with_context(|| format!("{signal} to {}", self.name))?;
        }
        Ok(())
    }

    /// Waits for its end, at most until `deadline` is over.
    pub fn wait(&self, deadline: Duration) -> Result<Ended> {
        let since = Instant::now();
        loop {
            match &self.child {
                Some(child) => {
                    if let Some(status) = lock(child).try_wait()? {
                        return Ok(Ended::Yes(Some(status)));
                    }
                }
                None if !self.is_running() => return Ok(Ended::Yes(None)),
                None => {}
            }
            if since.elapsed() >= deadline {
                return Ok(Ended::No);
            }
            sleep(LOOK);
        }
    }

    /// The last `lines` lines that it logged since its start.
    pub fn log_tail(&self, lines: usize) -> String {
        tail_since(&self.log, self.log_from, lines)
    }

    /// Where it logs.
    pub fn log(&self) -> &Path {
        &self.log
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.lifetime == Lifetime::Attached && self.is_running() {
            // Nobody is left to tell; should it fail, the parent-death signal still comes.
            drop(self.kill());
        }
    }
}

/// What waiting for an end found.
#[derive(Debug)]
pub enum Ended {
    /// It has ended, with this status when it was a child of this process.
    Yes(Option<ExitStatus>),
    /// It still runs.
    No,
}

fn lock(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the process that was started at `born` has not ended; its zombie has, and so has a former owner of its pid.
fn lives(pid: i32, born: u64) -> bool {
    look(&format!("/proc/{pid}")).is_ok_and(|(state, since)| since == born && !matches!(state.as_str(), "Z" | "X"))
}

/// Whether every thread of a process is stopped.
fn stands_still(pid: i32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    let stopped = |folder: &Path| look(&folder.display().to_string()).is_ok_and(|(state, _)| state == "T");
    threads.flatten().all(|thread| stopped(&thread.path()))
}

/// State and start time (ticks since boot) of a process or thread, by its folder; an error when there is none.
fn look(folder: &str) -> Result<(String, u64)> {
    let stat = std::fs::read_to_string(format!("{folder}/stat"))?;
    // The second field is the program's name in brackets and may hold anything, brackets and blanks included.
    let (_, rest) = stat.rsplit_once(')').context("no name in /proc/<pid>/stat")?;
    let mut fields = rest.split_whitespace();
    let state = fields.next().context("no state in /proc/<pid>/stat")?.to_owned();
    let start = fields.nth(18).context("no start time in /proc/<pid>/stat")?;
    Ok((state, start.parse()?))
}

/// The last `lines` lines of a log file.
pub fn log_tail(log: &Path, lines: usize) -> String {
    tail_since(log, 0, lines)
}

fn tail_since(log: &Path, from: u64, lines: usize) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(from.max(size.saturating_sub(256 * 1024)).min(size)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Ok(text) => {
            let all: Vec<&str> = text.lines().collect();
            all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
        }
        Err(e) => format!("(no log {}: {e})", log.display()),
    }
}
