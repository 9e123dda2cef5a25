//! `persister run`: what the process is built of, in which order it starts, and in which it stops.
//!
//! Start: admin server, stores, and once the tables are known to fit the topics, the group. Stop: readiness falls, the group
//! is left (which drains and commits), settles go out, tasks end, the admin server last.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use cache::{Cache, Connector};
use record::Catalog;
use service::{Health, Metrics, Supervisor, admin, clock, process, schemas};
use table::{Database, EntityTable};
use tokio_util::sync::CancellationToken;
use topic::setup::Topics;
use topic::{Consumer, KafkaSettings, LagMetrics, Publisher};

use super::{fit_for_letters, same_partitions};
use crate::intake::{self, Lanes};
use crate::lane::Surroundings;
use crate::metrics::PersisterMetrics;
use crate::settings::RunSettings;
use crate::settle::{self, Settler};

/// Beside the lanes' own deadline to drain.
const LEAVE_BUDGET: Duration = Duration::from_secs(20);
const FLUSH_BUDGET: Duration = Duration::from_secs(5);
const SETTLE_BUDGET: Duration = Duration::from_secs(5);
const TASKS_BUDGET: Duration = Duration::from_secs(10);

/// How long a stop in order takes at most.
pub(crate) fn stop_budgets(drain_deadline: Duration) -> Duration {
    let budgets = [LEAVE_BUDGET, SETTLE_BUDGET, FLUSH_BUDGET, admin::STOP_BUDGET, TASKS_BUDGET, process::LINGER];
    drain_deadline.saturating_add(budgets.iter().sum())
}

pub(crate) async fn run(settings: RunSettings) -> anyhow::Result<()> {
    let catalog = Arc::new(schemas::load(&settings.process.schemas_dir)?);
    let metrics = Metrics::new();
    let health = Arc::new(Health::new(&metrics, &["redis", "kafka", "mysql"], &[]));
    let supervisor = Supervisor::new();
    let (consuming, settling) = (supervisor.phase(), supervisor.phase());
    let (admin, address) =
        admin::serve("persister", settings.admin.admin_listen, Arc::clone(&health), metrics.clone(), &supervisor)
            .with_context(|| format!("--admin-listen {}", settings.admin.admin_listen))?;
    tracing::info!(admin = %address, "persister starts");
    let leave_budget = settings.drain_deadline_ms + LEAVE_BUDGET;
    let stop_within = settings.stop_within_ms;
    supervisor.watch(settings.stall_after_ms, stop_within, &metrics)?;
    let persister = Persister { settings, catalog, health: Arc::clone(&health), supervisor, consuming, settling };
    let publisher = persister.start(&metrics)?;
    let Persister { supervisor, consuming, settling, .. } = persister;

    supervisor.until_to_stop(stop_within).await?;
    health.set_serving(false);
    consuming.stop();
    let drained = consuming.drained(leave_budget).await;
    // The last lane is gone, and with it the last settle: what is queued goes out before Redis is let go.
    if !settling.drained(SETTLE_BUDGET).await {
        settling.stop();
    }
    if let Err(error) = tokio::task::spawn_blocking(move || publisher.flush(FLUSH_BUDGET)).await? {
        tracing::warn!(%error, "a re-assert is still on its way; its batch is not committed and comes again");
    }
    supervisor.stop();
    admin.stop(true).await;
    anyhow::ensure!(drained && supervisor.drained(TASKS_BUDGET).await, "tasks did not end in time");
    anyhow::ensure!(!supervisor.failed(), "a task failed");
    tracing::info!("persister has stopped");
    Ok(())
}

/// What the process is made of. Three supervisors: consuming ends first, then settling, then what both need.
struct Persister {
    settings: RunSettings,
    catalog: Arc<Catalog>,
    health: Arc<Health>,
    supervisor: Supervisor,
    consuming: Supervisor,
    settling: Supervisor,
}

impl Persister {
    fn start(&self, metrics: &Metrics) -> anyhow::Result<Publisher> {
        let counted = PersisterMetrics::new(metrics, &self.catalog);
        let publisher = Publisher::with_room(&self.settings.kafka, topic::dead::ROOM)?;
        metrics.collector(publisher.replaced());
        let database = Database::new(&self.settings.database)?;
        // A persister issues no versions, so the clock of Redis does not matter to it.
        let connector = Connector::new(&self.settings.redis, Arc::new(|_| {}))?;
        let instance = format!("persister-{:016x}", rand::random::<u64>());
        let cache = Cache::new(connector.clone(), self.settings.redis.clone(), &instance);
        let (settler, queued) =
            Settler::new(self.settings.settles_most, cache.clone(), counted.settles_dropped.clone());
        let up = |name: &str| self.health.dependency(name).with_context(|| format!("{name} is no dependency"));
        connector.supervise(up("redis")?, &self.supervisor);
        database.clone().supervise(up("mysql")?, &self.supervisor);
        let (kafka, topics) = (self.settings.kafka.clone(), self.topics());
        topic::watch::supervise(kafka.clone(), topics.clone(), publisher.clone(), up("kafka")?, &self.supervisor);
        let lag = LagMetrics::new(&kafka, clock::now_micros);
        metrics.collector(lag.clone());
        topic::lag::supervise(kafka, topics, lag, &self.supervisor);
        let dropped = counted.settles_dropped.clone();
        let (stopping, pulse) = (self.settling.stopping(), self.settling.pulse("settle"));
        self.settling.spawn_passing("settle", settle::deliver(cache, queued, dropped, stopping, pulse));
        settler.show(metrics);
        publisher.show(metrics);
        database.show(metrics);
        let surroundings = Surroundings {
            publisher: publisher.clone(),
            settler,
            offsets: Arc::new(Mutex::default()),
            metrics: counted,
            batch_rows_most: self.settings.batch_rows_most,
            batch_bytes_most: self.settings.batch_bytes_most,
            future_most: self.settings.future_most_ms,
            unknown_schema_hold: self.settings.unknown_schema_hold_ms,
            probe_every: self.settings.brake.brake_probe_ms,
        };
        self.consume(database, surroundings);
        Ok(publisher)
    }

    fn topics(&self) -> Vec<String> {
        self.catalog.iter().map(|entity| self.settings.kafka.topic(entity.name())).collect()
    }

    /// Joins the group once tables and topics are known to fit.
    fn consume(&self, database: Database, surroundings: Surroundings) {
        let (settings, topics, health) = (self.settings.clone(), self.topics(), Arc::clone(&self.health));
        let (catalog, consuming) = (Arc::clone(&self.catalog), self.consuming.clone());
        let (stopping, pulse) = (consuming.stopping(), consuming.pulse("intake"));
        self.consuming.spawn("intake", async move {
            match fitting(&settings.kafka, &catalog, &database, &stopping).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return tracing::error!(%error, "tables and topics do not fit: {error:#}"),
            }
            let table = |entity: &Arc<record::Entity>| EntityTable::new(database.clone(), Arc::clone(entity));
            let tables: HashMap<Arc<str>, _> =
                catalog.iter().map(|entity| (settings.kafka.topic(entity.name()).into(), table(entity))).collect();
            let lanes = Lanes::new(tables, surroundings, consuming, health, &settings);
            let consumer = match Consumer::new(&settings.kafka, &settings.member, &topics, lanes) {
                Ok(consumer) => consumer,
                Err(error) => return tracing::error!(%error, "no consumer"),
            };
            let every = settings.commit_every_ms;
            // A plain thread: polling must never wait for the async workers, nor they for it.
            let polling = tokio::task::spawn_blocking(move || intake::poll(consumer, every, &stopping, &pulse));
            match polling.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(
                    %error,
                    "this process is no member of the group any more; has another one the same --group-instance-id? {error}"
                ),
                Err(error) => tracing::error!(%error, "the intake died"),
            }
        });
    }
}

/// Waits until the tables exist and were begun with the partitions that the topics have: with another number a delete and
/// the write before it may lie in different partitions. `false`: told to stop meanwhile.
async fn fitting(
    settings: &KafkaSettings,
    catalog: &Catalog,
    database: &Database,
    stopping: &CancellationToken,
) -> anyhow::Result<bool> {
    let topics = Topics::new(settings)?;
    for entity in catalog.iter() {
        loop {
            let topic = settings.topic(entity.name());
            let found = (topics.inspect(&topic).await, topics.inspect_dead(&topic).await);
            let begun = database.partitions(entity.name()).await;
            match (begun, database.is_emptied(entity.name()).await, found) {
                (Ok(Some(begun)), Ok(emptied), (Ok(Some(found)), Ok(Some(dead)))) => {
                    same_partitions(&topic, found.partitions, begun)?;
                    fit_for_letters(&topic, &dead, begun)?;
                    not_emptied(entity.name(), emptied)?;
                    break;
                }
                (begun, emptied, (found, dead)) => tracing::warn!(
                    entity = entity.name(),
                    table = ?begun.and_then(|begun| emptied.map(|_| begun)).map_err(|error| error.to_string()),
                    topic = ?found.map(|found| found.is_some()).map_err(|error| error.to_string()),
                    dead_letters = ?dead.map(|found| found.is_some()).map_err(|error| error.to_string()),
                    "waiting for table and topics of {}: is the database there, and was `persister migrate` run?",
                    entity.name()
                ),
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                () = stopping.cancelled() => return Ok(false),
            }
        }
    }
    Ok(true)
}

/// R18: what comes late to such a table would all be answered with tombstones, and the topic be emptied like the table.
fn not_emptied(name: &str, emptied: bool) -> anyhow::Result<()> {
    anyhow::ensure!(
        !emptied,
        "table {name} is empty, yet has a purge mark: restore it; or, to rebuild it from the topic, set `purged` of {name} in \
         _write_behind_entities to 0"
    );
    Ok(())
}
