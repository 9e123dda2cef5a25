//! A cache on an empty database of the shared Redis (or on a Redis of the test's own), and a second, plain connection
//! that looks at what stands there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cache::{
    Cache, Cached, ConnectError, Connector, Content, Logged, Looked, Reading, RedisSettings, SHARDS, Settled, Shard,
    State, Write, WriteQueue, Written,
};
use record::{RecordId, SchemaId, Version};
use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, ToRedisArgs};
use service::{Dependency, Health, Metrics, clock};
use stack::{Place, Redis, Tools, shared};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// As the services' defaults, at `url`.
pub(crate) fn settings(url: &str) -> RedisSettings {
    RedisSettings {
        redis_url: url.parse().expect("any text is a secret"),
        access: cache::RedisAccess::default(),
        redis_timeout_ms: Duration::from_millis(500),
        clock_skew_ms: Duration::from_millis(50),
        settled_ttl_s: Duration::from_secs(3600),
        fill_lease_ms: Duration::from_secs(5),
        idempotency_ttl_s: Duration::from_secs(86_400),
        outbox_most: 1_000_000,
        unsettled_most: 4_000_000,
    }
}

/// A database of the shared Redis that no other test uses.
pub(crate) fn empty_database() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    shared::redis().url(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A Redis that only this test hurts.
pub(crate) fn own_redis() -> Redis {
    Redis::start(&Tools::find(), &Place::attached(shared::scratch("redis"))).expect("a Redis of the test's own")
}

/// In the background; the test's runtime ends it.
#[expect(clippy::disallowed_methods, reason = "whatever fails in it, the test sees")]
pub(crate) fn go<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(future)
}

/// A dependency that nobody scrapes.
pub(crate) fn dependency() -> Dependency {
    Health::new(&Metrics::new(), &["redis"], &[]).dependency("redis").expect("it was just named")
}

/// Waits for what must come, and says what did not.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut come: impl FnMut() -> F) {
    let since = Instant::now();
    while !come().await {
        assert!(since.elapsed() < Duration::from_secs(20), "within 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A cache that has met its Redis, and a look behind it.
pub(crate) struct Fixture {
    pub(crate) cache: Cache,
    pub(crate) connector: Connector,
    pub(crate) redis: Dependency,
    pub(crate) settings: RedisSettings,
    pub(crate) running: JoinHandle<Result<(), ConnectError>>,
    readings: Arc<Mutex<Vec<Reading>>>,
    behind: MultiplexedConnection,
    stopping: CancellationToken,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

/// On an empty database of the shared Redis that is known to be new.
pub(crate) async fn fresh() -> Fixture {
    complete(fixture(settings(&empty_database())).await).await
}

/// On an empty database of the shared Redis, with other settings.
pub(crate) async fn fresh_with(change: impl FnOnce(&mut RedisSettings)) -> Fixture {
    let mut settings = settings(&empty_database());
    change(&mut settings);
    complete(fixture(settings).await).await
}

pub(crate) async fn fixture(settings: RedisSettings) -> Fixture {
    let readings = Arc::new(Mutex::new(Vec::new()));
    let observed = Arc::clone(&readings);
    let observer = Arc::new(move |reading| observed.lock().unwrap().push(reading));
    let connector = Connector::new(&settings, observer).expect("the address is one");
    let cache = Cache::new(connector.clone(), settings.clone(), "this");
    let (redis, stopping) = (dependency(), CancellationToken::new());
    let (runner, reported, until_told) = (connector.clone(), redis.clone(), stopping.clone());
    let running = go(async move { runner.run(&reported, &until_told).await });
    let behind = plain_connection(settings.redis_url.expose()).await;
    let fixture = Fixture { cache, connector, redis, settings, running, readings, behind, stopping };
    fixture.connected().await;
    fixture
}

/// Nothing was lost here: what R16 would find out in time.
pub(crate) async fn complete(fixture: Fixture) -> Fixture {
    fixture
        .ask::<()>(
            "DEL",
            &Shard::all().map(|shard| format!("wb:{{{:02}}}:incomplete", shard.number())).collect::<Vec<_>>(),
        )
        .await;
    fixture
}

pub(crate) async fn plain_connection(url: &str) -> MultiplexedConnection {
    redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.expect("Redis takes a connection")
}

impl Fixture {
    pub(crate) async fn connected(&self) {
        until("the cache is connected", || async { self.redis.is_up() && self.cache.depths().await.is_ok() }).await;
    }

    /// Another process on the same Redis.
    pub(crate) fn another(&self, instance: &str) -> Cache {
        Cache::new(self.connector.clone(), self.settings.clone(), instance)
    }

    /// Runs a plain command.
    pub(crate) async fn ask<T: FromRedisValue>(&self, name: &str, arguments: &[impl ToRedisArgs]) -> T {
        let mut behind = self.behind.clone();
        let mut command = redis::cmd(name);
        for argument in arguments {
            command.arg(argument);
        }
        command.query_async(&mut behind).await.unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// What stands in a record's key.
    pub(crate) async fn stands(&self, id: &str) -> BTreeMap<String, String> {
        self.ask("HGETALL", &[record_key(id)]).await
    }

    pub(crate) async fn last(&self, id: &str) -> u64 {
        let last: Option<u64> = self.ask("GET", &[key(id, "last")]).await;
        last.unwrap_or(0)
    }

    /// The scores in outbox and unsettled, as the text that Redis has of them.
    pub(crate) async fn indexes(&self, id: &str) -> (Option<String>, Option<String>) {
        let member = format!("users:{id}");
        (
            self.ask("ZSCORE", &[&key(id, "outbox"), &member]).await,
            self.ask("ZSCORE", &[&key(id, "unsettled"), &member]).await,
        )
    }

    /// The rest of its life in milliseconds; `None`: it has no end.
    pub(crate) async fn life(&self, key: &str) -> Option<i64> {
        let life: i64 = self.ask("PTTL", &[key]).await;
        assert_ne!(life, -2, "{key} is not there");
        (life >= 0).then_some(life)
    }

    pub(crate) async fn exists(&self, key: &str) -> bool {
        self.ask::<u8>("EXISTS", &[key]).await == 1
    }

    /// Everything that can be told of this database: a write that was refused leaves this as it was.
    pub(crate) async fn dump(&self) -> BTreeMap<String, String> {
        let keys: Vec<String> = self.ask("KEYS", &["*"]).await;
        let mut dump = BTreeMap::new();
        for key in keys {
            let bytes: Vec<u8> = self.ask("DUMP", &[&key]).await;
            let ends: i64 = self.ask("PEXPIRETIME", &[&key]).await;
            dump.insert(key, format!("{bytes:?} until {ends}"));
        }
        dump
    }

    /// What the last script call told of Redis' clock. Nothing else runs between its answer and this.
    pub(crate) fn last_reading(&self) -> Reading {
        *self.readings.lock().unwrap().last().expect("a script has answered")
    }

    pub(crate) async fn write(&self, write: Write) -> Written {
        self.write_seen(write, Version::ZERO).await
    }

    pub(crate) async fn write_seen(&self, write: Write, seen: Version) -> Written {
        let mut written = self.cache.write(&[write], seen).await.expect("the script answers");
        assert_eq!(written.len(), 1, "one answer for one write");
        written.remove(0).expect("a write of its own is answered")
    }

    /// A write that must be taken.
    pub(crate) async fn put(&self, id: &str) -> Version {
        new(self.write(put(id)).await)
    }

    /// The topic has acknowledged `version` of `id`, at partition 3 and offset 17.
    pub(crate) async fn acknowledge(&self, id: &str, version: Version) -> u64 {
        self.cache.logged(&[logged(id, version)]).await.expect("the script answers")
    }

    pub(crate) async fn settle(&self, id: &str, held: Version) -> u64 {
        self.settle_in(id, held, self.cache.epoch()).await
    }

    pub(crate) async fn settle_in(&self, id: &str, held: Version, epoch: u64) -> u64 {
        self.cache.settle(&[Settled { epoch, ..self.settled(id, held) }]).await.expect("the script answers")
    }

    /// Read back in the epoch of now.
    pub(crate) fn settled(&self, id: &str, held: Version) -> Settled {
        Settled { entity: "users".to_owned(), id: self::id(id), held, epoch: self.cache.epoch() }
    }

    pub(crate) async fn look(&self, id: &str) -> Looked {
        self.cache.look("users", &self::id(id)).await.expect("the script answers")
    }

    pub(crate) async fn hit(&self, id: &str) -> Cached {
        match self.look(id).await {
            Looked::Hit(cached) => cached,
            Looked::Miss(_) | Looked::Unleased(_) => panic!("{id} is not in the cache"),
        }
    }

    pub(crate) async fn state(&self, id: &str) -> State {
        self.hit(id).await.state
    }
}

/// A write to a Redis that has just changed, which is refused until T is over (R2), and is then taken.
pub(crate) async fn written_after_quiet(queue: &WriteQueue, id: &str) -> Version {
    assert_eq!(queue.write(put(id)).await.expect("it is answered"), Written::Quiet, "a version right after a change");
    loop {
        match queue.write(put(id)).await.expect("it is answered") {
            Written::Quiet => tokio::time::sleep(Duration::from_millis(5)).await,
            written => return new(written),
        }
    }
}

pub(crate) fn id(text: &str) -> RecordId {
    RecordId::parse(text).expect("an id")
}

pub(crate) fn version(number: u64) -> Version {
    Version::new(number).expect("below 2^53")
}

/// The next one.
pub(crate) fn above(version: Version) -> Version {
    self::version(version.get() + 16)
}

pub(crate) fn below(version: Version) -> Version {
    self::version(version.get() - 16)
}

pub(crate) fn json(text: &str) -> Content {
    Content::Json { text: text.to_owned(), schema: SchemaId::new(7) }
}

pub(crate) const ANN: &str = r#"{"name":"Ann"}"#;

/// Ann under this id, by a process whose clock is right.
pub(crate) fn put(id: &str) -> Write {
    Write {
        entity: "users".to_owned(),
        id: self::id(id),
        content: json(ANN),
        trace: None,
        mine: clock::now_micros(),
        precondition: None,
        nowhere: None,
        idempotency: None,
    }
}

pub(crate) fn delete(id: &str) -> Write {
    Write { content: Content::Tombstone, ..put(id) }
}

pub(crate) fn logged(id: &str, version: Version) -> Logged {
    Logged { entity: "users".to_owned(), id: self::id(id), version, partition: 3, offset: 17, at: 1_000_000, key: None }
}

pub(crate) fn new(written: Written) -> Version {
    match written {
        Written::New(version) => version,
        refused => panic!("a write was answered {refused:?}"),
    }
}

/// CRC-32 of `<entity>:<id>`, modulo 16: whoever reads our keys with another program counts like this.
pub(crate) fn shard(id: &str) -> u16 {
    let hash = crc32fast::hash(format!("users:{id}").as_bytes());
    u16::try_from(hash % u32::from(SHARDS)).unwrap()
}

/// The same as the type that the cache wants.
pub(crate) fn shard_of(id: &str) -> Shard {
    Shard::all().find(|found| found.number() == shard(id)).expect("one of all")
}

/// A key of the shard that `id` is in.
pub(crate) fn key(id: &str, rest: &str) -> String {
    format!("wb:{{{:02}}}:{rest}", shard(id))
}

pub(crate) fn record_key(id: &str) -> String {
    key(id, &format!("record:users:{id}"))
}

pub(crate) fn lease_key(id: &str) -> String {
    key(id, &format!("lease:users:{id}"))
}

/// This many ids of one shard.
pub(crate) fn neighbours(count: usize) -> Vec<String> {
    let ids = (0..).map(|n: u32| format!("n{n}"));
    ids.filter(|id| shard(id) == 3).take(count).collect()
}
