//! One round's system: both services as processes, each link of theirs through a proxy, and what the faults report.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sqlx::{AssertSqlSafe, Executor};
use stack::{Fsync, Lifetime, Process, Redis, Spec};

use super::client::Spoilt;
use super::evidence::Loss;
use super::ground::{Brokers, through};
use super::journal::{Journal, Micros, NAME_MOST};
use super::proxy::Proxy;
use super::schedule::Membership;
use crate::System;
use crate::system::FAIL_POINTS;

/// Which service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// HTTP to cache and topic.
    Ingest,
    /// Topic to table.
    Persister,
}

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Store {
    /// The cache.
    Redis,
    /// The topic.
    Kafka,
    /// The table.
    Database,
}

/// Timings in the order that the protocol demands, short enough to wait for.
const SETTINGS: [(&str, &str); 12] = [
    ("ANSWER_DEADLINE_MS", "1000"),
    ("PRODUCE_DEADLINE_MS", "1500"),
    ("RELAY_AFTER_MS", "2000"),
    ("SWEEP_AFTER_MS", "3000"),
    ("INCOMPLETE_GRACE_MS", "3000"),
    ("FILL_LEASE_MS", "2000"),
    ("SETTLED_TTL_S", "10"),
    ("SESSION_TIMEOUT_MS", "6000"),
    ("DRAIN_DEADLINE_MS", "3000"),
    ("POLL_INTERVAL_MOST_MS", "8000"),
    ("UNSTEADY_MOST_MS", "12000"),
    ("BRAKE_PROBE_MS", "500"),
];

/// A system that is about to be hurt.
#[derive(Debug)]
pub struct Stage {
    /// Names, accounts and settings. Its own process handles are not used.
    pub system: System,
    /// Kafka and the links to it.
    pub kafka: Arc<Brokers>,
    /// Redis' folder, where its disk can be filled.
    pub redis_dir: PathBuf,
    /// What Redis keeps on disk.
    pub fsync: Fsync,
    /// How the persisters are members of their group.
    pub members: Membership,
    /// The clock and the notes of the clients.
    pub journal: Arc<Journal>,
    /// How much of what they put is poison.
    pub spoilt: Arc<Spoilt>,
    redis_links: [Proxy; 2],
    database_links: [Proxy; 2],
    ingest: tokio::sync::Mutex<Option<Process>>,
    persister: tokio::sync::Mutex<Option<Process>>,
    losses: Mutex<Vec<Loss>>,
}

impl Stage {
    /// Migrates and starts both services; the table takes shorter names than ingest. `bug`: a seeded bug that the persister
    /// has, by its place.
    ///
    /// # Errors
    /// Something does not start; the error ends with its log.
    pub async fn set(
        mut system: System,
        kafka: Arc<Brokers>,
        (redis_dir, fsync): (PathBuf, Fsync),
        members: Membership,
        bug: Option<&str>,
    ) -> Result<Self> {
        for (name, value) in SETTINGS {
            system = system.with(name, value);
        }
        system = system.with("ALLOW_SINGLE_BROKER", if kafka.nodes.len() < 3 { "true" } else { "false" });
        system = system.with("GROUP_PROTOCOL", if members.by_broker { "consumer" } else { "classic" });
        system.migrate()?;
        let pool = Box::pin(sqlx::MySqlPool::connect(&system.accounts.root)).await?;
        pool.execute(AssertSqlSafe(format!("ALTER TABLE users MODIFY name VARCHAR({NAME_MOST})"))).await?;
        if let Some(bug) = bug {
            system = system.with(FAIL_POINTS, &format!("{bug}=return"));
        }
        let (redis, database) = (system.servers.redis.port(), system.servers.database.port());
        let stage = Self {
            redis_links: [Proxy::to(redis).await?, Proxy::to(redis).await?],
            database_links: [Proxy::to(database).await?, Proxy::to(database).await?],
            system,
            kafka,
            redis_dir,
            fsync,
            members,
            journal: Arc::default(),
            ingest: tokio::sync::Mutex::new(None),
            persister: tokio::sync::Mutex::new(None),
            losses: Mutex::default(),
            spoilt: Arc::default(),
        };
        stage.start(Service::Persister).await?;
        stage.start(Service::Ingest).await?;
        for service in [Service::Persister, Service::Ingest] {
            stage.ready(service).await?;
        }
        Ok(stage)
    }

    /// The Redis of this round.
    #[must_use]
    pub fn redis(&self) -> &'static Redis {
        self.system.servers.redis
    }

    /// The links of a service to a store: several to a Kafka of several nodes.
    #[must_use]
    pub fn links(&self, service: Service, store: Store) -> Vec<&Proxy> {
        let at = usize::from(service == Service::Persister);
        match (store, service) {
            (Store::Kafka, Service::Ingest) => self.kafka.from_ingest.iter().collect(),
            (Store::Kafka, Service::Persister) => self.kafka.from_persister.iter().collect(),
            (Store::Redis, _) => self.redis_links.get(at).into_iter().collect(),
            (Store::Database, _) => self.database_links.get(at).into_iter().collect(),
        }
    }

    /// The process of a service, for as long as the guard is held.
    pub async fn process(&self, service: Service) -> tokio::sync::MutexGuard<'_, Option<Process>> {
        match service {
            Service::Ingest => self.ingest.lock().await,
            Service::Persister => self.persister.lock().await,
        }
    }

    /// Starts a service unless it runs.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn start(&self, service: Service) -> Result<()> {
        let mut process = self.process(service).await;
        if !process.as_ref().is_some_and(Process::is_running) {
            *process = Some(Process::spawn(&self.spec(service), Lifetime::Attached)?);
        }
        Ok(())
    }

    /// How a service is started: as in production, each store behind its link.
    #[must_use]
    pub fn spec(&self, service: Service) -> Spec {
        match service {
            Service::Ingest => self.linked(self.system.ingest_spec(), service),
            Service::Persister => self.member(self.persister_at(&self.system.persister_admin_url), "first"),
        }
    }

    /// A persister beside the first one.
    ///
    /// # Errors
    /// No port.
    pub fn another_persister(&self) -> Result<Spec> {
        let url = format!("http://127.0.0.1:{}", stack::port::free()?);
        Ok(self.member(self.persister_at(&url), "second"))
    }

    fn member(&self, spec: Spec, name: &str) -> Spec {
        if self.members.named { spec.env("GROUP_INSTANCE_ID", name) } else { spec }
    }

    fn persister_at(&self, admin_url: &str) -> Spec {
        self.linked(self.system.persister_spec(admin_url), Service::Persister)
    }

    /// A persister with fail points that are set so, in the first one's place.
    #[must_use]
    pub fn persister_that_dies(&self, fail_points: &str) -> Spec {
        let (system, url) = (&self.system, &self.system.persister_admin_url);
        let spec = system.spec("persister-with-fail-points", "persister", &system.accounts.persister).arg("run");
        let spec = spec.env("ADMIN_LISTEN", url.trim_start_matches("http://")).env(FAIL_POINTS, fail_points);
        self.member(self.linked(spec, Service::Persister), "first")
    }

    fn linked(&self, spec: Spec, service: Service) -> Spec {
        let accounts = &self.system.accounts;
        let (account, kafka) = match service {
            Service::Ingest => (&accounts.ingest, &self.kafka.from_ingest),
            Service::Persister => (&accounts.persister, &self.kafka.from_persister),
        };
        let port = |store| self.links(service, store).first().map_or(0, |link| link.port());
        let behind = |url: &str, direct: u16, store| url.replace(&format!(":{direct}/"), &format!(":{}/", port(store)));
        let redis = behind(&self.system.redis_url, self.redis().port(), Store::Redis);
        let database = behind(account, self.system.servers.database.port(), Store::Database);
        spec.env("REDIS_URL", redis).env("KAFKA_BROKERS", through(kafka)).env("DATABASE_URL", database)
    }

    /// Waits until a service is ready with all its stores.
    ///
    /// # Errors
    /// It is not in time; the error ends with its log.
    pub async fn ready(&self, service: Service) -> Result<()> {
        let url = match service {
            Service::Ingest => &self.system.ingest_admin_url,
            Service::Persister => &self.system.persister_admin_url,
        };
        let process = self.process(service).await;
        self.system.ready(process.as_ref().context("it was started")?, url).await
    }

    /// Waits until a process has ended by itself.
    ///
    /// # Errors
    /// It has not in time.
    pub async fn ended(&self, process: &Process, within: Duration) -> Result<()> {
        let until = tokio::time::Instant::now() + within;
        while process.is_running() {
            if tokio::time::Instant::now() >= until {
                bail!("{} goes on\n{}", process.name(), process.log_tail(5));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Says that since `from` Redis has forgotten what was younger than `tail`, or all of it.
    pub fn lost(&self, from: Micros, tail: Option<Duration>) {
        let at = self.journal.now();
        self.losses().push(Loss { from, at, tail });
    }

    /// What was lost so far.
    pub fn losses(&self) -> MutexGuard<'_, Vec<Loss>> {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name of the topic.
    #[must_use]
    pub fn topic(&self) -> String {
        format!("{}users", self.system.topic_prefix)
    }

    /// The last lines that both services logged.
    pub async fn logs(&self, lines: usize) -> String {
        let mut text = String::new();
        for service in [Service::Ingest, Service::Persister] {
            let process = self.process(service).await;
            let told = process.as_ref().map(|process| process.log_tail(lines)).unwrap_or_default();
            text += &format!("--- {service:?}\n{told}\n");
        }
        text
    }
}
