//! `persister run`: what the process is built of, in which order it starts, and in which it stops.
//!
//! Start: admin server, stores, and once a table is known to fit its topic, the group. Stop: readiness falls, the group
//! is left (which drains and commits), settles go out, tasks end, the admin server last.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use cache::{Cache, Connector};
use record::Catalog;
use service::{Dependency, Health, Metrics, Supervisor, admin, clock, process, schemas};
use table::{Database, EntityTable};
use tokio::sync::mpsc;
use topic::{LagMetrics, Publisher};

use super::fitting::Fitting;
use crate::intake::{Intake, Topics};
use crate::lane::Surroundings;
use crate::lanes::Lanes;
use crate::membership::Membership;
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
        self.consume(database, surroundings, up("kafka")?);
        Ok(publisher)
    }

    fn topics(&self) -> Vec<String> {
        self.catalog.iter().map(|entity| self.settings.kafka.topic(entity.name())).collect()
    }

    /// Joins the group once a table and its topic fit, for those that do; the others join as they do.
    fn consume(&self, database: Database, surroundings: Surroundings, brokers: Dependency) {
        let (settings, health) = (self.settings.clone(), Arc::clone(&self.health));
        let (catalog, consuming) = (Arc::clone(&self.catalog), self.consuming.clone());
        let (stopping, pulse) = (consuming.stopping(), consuming.pulse("intake"));
        let (fit, mut fitting) = mpsc::channel(1);
        let looked_at = Fitting::new(&settings.kafka, &catalog, database.clone());
        let told = stopping.clone();
        self.consuming.spawn("fitting", async move {
            let done = async { looked_at?.tell(&fit, &told).await }.await;
            match done {
                Ok(()) => told.cancelled().await,
                Err(error) => tracing::error!(%error, "tables and topics do not fit: {error:#}"),
            }
        });
        self.consuming.spawn("intake", async move {
            let topics = tokio::select! {
                topics = fitting.recv() => topics,
                () = stopping.cancelled() => None,
            };
            let Some(topics) = topics else { return stopping.cancelled().await };
            let table = |entity: &Arc<record::Entity>| EntityTable::new(database.clone(), Arc::clone(entity));
            let tables: HashMap<Arc<str>, _> =
                catalog.iter().map(|entity| (settings.kafka.topic(entity.name()).into(), table(entity))).collect();
            let lanes = Arc::new(Lanes::new(tables, surroundings, consuming, health, &settings));
            let RunSettings { kafka, member, commit_every_ms: commit_every, .. } = settings;
            let intake = Intake { commit_every, brokers, stopping, pulse };
            let membership = Membership { kafka, member, lanes, intake };
            let topics = Topics { fitting: topics, news: fitting };
            // A plain thread: polling must never wait for the async workers, nor they for it.
            match tokio::task::spawn_blocking(move || membership.keep(topics)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "no consumer: {error}"),
                Err(error) => tracing::error!(%error, "the intake died"),
            }
        });
    }
}
