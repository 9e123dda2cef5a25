//! Looks at every port before anything starts, so that an occupied one never leaves half a stack.

use crate::settings::Settings;
use crate::state::State;
use anyhow::{Result, bail};
use std::time::Duration;

/// A port, and the setting that moves it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Whose port.
    pub(crate) name: &'static str,
    /// The environment variable.
    pub(crate) setting: &'static str,
    /// The port.
    pub(crate) port: u16,
}

/// Whether a wanted port can be had.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nobody listens.
    Free,
    /// Held by what an earlier `up` started.
    Ours,
    /// What an earlier `up` started runs on another port.
    Moved,
    /// Held by somebody else.
    Occupied,
}

/// Every port of the stack.
pub(crate) fn all(settings: &Settings) -> [Wanted; 8] {
    let wanted = |name, setting, port| Wanted { name, setting, port };
    [
        wanted("ingest", "INGEST_PORT", settings.ingest_port),
        wanted("ingest", "INGEST_ADMIN_PORT", settings.ingest_admin_port),
        wanted("persister", "PERSISTER_ADMIN_PORT", settings.persister_admin_port),
        wanted("prometheus", "PROMETHEUS_PORT", settings.prometheus_port),
        wanted("kafka", "KAFKA_PORT", settings.kafka_port),
        wanted("kafka", "KAFKA_CONTROLLER_PORT", settings.kafka_controller_port),
        wanted("redis", "REDIS_PORT", settings.redis_port),
        wanted("database", "DB_PORT", settings.db_port),
    ]
}

/// The ports of one process, as its note holds them: `INGEST_PORT=8080 INGEST_ADMIN_PORT=9101`.
pub(crate) fn about(settings: &Settings, name: &str) -> String {
    let own = all(settings).into_iter().filter(|wanted| wanted.name == name);
    own.map(|wanted| format!("{}={}", wanted.setting, wanted.port)).collect::<Vec<_>>().join(" ")
}

/// Whether this port can be had.
pub(crate) fn look(state: &State, wanted: Wanted) -> Result<Found> {
    let entry = format!("{}={}", wanted.setting, wanted.port);
    match state.running(wanted.name)? {
        Some(noted) if noted.about.split(' ').any(|word| word == entry) => Ok(Found::Ours),
        Some(_) => Ok(Found::Moved),
        None if stays_taken(wanted.port)? => Ok(Found::Occupied),
        None => Ok(Found::Free),
    }
}

/// A process that dies, ours perhaps, lets go of its ports a moment after it is gone from the list.
fn stays_taken(port: u16) -> Result<bool> {
    for _ in 0..20 {
        if !stack::port::is_taken(port)? {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(true)
}

/// An error that names every port which cannot be had, and the setting that moves it.
pub(crate) fn check(state: &State, settings: &Settings) -> Result<()> {
    let mut problems = Vec::new();
    let wanted = all(settings);
    for (i, it) in wanted.iter().enumerate() {
        if let Some(other) = wanted.iter().take(i).find(|other| other.port == it.port) {
            problems.push(format!("{} and {} are both {}", other.setting, it.setting, it.port));
        }
        if let Some(problem) = problem(*it, &look(state, *it)?) {
            problems.push(problem);
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    bail!("nothing was started:\n   {}", problems.join("\n   "))
}

/// What is wrong with a port in words, and what to do.
pub(crate) fn problem(wanted: Wanted, found: &Found) -> Option<String> {
    let Wanted { name, setting, port } = wanted;
    match found {
        Found::Free | Found::Ours => None,
        Found::Moved => Some(format!("{name} runs on another port than {setting}={port}: make down first")),
        Found::Occupied => Some(format!(
            "port {port} ({name}) is in use by another program: stop that, or choose another: {setting}=<port> make up"
        )),
    }
}
