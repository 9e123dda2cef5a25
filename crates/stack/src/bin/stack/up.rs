//! `stack up`: everything on this machine, ready to take a write.

use crate::progress::step;
use crate::services::{self, Service};
use crate::settings::Settings;
use crate::state::State;
use crate::{down, ports, servers};
use anyhow::{Context, Result};
use stack::{Accounts, private};
use std::time::Instant;

/// Starts what does not run, waits for all of it, says where it is. What this call started is stopped when it fails.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    let since = Instant::now();
    let state = State::open(settings.stack_dir.as_deref())?;
    settings.stack_db.check(&state.data("database"))?;
    ports::check(&state, settings)?;
    let mut started = Vec::new();
    match start(&state, settings, &mut started) {
        Ok(accounts) => {
            write_env(&state, settings, &accounts)?;
            greet(&state, settings, since);
            Ok(())
        }
        Err(e) => {
            for name in started.into_iter().rev() {
                // The first error is the one to tell.
                drop(down::stop(&state, name));
            }
            Err(e.context("make up failed; what it had started is stopped"))
        }
    }
}

fn start(state: &State, settings: &Settings, started: &mut Vec<&'static str>) -> Result<Accounts> {
    let accounts = servers::start(state, settings, started)?;
    let [migrate, persister, ingest] = services::all(settings, &accounts)?;
    step("migrate (topics and tables)", || migrate.finish(state))?;
    persister.start(state, settings, started)?;
    ingest.start(state, settings, started)?;
    servers::start_prometheus(state, settings, started)?;
    let both: [&Service; 2] = [&persister, &ingest];
    step("ready to take a write", || both.into_iter().try_for_each(|service| service.until_ready(state)))?;
    Ok(accounts)
}

/// The addresses for programs (`env`), and the reading account for the database client (`reader.cnf`).
fn write_env(state: &State, settings: &Settings, accounts: &Accounts) -> Result<()> {
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let lines = [
        ("INGEST_URL", url(settings.ingest_port)),
        ("INGEST_ADMIN_URL", url(settings.ingest_admin_port)),
        ("PERSISTER_ADMIN_URL", url(settings.persister_admin_port)),
        ("REDIS_URL", services::redis_url(settings)),
        ("KAFKA_BROKERS", format!("127.0.0.1:{}", settings.kafka_port)),
        ("DATABASE_URL", accounts.reader.clone()),
        ("PROMETHEUS_URL", url(settings.prometheus_port)),
    ];
    private::write(&state.path("env"), &lines.map(|(key, value)| format!("{key}={value}\n")).concat())?;
    private::write(&state.path("reader.cnf"), &client_settings(&accounts.reader).context("the reader's URL")?)
}

/// `mysql://user:password@host:port/name` as the client's settings, so that no password stands on a command line.
fn client_settings(url: &str) -> Option<String> {
    let (user, rest) = url.strip_prefix("mysql://")?.split_once(':')?;
    let (password, rest) = rest.split_once('@')?;
    let (address, name) = rest.split_once('/')?;
    let (host, port) = address.split_once(':')?;
    Some(format!(
        "[client]\nuser={user}\npassword={password}\nhost={host}\nport={port}\nprotocol=tcp\n[mysql]\ndatabase={name}\n"
    ))
}

fn greet(state: &State, settings: &Settings, since: Instant) {
    let Settings { ingest_port, ingest_admin_port, persister_admin_port, prometheus_port, .. } = settings;
    let at = |name: &str| {
        let path = state.path(name);
        // Short where it is read: in the workspace.
        path.strip_prefix(stack::workspace()).unwrap_or(&path).display().to_string()
    };
    println!(
        "
write-behind is up ({:.1} s).

   ingest       http://127.0.0.1:{ingest_port}   health and metrics: http://127.0.0.1:{ingest_admin_port}
   persister    http://127.0.0.1:{persister_admin_port}   (health and metrics)
   Prometheus   http://127.0.0.1:{prometheus_port}
   addresses    {}     logs: {}

Write a user:
   curl -s http://127.0.0.1:{ingest_port}/write-behind -H 'content-type: application/json' \\
        -d '{{\"name\":\"John Doe\",\"age\":30,\"occupation\":\"Engineer\"}}'
Find the row in the database:
   mariadb --defaults-file={} -e 'SELECT * FROM users_live'
Stop:
   make down     (make clean forgets the data too)",
        since.elapsed().as_secs_f32(),
        at("env"),
        at("log"),
        at("reader.cnf"),
    );
}
