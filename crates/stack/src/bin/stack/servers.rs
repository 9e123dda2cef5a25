//! The servers of `make up`: started detached unless they run already, on the data they had.

use crate::progress::{already, step};
use crate::settings::Settings;
use crate::state::State;
use crate::{fresh, ports};
use anyhow::Result;
use stack::{Accounts, Admin, Database, Kafka, KafkaOptions, Lifetime, Place, Prometheus, Redis, Speed, Tools};
use std::time::Duration;

/// The database in which the entities' tables are.
const DATABASE: &str = "write_behind";

/// Starts Database, Redis and Kafka where they do not run, and notes in `started` which it was.
pub(crate) fn start(state: &State, settings: &Settings, started: &mut Vec<&'static str>) -> Result<Accounts> {
    let tools = Tools::find();
    let database = format!("database ({})", settings.stack_db);
    start_one(state, settings, started, ("database", &database), settings.db_port, |place| {
        Database::start(&tools, place, settings.stack_db).map(drop)
    })?;
    start_one(state, settings, started, ("redis", "redis"), settings.redis_port, |place| {
        Redis::start(&tools, place).map(drop)
    })?;
    let options =
        KafkaOptions { controller_port: Some(settings.kafka_controller_port), speed: Speed::Full, doors: Vec::new() };
    start_one(state, settings, started, ("kafka", "kafka"), settings.kafka_port, |place| {
        Kafka::start(&tools, place, options).map(drop)
    })?;
    Admin::of(&tools, &state.data("database"), settings.db_port)?.create(DATABASE)
}

/// Starts Prometheus with our configuration; started again when the configuration has changed since.
pub(crate) fn start_prometheus(state: &State, settings: &Settings, started: &mut Vec<&'static str>) -> Result<()> {
    let source = stack::workspace().join("grafana/prometheus");
    let folder = state.path("prometheus");
    if let Some(noted) = state.running("prometheus")?
        && fresh::is_newer(&source, noted.since)?
    {
        step("prometheus stops (new configuration)", || noted.process.stop(Duration::from_secs(30)))?;
    }
    stack::folder::copy(&source, &folder)?;
    for (job, port) in [("ingest", settings.ingest_admin_port), ("persister", settings.persister_admin_port)] {
        let targets = serde_json::json!([{ "targets": [format!("127.0.0.1:{port}")] }]);
        std::fs::create_dir_all(folder.join("targets"))?;
        std::fs::write(folder.join("targets").join(format!("{job}.json")), format!("{targets:#}\n"))?;
    }
    start_one(state, settings, started, ("prometheus", "prometheus"), settings.prometheus_port, |place| {
        Prometheus::start(&Tools::find(), place, &folder.join("prometheus.yml")).map(drop)
    })
}

fn start_one(
    state: &State,
    settings: &Settings,
    started: &mut Vec<&'static str>,
    (name, shown): (&'static str, &str),
    port: u16,
    start: impl FnOnce(&Place) -> Result<()>,
) -> Result<()> {
    if state.running(name)?.is_some() {
        already(shown);
        return Ok(());
    }
    let place = Place {
        dir: state.data(name),
        log: state.fresh_log(name)?,
        port: Some(port),
        lifetime: Lifetime::Detached,
        note: Some(state.note(name, ports::about(settings, name))),
    };
    started.push(name);
    step(shown, || start(&place))
}
