//! The one connection to Redis, and everything about losing and regaining it. We own the reconnecting because a
//! connection may only be used after the process has met the server behind it (PROTOCOL R15): its epoch, its number of
//! shards, its eviction policy. A probe each second tells whether Redis is there and what its clock says (R2).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, InfoDict, RedisError, ServerErrorKind};
use service::{Backoff, Dependency, Pulse, Supervisor, clock};
use tokio::sync::{Mutex, Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::call::Call;
use crate::keys::{SHARD_COUNT, SHARDS, Shard};
use crate::life::Life;
use crate::{CacheError, RedisSettings, scripts};

/// How often the clock of Redis is read when nothing else is said.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// Redis' clock, known to have been read between two readings of our own. All in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Our clock before the call.
    pub sent: u64,
    /// Redis' clock.
    pub now: u64,
    /// Our clock after the answer.
    pub received: u64,
}

/// Receives every reading of Redis' clock.
pub type Observer = Arc<dyn Fn(Reading) + Send + Sync>;

/// Why a process must not use this Redis at all. It stops, since no waiting mends it.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The settings describe no client; every fault is named.
    #[error("{}", .0.join("\n"))]
    Settings(Vec<String>),
    /// The key space was cut into another number of shards before.
    #[error("this Redis was used with {found} shards, this program has {SHARDS}: use another database of Redis")]
    Shards {
        /// What stands in Redis.
        found: u16,
    },
    /// Redis may evict writes that MySQL does not hold yet.
    #[error("maxmemory-policy is {0}: with it Redis drops unpersisted writes; set volatile-ttl or noeviction")]
    Evicts(String),
}

#[derive(Clone, Debug)]
struct Live {
    connection: MultiplexedConnection,
    number: u64,
}

/// Hands out the current connection and replaces it when it breaks. Cheap to clone.
#[derive(Clone)]
pub struct Connector {
    client: Client,
    timeout: Duration,
    observer: Observer,
    current: watch::Sender<Option<Live>>,
    /// Connecting has failed since there was a connection.
    gone: watch::Sender<bool>,
    broken: Arc<AtomicU64>,
    stranger: Arc<AtomicBool>,
    look_again: Arc<Notify>,
    life: Arc<Life>,
    meeting: Arc<Mutex<()>>,
    pulse: Arc<Pulse>,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("connected", &self.current.borrow().is_some()).finish_non_exhaustive()
    }
}

impl Connector {
    /// Makes the client; [`Connector::run`] connects.
    ///
    /// # Errors
    /// [`ConnectError::Settings`].
    pub fn new(settings: &RedisSettings, observer: Observer) -> Result<Self, ConnectError> {
        Ok(Self {
            client: settings.client().map_err(ConnectError::Settings)?,
            timeout: settings.redis_timeout_ms,
            observer,
            current: watch::Sender::new(None),
            gone: watch::Sender::new(false),
            broken: Arc::default(),
            stranger: Arc::default(),
            look_again: Arc::default(),
            life: Arc::default(),
            meeting: Arc::default(),
            pulse: Arc::new(Pulse::unwatched()),
        })
    }

    /// Runs [`Connector::run`] for the life of the process.
    pub fn supervise(self, redis: Dependency, supervisor: &Supervisor) {
        let stopping = supervisor.stopping();
        let this = Self { pulse: Arc::new(supervisor.pulse("redis")), ..self };
        supervisor.spawn("redis", async move {
            if let Err(error) = this.run(&redis, &stopping).await {
                tracing::error!(%error, "this Redis must not be used: {error}");
            }
        });
    }

    /// Keeps a connection up until `stopping`: connects, meets, probes, and starts over when it breaks.
    ///
    /// # Errors
    /// [`ConnectError`]: this Redis must not be used.
    pub async fn run(&self, redis: &Dependency, stopping: &CancellationToken) -> Result<(), ConnectError> {
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
        for number in 1.. {
            self.pulse.beat();
            match self.connect().await? {
                Ok(connection) => {
                    backoff.reset();
                    self.current.send_replace(Some(Live { connection: connection.clone(), number }));
                    self.gone.send_replace(false);
                    let used = self.probe_until_broken(connection, number, redis, stopping).await;
                    if used.is_ok() && stopping.is_cancelled() {
                        // It stays for those that have something to say before they end, too.
                        break;
                    }
                    self.current.send_replace(None);
                    used?;
                    redis.away("the connection broke");
                }
                Err(error) => {
                    redis.away(error);
                    self.gone.send_replace(true);
                }
            }
            if stopping.is_cancelled() {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next(rand::random())) => {}
                () = stopping.cancelled() => break,
            }
        }
        Ok(())
    }

    /// The connection in use.
    pub(crate) fn connection(&self) -> Result<(MultiplexedConnection, u64), CacheError> {
        self.current.borrow().as_ref().map(|live| (live.connection.clone(), live.number)).ok_or(CacheError::Away)
    }

    /// Waits until there is a connection, or connecting has failed.
    pub(crate) async fn is_there(&self) -> bool {
        let (mut current, mut gone) = (self.current.subscribe(), self.gone.subscribe());
        tokio::select! {
            biased;
            there = current.wait_for(Option::is_some) => there.is_ok(),
            _ = gone.wait_for(|gone| *gone) => false,
        }
    }

    /// Classifies a failed call on connection `number`. A connection that gave no answer, or leads to a replica, is
    /// replaced.
    pub(crate) fn failed(&self, number: u64, error: RedisError) -> CacheError {
        let error = CacheError::from(error);
        let replace = match &error {
            CacheError::Unanswered(_) => true,
            CacheError::Refused { code, .. } => code == "READONLY",
            _ => false,
        };
        if replace {
            // Nobody is to send on it any more, however long the loop takes to see it.
            self.current.send_if_modified(|live| live.take_if(|live| live.number == number).is_some());
            self.broken.fetch_max(number, Ordering::Relaxed);
            self.look_again.notify_one();
        }
        error
    }

    /// R15: a script met another epoch, but its caller need not wait until the server was met again.
    pub(crate) fn meet_again_soon(&self) {
        self.stranger.store(true, Ordering::Relaxed);
        self.look_again.notify_one();
    }

    /// R15: after a script was told that the epoch is another, checks the server behind the connection once more.
    pub(crate) async fn meet_again(&self) -> Result<(), CacheError> {
        let (mut connection, number) = self.connection()?;
        match self.meet(&mut connection).await {
            Ok(None) => Ok(()),
            // The connection loop finds the same and stops the process.
            Ok(Some(_)) => Err(self.failed(number, RedisError::from(std::io::Error::other("refused")))),
            Err(error) => Err(self.failed(number, error)),
        }
    }

    /// R8: this process issues a version without Redis. Said before it does: the cache lacks that write until it is settled,
    /// so that the next connection first of all declares this part of it incomplete (R16). A connection that is there already does
    /// so at once, between the calls of others: it waits for no lull.
    pub(crate) fn bypassed(&self, shard: Shard) {
        self.life.bypassed(shard);
        self.look_again.notify_one();
    }

    /// R15: settles were given up, so that a record may count as current that is not: at the next contact the epoch is raised.
    /// The next probe is soon enough, or a Redis that is slow to take settles would have its cache emptied with each.
    pub(crate) fn settles_missed(&self) {
        self.life.missed();
    }

    /// R15: the epoch that scripts are to expect; 0, which is never current, before Redis was met.
    pub(crate) fn epoch(&self) -> u64 {
        self.life.epoch()
    }

    /// R2: Redis has changed less than T ago, and nobody may issue a version yet, neither by script nor without it.
    pub(crate) fn is_quiet(&self) -> bool {
        self.life.quiet_for().is_some()
    }

    pub(crate) fn observe(&self, reading: Reading) {
        (self.observer)(reading);
    }

    async fn connect(&self) -> Result<Result<MultiplexedConnection, RedisError>, ConnectError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(1)))
            .set_response_timeout(Some(self.timeout));
        let mut connection = match self.client.get_multiplexed_async_connection_with_config(&config).await {
            Ok(connection) => connection,
            Err(error) => return Ok(Err(error)),
        };
        match self.meet(&mut connection).await {
            // R2: nor is it used before its clock was read, or the first writes would take a Redis that is there for away.
            Ok(None) => Ok(self.read_clock(&mut connection).await.map(|()| connection)),
            Ok(Some(refusal)) => Err(refusal),
            Err(error) => Ok(Err(error)),
        }
    }

    /// R15: before a connection is used. `Some` is a reason never to use this Redis.
    async fn meet(&self, connection: &mut MultiplexedConnection) -> Result<Option<ConnectError>, RedisError> {
        // One after the other, or an older meeting could say the last word on the epoch.
        let _turn = self.meeting.lock().await;
        let info: InfoDict = redis::cmd("INFO").query_async(connection).await?;
        if info.get::<String>("role").is_some_and(|role| role == "slave") {
            return Err((ErrorKind::Server(ServerErrorKind::ReadOnly), "it is a replica").into());
        }
        let policy = info.get::<String>("maxmemory_policy").unwrap_or_default();
        if policy.starts_with("allkeys") {
            return Ok(Some(ConnectError::Evicts(policy)));
        }
        // Only read where it stands already: a Redis without room takes no write, and must be met all the same, since
        // settling is what makes room.
        let found: Option<u16> = redis::cmd("GET").arg(SHARD_COUNT).query_async(connection).await?;
        match found {
            Some(SHARDS) => {}
            Some(found) => return Ok(Some(ConnectError::Shards { found })),
            None => {
                let () = redis::cmd("SET").arg(SHARD_COUNT).arg(SHARDS).arg("NX").query_async(connection).await?;
            }
        }
        let server = ["run_id", "master_replid"].map(|name| info.get::<String>(name).unwrap_or_default());
        self.enter(connection, server).await?;
        Ok(None)
    }

    /// Raises the epoch where it must be, declares what is owed, and takes in what is in force.
    async fn enter(&self, connection: &mut MultiplexedConnection, server: [String; 2]) -> Result<(), RedisError> {
        let owed = self.life.owed();
        let meet = scripts::meet();
        let mut call = Call::of(&meet);
        for key in Shard::all().map(Shard::epoch).chain(Shard::all().map(Shard::incomplete)) {
            call.key(key);
        }
        call.arg(&server).arg(self.life.epoch()).arg(u8::from(owed.raise()));
        for doubt in owed.doubts() {
            call.arg(u8::from(doubt));
        }
        let (epoch, changed_ago): (u64, u64) = call.on(connection).await?;
        self.life.met(epoch, Duration::from_micros(changed_ago), self.timeout);
        self.life.pay(owed);
        Ok(())
    }

    /// # Errors
    /// The server turned out to be one that must not be used.
    async fn probe_until_broken(
        &self,
        mut connection: MultiplexedConnection,
        number: u64,
        redis: &Dependency,
        stopping: &CancellationToken,
    ) -> Result<(), ConnectError> {
        while self.broken.load(Ordering::Relaxed) < number {
            self.pulse.beat();
            if let Err(error) = self.probe(&mut connection).await? {
                tracing::debug!(%error, "Redis did not answer the probe");
                break;
            }
            // Whoever waits for readiness wants to write.
            let quiet = self.life.quiet_for();
            if quiet.is_none() {
                redis.answers();
            }
            // A notification that is left over from an earlier connection costs one probe more, nothing else.
            tokio::select! {
                () = tokio::time::sleep(quiet.unwrap_or(PROBE_EVERY).min(PROBE_EVERY)) => {}
                () = self.look_again.notified() => {}
                () = stopping.cancelled() => break,
            }
        }
        Ok(())
    }

    async fn probe(&self, connection: &mut MultiplexedConnection) -> Result<Result<(), RedisError>, ConnectError> {
        if self.stranger.swap(false, Ordering::Relaxed) || self.life.owed().anything() {
            match self.meet(connection).await {
                Ok(None) => {}
                Ok(Some(refusal)) => return Err(refusal),
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(self.read_clock(connection).await)
    }

    async fn read_clock(&self, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
        let sent = clock::now_micros();
        let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(connection).await?;
        self.observe(Reading { sent, now: seconds * 1_000_000 + micros, received: clock::now_micros() });
        Ok(())
    }
}
