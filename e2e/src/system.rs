//! One system: `migrate` has run, ingest and persister are up and ready.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use reqwest::{Client, Method, Response};
use serde_json::Value;
use sqlx::MySqlPool;
use stack::{Accounts, Database, Kafka, Kind, Lifetime, Place, Process, Redis, Spec, Tools, port, shared, workspace};

/// How long anything that happens by itself may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The setting that says where a process is to be stopped (`service::fail_points`).
pub const FAIL_POINTS: &str = "FAILPOINTS";

/// The servers that a system stands on. They live as long as the test binary.
#[derive(Clone, Copy, Debug)]
pub struct Servers {
    /// The broker.
    pub kafka: &'static Kafka,
    /// The cache.
    pub redis: &'static Redis,
    /// The database server.
    pub database: &'static Database,
}

impl Servers {
    /// Those of this test binary: for tests that break none of them.
    #[must_use]
    pub fn shared() -> Self {
        Self { kafka: shared::kafka(), redis: shared::redis(), database: shared::database() }
    }

    /// New ones that the caller may kill and pause.
    ///
    /// # Errors
    /// A server does not start.
    pub fn own() -> Result<Self> {
        let tools = Tools::find();
        let place = |name: &str| Place::attached(shared::scratch(name));
        Ok(Self {
            kafka: Box::leak(Box::new(Kafka::start(&tools, &place("kafka"), stack::KafkaOptions::default())?)),
            redis: Box::leak(Box::new(Redis::start(&tools, &place("redis"))?)),
            database: Box::leak(Box::new(Database::start(&tools, &place("database"), Kind::from_env()?)?)),
        })
    }
}

/// A running system.
#[derive(Debug)]
pub struct System {
    /// What it stands on.
    pub servers: Servers,
    /// Its accounts to its database.
    pub accounts: Accounts,
    /// Its Redis database.
    pub redis_url: String,
    /// What stands before an entity's name in its topics' names.
    pub topic_prefix: String,
    /// Its consumer group.
    pub group: String,
    /// Its schema folder: a copy that a test may change.
    pub schemas: PathBuf,
    /// `http://127.0.0.1:port` of ingest.
    pub ingest_url: String,
    /// `http://127.0.0.1:port` of ingest's admin server.
    pub ingest_admin_url: String,
    /// `http://127.0.0.1:port` of persister's admin server.
    pub persister_admin_url: String,
    /// The process; `None` until it is started.
    pub ingest: Option<Process>,
    /// The process; `None` until it is started.
    pub persister: Option<Process>,
    /// Settings on top of the usual ones, for every command.
    pub settings: Vec<(String, String)>,
    /// An HTTP client.
    pub client: Client,
    scratch: PathBuf,
    begun: bool,
}

/// Redis databases are numbered; 0 stays empty.
static NEXT: AtomicU32 = AtomicU32::new(1);

impl System {
    /// Prepares a system with the repository's schemas; nothing runs yet.
    ///
    /// # Errors
    /// The database cannot be made.
    pub fn prepare(servers: Servers) -> Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let scratch = shared::scratch("system");
        let schemas = scratch.join("schemas");
        stack::folder::copy(&workspace().join("schemas"), &schemas)?;
        let url = |port| format!("http://127.0.0.1:{port}");
        Ok(Self {
            servers,
            accounts: servers.database.create(&format!("system_{number}"))?,
            redis_url: servers.redis.url(number),
            topic_prefix: format!("s{number}."),
            group: format!("persister-{number}"),
            schemas,
            ingest_url: url(port::free()?),
            ingest_admin_url: url(port::free()?),
            persister_admin_url: url(port::free()?),
            ingest: None,
            persister: None,
            settings: Vec::new(),
            client: Client::builder().timeout(Duration::from_secs(15)).build()?,
            scratch,
            begun: false,
        })
    }

    /// A running system on the shared servers.
    ///
    /// # Errors
    /// Something does not start; the error ends with its log.
    pub async fn start() -> Result<Self> {
        Self::prepare(Servers::shared())?.up().await
    }

    /// Migrates, and starts both services.
    ///
    /// # Errors
    /// Something does not start; the error ends with its log.
    pub async fn up(mut self) -> Result<Self> {
        self.migrate()?;
        self.start_persister().await?;
        self.start_ingest().await?;
        Ok(self)
    }

    /// One more setting for every command started from now on.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a schema file, such as `orders/v1.avsc`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add_schema(&self, path: &str, text: &str) -> Result<()> {
        let file = self.schemas.join(path);
        std::fs::create_dir_all(file.parent().context("a schema file lies in a folder")?)?;
        Ok(std::fs::write(file, text)?)
    }

    /// Runs `persister migrate` to its end.
    ///
    /// # Errors
    /// It fails; the error ends with its log.
    pub fn migrate(&self) -> Result<()> {
        let process = Process::spawn(
            &self.spec("persister", "migrate", &self.accounts.migrate).arg("migrate"),
            Lifetime::Attached,
        )?;
        match process.wait(Duration::from_secs(60))? {
            stack::Ended::Yes(Some(status)) if status.success() => Ok(()),
            ended => bail!("migrate: {ended:?}\n{}", process.log_tail(30)),
        }
    }

    /// Starts ingest and waits until it is ready.
    ///
    /// # Errors
    /// It does not become ready; the error ends with its log.
    pub async fn start_ingest(&mut self) -> Result<()> {
        let process = Process::spawn(&self.ingest_spec(), Lifetime::Attached)?;
        self.ready(&process, &self.ingest_admin_url).await?;
        self.ingest = Some(process);
        if !std::mem::replace(&mut self.begun, true) {
            self.nothing_was_lost().await?;
        }
        Ok(())
    }

    /// Its Redis is new, which no process can tell from one that was emptied: what PROTOCOL R16 finds out within the grace is
    /// known here, and tests need not wait for it.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn nothing_was_lost(&self) -> Result<()> {
        let shards: Vec<_> = (0..16).map(|shard| format!("wb:{{{shard:02}}}:incomplete")).collect();
        self.redis(&["DEL"], &shards).await
    }

    /// Runs a plain command on this system's Redis.
    ///
    /// # Errors
    /// Redis is away, refuses, or answers something else.
    pub async fn redis<T: redis::FromRedisValue>(&self, command: &[&str], arguments: &[String]) -> Result<T> {
        let mut connection = redis::Client::open(&*self.redis_url)?.get_multiplexed_async_connection().await?;
        let (name, rest) = command.split_first().context("a command has a name")?;
        Ok(redis::cmd(name).arg(rest).arg(arguments).query_async(&mut connection).await?)
    }

    /// Starts persister and waits until it is ready.
    ///
    /// # Errors
    /// It does not become ready; the error ends with its log.
    pub async fn start_persister(&mut self) -> Result<()> {
        let process = Process::spawn(&self.persister_spec(&self.persister_admin_url), Lifetime::Attached)?;
        self.ready(&process, &self.persister_admin_url).await?;
        self.persister = Some(process);
        Ok(())
    }

    /// How ingest is started.
    #[must_use]
    pub fn ingest_spec(&self) -> Spec {
        self.spec("ingest", "ingest", &self.accounts.ingest)
            .env("LISTEN", self.ingest_url.trim_start_matches("http://"))
            .env("ADMIN_LISTEN", self.ingest_admin_url.trim_start_matches("http://"))
            .env("ROUTE_ALIAS", "write-behind:users")
    }

    /// How a persister with this admin address is started.
    #[must_use]
    pub fn persister_spec(&self, admin_url: &str) -> Spec {
        self.spec("persister", "persister", &self.accounts.persister)
            .arg("run")
            .env("ADMIN_LISTEN", admin_url.trim_start_matches("http://"))
    }

    /// A program of ours with the settings of this system; with [`FAIL_POINTS`] among them, the one that has any.
    #[must_use]
    pub fn spec(&self, program: &str, log: &str, database_url: &str) -> Spec {
        let stopped = self.settings.iter().any(|(name, _)| name == FAIL_POINTS);
        let program = if stopped { format!("{program}-with-fail-points") } else { program.to_owned() };
        let mut spec = Spec::new(log, binary(&program), self.scratch.join(format!("{log}.log")))
            .env("SCHEMAS_DIR", self.schemas.to_string_lossy())
            .env("REDIS_URL", &self.redis_url)
            .env("KAFKA_BROKERS", self.servers.kafka.brokers())
            .env("DATABASE_URL", database_url)
            .env("TOPIC_PREFIX", &self.topic_prefix)
            .env("CONSUMER_GROUP", &self.group)
            .env("ALLOW_SINGLE_BROKER", "true");
        for (name, value) in &self.settings {
            spec = spec.env(name, value);
        }
        spec
    }

    /// Waits until a process is ready with all its stores.
    ///
    /// # Errors
    /// It ends, or is not ready in time; the error ends with its log.
    pub async fn ready(&self, process: &Process, admin_url: &str) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until && process.is_running() {
            let answer = self.client.get(format!("{admin_url}/readyz")).send().await;
            if let Ok(answer) = answer
                && answer.text().await?.trim() == "ready"
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("{} is not ready\n{}", process.name(), process.log_tail(30))
    }

    /// Sends a request to ingest, with a JSON body if there is one.
    ///
    /// # Errors
    /// No answer.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Response> {
        let mut request = self.client.request(method, format!("{}{path}", self.ingest_url));
        if let Some(body) = body {
            request = request.json(body);
        }
        Ok(request.send().await?)
    }

    /// Writes a record and returns the answer's body; anything but 2xx is an error.
    ///
    /// # Errors
    /// No answer, or not 2xx.
    pub async fn put(&self, entity: &str, id: &str, body: &Value) -> Result<Value> {
        let answer = self.call(Method::PUT, &format!("/{entity}/{id}"), Some(body)).await?;
        let status = answer.status();
        let body: Value = answer.json().await?;
        anyhow::ensure!(status.is_success(), "{status}: {body}");
        Ok(body)
    }

    /// A pool with the account that may read everything.
    ///
    /// # Errors
    /// No connection.
    pub async fn table(&self) -> Result<MySqlPool> {
        Ok(Box::pin(MySqlPool::connect(&self.accounts.reader)).await?)
    }

    /// The text of a process' metrics.
    ///
    /// # Errors
    /// No answer.
    pub async fn metrics(&self, admin_url: &str) -> Result<String> {
        Ok(self.client.get(format!("{admin_url}/metrics")).send().await?.text().await?)
    }

    /// Waits until `condition` holds.
    ///
    /// # Errors
    /// It does not within [`PATIENCE`]; the error names it and ends with both logs.
    pub async fn eventually(&self, what: &str, mut condition: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if condition().await? {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let log = |process: &Option<Process>| process.as_ref().map(|process| process.log_tail(20)).unwrap_or_default();
        bail!("not in time: {what}\n--- ingest\n{}\n--- persister\n{}", log(&self.ingest), log(&self.persister))
    }
}

/// The value of the first series whose line starts with `series`.
#[must_use]
pub fn metric(text: &str, series: &str) -> Option<f64> {
    text.lines().find(|line| line.starts_with(series))?.rsplit_once(' ')?.1.parse().ok()
}

/// A program of this workspace, built in the same profile as whoever asks.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    // Tests lie one folder deeper than programs.
    let folders = own.ancestors().skip(1).take(2);
    folders.map(|folder| folder.join(name)).find(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(name))
}
