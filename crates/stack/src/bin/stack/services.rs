//! Our own services under `make up`: what they are told, when they are started again, when they are ready.

use crate::progress::{already, step};
use crate::settings::Settings;
use crate::state::State;
use crate::{fresh, ports};
use anyhow::{Context, Result, bail, ensure};
use stack::{Accounts, Ended, Lifetime, Process, Spec};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a service may drain, and how long it may take until it is ready.
pub(crate) const DRAIN: Duration = Duration::from_secs(30);
const READY: Duration = Duration::from_secs(60);

/// One of our programs with everything it is told.
#[derive(Debug)]
pub(crate) struct Service {
    name: &'static str,
    program: PathBuf,
    args: &'static [&'static str],
    env: Vec<(String, String)>,
    admin_port: u16,
}

/// `persister migrate`, `persister run` and `ingest`, each with the account that is its own.
pub(crate) fn all(settings: &Settings, accounts: &Accounts) -> Result<[Service; 3]> {
    let folder = std::env::current_exe()?.parent().context("the folder of this program")?.to_owned();
    let schemas = settings.schemas().to_string_lossy().into_owned();
    let common = |database: &str| {
        vec![
            ("KAFKA_BROKERS".to_owned(), format!("127.0.0.1:{}", settings.kafka_port)),
            ("DATABASE_URL".to_owned(), database.to_owned()),
            ("SCHEMAS_DIR".to_owned(), schemas.clone()),
            ("ALLOW_SINGLE_BROKER".to_owned(), "true".to_owned()),
        ]
    };
    let redis = ("REDIS_URL".to_owned(), redis_url(settings));
    let listen = |key: &str, port: u16| (key.to_owned(), format!("127.0.0.1:{port}"));

    let mut migrate = common(&accounts.migrate);
    migrate.push(("TOPIC_PARTITIONS".to_owned(), "6".to_owned()));
    let mut persister = common(&accounts.persister);
    persister.extend([redis.clone(), listen("ADMIN_LISTEN", settings.persister_admin_port)]);
    let mut ingest = common(&accounts.ingest);
    ingest.extend([redis, listen("LISTEN", settings.ingest_port), listen("ADMIN_LISTEN", settings.ingest_admin_port)]);
    ingest.push(("ROUTE_ALIAS".to_owned(), "write-behind:users".to_owned()));

    let service = |name, program: &str, args, env, admin_port| {
        let program = folder.join(program);
        ensure!(program.exists(), "{} is not built: make up builds it", program.display());
        Ok(Service { name, program, args, env, admin_port })
    };
    Ok([
        service("migrate", "persister", &["migrate"], migrate, 0)?,
        service("persister", "persister", &["run"], persister, settings.persister_admin_port)?,
        service("ingest", "ingest", &[], ingest, settings.ingest_admin_port)?,
    ])
}

/// Where Redis is, for services and people.
pub(crate) fn redis_url(settings: &Settings) -> String {
    format!("redis://127.0.0.1:{}/0", settings.redis_port)
}

impl Service {
    /// Runs it to its end; an error holds the end of its log.
    pub(crate) fn finish(&self, state: &State) -> Result<()> {
        let process = Process::spawn(&self.spec(state.fresh_log(self.name)?), Lifetime::Attached)?;
        match process.wait(READY)? {
            Ended::Yes(Some(status)) if status.success() => Ok(()),
            Ended::Yes(_) => bail!("{} failed:\n{}", self.name, process.log_tail(30)),
            Ended::No => bail!("{} takes more than {READY:?}:\n{}", self.name, process.log_tail(30)),
        }
    }

    /// Starts it where it does not run. One that runs stays, unless its program, a schema or what it is told has
    /// changed since: then it drains and is started again.
    pub(crate) fn start(&self, state: &State, settings: &Settings, started: &mut Vec<&'static str>) -> Result<()> {
        let about = format!("{} settings={:016x}", ports::about(settings, self.name), self.told());
        if let Some(noted) = state.running(self.name)? {
            let schemas = settings.schemas();
            let same = noted.about == about;
            if same && !fresh::is_newer(&self.program, noted.since)? && !fresh::is_newer(&schemas, noted.since)? {
                already(self.name);
                return Ok(());
            }
            step(&format!("{} drains (something is new)", self.name), || noted.process.stop(DRAIN))?;
        }
        started.push(self.name);
        let spec = self.spec(state.fresh_log(self.name)?).noted(Some(state.note(self.name, about)));
        step(self.name, || Process::spawn(&spec, Lifetime::Detached).map(drop))
    }

    /// Waits until it says that it is ready.
    pub(crate) fn until_ready(&self, state: &State) -> Result<()> {
        let since = Instant::now();
        let mut said = String::from("nothing answers");
        while since.elapsed() < READY {
            if state.running(self.name)?.is_none() {
                bail!("{} has ended; the end of its log:\n{}", self.name, self.log_tail(state));
            }
            match stack::http::get(self.admin_port, "/readyz") {
                // `degraded` is 200 as well, but here every store has just been started: the first write is to be `logged`.
                Ok((200, body)) if body.trim() != "degraded" => return Ok(()),
                Ok((status, body)) => said = format!("{status} {}", body.trim()),
                Err(_) => {}
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let tail = self.log_tail(state);
        bail!("{} is not ready after {READY:?} ({said}); the end of its log:\n{tail}", self.name)
    }

    fn log_tail(&self, state: &State) -> String {
        stack::log_tail(&state.log(self.name), 30)
    }

    fn spec(&self, log: PathBuf) -> Spec {
        let spec = Spec::new(self.name, &self.program, log).args(self.args).dir(stack::workspace());
        self.env.iter().fold(spec, |spec, (key, value)| spec.env(key, value))
    }

    fn told(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.program, &self.args, &self.env).hash(&mut hasher);
        hasher.finish()
    }
}
