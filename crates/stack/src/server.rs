//! A process that serves: started, it is waited for until it answers its own protocol; restarted on its old data.
//!
//! Kafka, Redis, the database and Prometheus differ only in their settings and in the question that is asked.

use crate::note::Note;
use crate::port::Occupied;
use crate::{Lifetime, Process, Spec};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a server may take until it answers: many times what it takes on an idle machine.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// How often a starting server is asked.
const ASK: Duration = Duration::from_millis(10);

/// Where a server lives and how long.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its folder: settings and data. Started again in the same folder, it finds its data.
    pub dir: PathBuf,
    /// Its log; appended to.
    pub log: PathBuf,
    /// The port on loopback; any free one when none is named.
    pub port: Option<u16>,
    /// Whether it ends with this process.
    pub lifetime: Lifetime,
    /// Where its process is noted for a later run.
    pub note: Option<Note>,
}

impl Place {
    /// A folder, with the log inside, any free port, and an end together with this process.
    pub fn attached(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        Self { log: dir.join("log"), dir, port: None, lifetime: Lifetime::Attached, note: None }
    }

    /// The same place with this port.
    #[must_use]
    pub fn at(self, port: u16) -> Self {
        Self { port: Some(port), ..self }
    }
}

/// Asks a server in its own protocol; true when it serves.
pub(crate) type Probe = Box<dyn Fn() -> bool + Send + Sync>;

/// A running server.
pub struct Server {
    spec: Spec,
    port: u16,
    lifetime: Lifetime,
    probe: Probe,
    process: Mutex<Process>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("port", &self.port).field("process", &self.process).finish_non_exhaustive()
    }
}

impl Server {
    /// Starts it and waits until `probe` says that it serves on `port`.
    pub(crate) fn start(spec: Spec, port: u16, place: &Place, probe: Probe) -> Result<Self> {
        let (spec, lifetime) = (spec.noted(place.note.clone()), place.lifetime);
        let process = Process::spawn(&spec, lifetime)?;
        if let Err(e) = until_ready(&process, port, &probe) {
            process.kill()?; // a detached one would else go on, half started
            return Err(e);
        }
        Ok(Self { spec, port, lifetime, probe, process: Mutex::new(process) })
    }

    /// The port it listens on; a restart keeps it.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Asks it to end, kills it after `deadline`; the exit status of an own child.
    pub fn stop(&self, deadline: Duration) -> Result<Option<ExitStatus>> {
        self.process().stop(deadline)
    }

    /// `kill -9`, and waits for its end.
    pub fn kill(&self) -> Result<()> {
        self.process().kill().map(drop)
    }

    /// Starts it again on its data and its port, after [`Server::stop`], [`Server::kill`] or its own death; one that
    /// still runs is asked to end first.
    pub fn restart(&self) -> Result<()> {
        let mut process = self.process();
        if process.is_running() {
            process.stop(Duration::from_secs(30))?;
        }
        *process = Process::spawn(&self.spec, self.lifetime)?;
        until_ready(&process, self.port, &self.probe)
    }

    /// Freezes it: connections stay open and nothing answers.
    pub fn pause(&self) -> Result<()> {
        self.process().pause()
    }

    /// Lets a paused one go on.
    pub fn resume(&self) -> Result<()> {
        self.process().resume()
    }

    /// Whether its process has not ended.
    pub fn is_running(&self) -> bool {
        self.process().is_running()
    }

    /// Whether it answers now.
    pub fn is_ready(&self) -> bool {
        (self.probe)()
    }

    /// Its process id; another one after a restart.
    pub fn pid(&self) -> i32 {
        self.process().pid()
    }

    /// The last lines of its log since its last start.
    pub fn log_tail(&self, lines: usize) -> String {
        self.process().log_tail(lines)
    }

    /// Its process, for as long as the guard is held.
    pub fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn until_ready(process: &Process, port: u16, probe: &Probe) -> Result<()> {
    let since = Instant::now();
    while since.elapsed() < READY_WITHIN {
        if !process.is_running() {
            let tail = process.log_tail(30);
            if ["already in use", "Failed to bind"].iter().any(|sign| tail.contains(sign)) {
                return Err(Occupied { port }.into());
            }
            bail!("{} ended before it served; the end of {}:\n{tail}", process.name(), process.log().display());
        }
        if probe() {
            // An answer could come from somebody else on this port while ours is about to fail on it.
            if process.is_running() {
                return Ok(());
            }
            continue;
        }
        sleep(ASK);
    }
    let (name, log, tail) = (process.name(), process.log().display(), process.log_tail(30));
    bail!("{name} does not answer on port {port} after {READY_WITHIN:?}; the end of {log}:\n{tail}")
}

/// A folder that exists.
pub(crate) fn made(dir: &Path) -> Result<&Path> {
    use anyhow::Context;
    std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    Ok(dir)
}
