//! Looking at the cache from outside: for `persister verify` and `purge`. Only reads (`SCAN`, `HMGET`, `ZSCAN`, `ZSCORE`,
//! `ZRANGE`, `EXISTS`, `HGET`, `GET`, `INFO`, `TIME`), on a connection of its own that meets nobody (PROTOCOL R15): whoever only looks must
//! not be the one who raises the epoch of a Redis that has changed.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use record::{SchemaId, Version};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, FromRedisValue, InfoDict, Value};

use crate::answers::{Content, State};
use crate::keys::{SHARD_COUNT, SHARDS, Shard};
use crate::reply::AWAITED;
use crate::{CacheError, ConnectError, RedisSettings};

/// A look may take longer than a write's script.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Keys in one answer, roughly.
const PAGE: usize = 500;

/// What the cache has of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The record's id.
    pub id: String,
    /// The record itself; `None`: it is a member of the outbox or of the unsettled, and there is no record behind it.
    pub record: Option<FoundRecord>,
    /// It is a member of the outbox.
    pub in_outbox: bool,
    /// It is a member of the unsettled.
    pub in_unsettled: bool,
}

/// A record as it stands in Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRecord {
    /// Its version.
    pub version: Version,
    /// How far that has come.
    pub state: State,
    /// What it is; or why what stands there is no record.
    pub content: Result<Content, String>,
    /// It was marked persisted in another life of Redis, so that every reader takes it for absent (R15).
    pub stale: bool,
}

/// Where a scan stands. Begin with [`Scan::default`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Which of the key spaces: 0 is all keys, then outbox and unsettled of each shard.
    space: u16,
    cursor: u64,
}

/// What bounds a purge (R18).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heads {
    /// The oldest version in an outbox.
    pub outbox: Option<Version>,
    /// The oldest version among the unsettled.
    pub unsettled: Option<Version>,
    /// Why the cache cannot be believed now: a shard is incomplete, or Redis has changed and nobody has met it yet.
    pub doubts: Vec<String>,
}

/// A connection that only looks.
#[derive(Clone, Debug)]
pub struct Inspector {
    connection: MultiplexedConnection,
    epochs: BTreeMap<u16, String>,
}

impl Inspector {
    /// Connects, and looks whether the keys are laid out as this program knows them.
    ///
    /// # Errors
    /// [`CacheError`]; a Redis that was used with another number of shards, or by nobody, is one that cannot be read.
    pub async fn connect(settings: &RedisSettings) -> Result<Self, CacheError> {
        let client = settings.client().map_err(|faults| CacheError::Unexpected(faults.join("\n")))?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(1)))
            .set_response_timeout(Some(TIMEOUT));
        let mut connection =
            client.get_multiplexed_async_connection_with_config(&config).await.map_err(|_| CacheError::Away)?;
        let found: Option<u16> = redis::cmd("GET").arg(SHARD_COUNT).query_async(&mut connection).await?;
        match found {
            Some(SHARDS) => {}
            Some(found) => return Err(CacheError::Unexpected(ConnectError::Shards { found }.to_string())),
            None => return Err(CacheError::Unexpected("nothing: no service has met this Redis yet".to_owned())),
        }
        Ok(Self { connection, epochs: BTreeMap::new() })
    }

    /// Redis' clock, in microseconds since 1970.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn now(&mut self) -> Result<u64, CacheError> {
        let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(&mut self.connection).await?;
        Ok(seconds.saturating_mul(1_000_000).saturating_add(micros))
    }

    /// What bounds a purge. The outboxes are read before the unsettled: an entry that moves between the two is seen at least
    /// once. Whoever then looks at the topic sees what has left both.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn heads(&mut self) -> Result<Heads, CacheError> {
        let info: InfoDict = redis::cmd("INFO").query_async(&mut self.connection).await?;
        let server = ["run_id", "master_replid"].map(|name| info.get::<String>(name));
        let mut heads = Heads::default();
        for shard in Shard::all() {
            let mut known = redis::cmd("HMGET");
            known.arg(shard.epoch()).arg("run_id").arg("replid");
            let known: [Option<String>; 2] = known.query_async(&mut self.connection).await?;
            if known != server {
                heads
                    .doubts
                    .push(format!("shard {}: Redis has changed, and no service has met it yet", shard.number()));
            }
        }
        heads.outbox = self.oldest(Shard::outbox).await?;
        heads.unsettled = self.oldest(Shard::unsettled).await?;
        for shard in Shard::all() {
            let incomplete: bool =
                redis::cmd("EXISTS").arg(shard.incomplete()).query_async(&mut self.connection).await?;
            if incomplete {
                heads.doubts.push(format!("shard {}: the cache is incomplete after a loss", shard.number()));
            }
        }
        Ok(heads)
    }

    async fn oldest(&mut self, index: fn(Shard) -> &'static str) -> Result<Option<Version>, CacheError> {
        let mut oldest = None;
        for shard in Shard::all() {
            let mut head = redis::cmd("ZRANGE");
            head.arg(index(shard)).arg(0).arg(0).arg("WITHSCORES");
            let head: Vec<(String, String)> = head.query_async(&mut self.connection).await?;
            for (_, score) in head {
                let version = score.parse().map_err(|_| unexpected("a score"))?;
                oldest = Some(oldest.map_or(version, |known: Version| known.min(version)));
            }
        }
        Ok(oldest)
    }

    /// The next of everything that the cache has of an entity, and where to go on; what is there during the whole scan comes at
    /// least once.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn scan(&mut self, entity: &str, at: &Scan) -> Result<(Vec<Found>, Option<Scan>), CacheError> {
        let (keys, cursor) = self.keys(entity, at).await?;
        let found = self.found(entity, &keys, at.space > 0).await?;
        let next = match (cursor, at.space) {
            (0, last) if last == 2 * SHARDS => None,
            (0, space) => Some(Scan { space: space + 1, cursor: 0 }),
            (cursor, space) => Some(Scan { space, cursor }),
        };
        Ok((found, next))
    }

    /// Ids in the next part of the scan, and the cursor behind it.
    async fn keys(&mut self, entity: &str, at: &Scan) -> Result<(Vec<String>, u64), CacheError> {
        let member = format!("{entity}:");
        if at.space == 0 {
            let mut scan = redis::cmd("SCAN");
            scan.arg(at.cursor).arg("MATCH").arg(format!("wb:{{*}}:record:{member}*")).arg("COUNT").arg(PAGE);
            let (cursor, keys): (u64, Vec<String>) = scan.query_async(&mut self.connection).await?;
            let id = |key: &String| key.split_once(":record:")?.1.strip_prefix(&member).map(str::to_owned);
            return Ok((keys.iter().filter_map(id).collect(), cursor));
        }
        let index = Shard::all().flat_map(|shard| [shard.outbox(), shard.unsettled()]).nth(usize::from(at.space - 1));
        let mut scan = redis::cmd("ZSCAN");
        scan.arg(index.unwrap_or_default())
            .arg(at.cursor)
            .arg("MATCH")
            .arg(format!("{member}*"))
            .arg("COUNT")
            .arg(PAGE);
        let (cursor, members): (u64, Vec<(String, String)>) = scan.query_async(&mut self.connection).await?;
        let id = |(found, _): &(String, String)| found.strip_prefix(&member).map(str::to_owned);
        Ok((members.iter().filter_map(id).collect(), cursor))
    }

    /// What the cache has of these ids; nothing of those that it does not know.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn look(&mut self, entity: &str, ids: &[&str]) -> Result<HashMap<String, Found>, CacheError> {
        // The epoch may have risen since the last look.
        self.epochs.clear();
        let mut found = HashMap::new();
        for some in ids.chunks(PAGE) {
            let some: Vec<String> = some.iter().map(|id| (*id).to_owned()).collect();
            found.extend(self.found(entity, &some, false).await?.into_iter().map(|found| (found.id.clone(), found)));
        }
        Ok(found)
    }

    /// With `orphans` only members of an index that have no record behind them: the others come with their records.
    async fn found(&mut self, entity: &str, ids: &[String], orphans: bool) -> Result<Vec<Found>, CacheError> {
        let mut pipe = redis::pipe();
        for id in ids {
            let member = format!("{entity}:{id}");
            let shard = Shard::of(&member);
            // The indexes first, the record last: what is on its way through the states is then seen in the later one.
            pipe.cmd("ZSCORE").arg(shard.outbox()).arg(&member);
            pipe.cmd("ZSCORE").arg(shard.unsettled()).arg(&member);
            let fields = ["version", "state", "deleted", "schema", "payload", "epoch"];
            pipe.cmd("HMGET").arg(shard.record(&member)).arg(&fields);
        }
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let answers: Vec<Value> = pipe.query_async(&mut self.connection).await?;
        let mut answers = answers.into_iter();
        let mut all = Vec::with_capacity(ids.len());
        for id in ids {
            let mut next = || answers.next().ok_or_else(|| unexpected("a short answer"));
            let (outbox, unsettled, fields) =
                (parse::<Option<String>>(next()?)?, parse::<Option<String>>(next()?)?, next()?);
            let shard = Shard::of(&format!("{entity}:{id}"));
            let fields: [Option<String>; 6] = parse(fields)?;
            // R14: no record, and no member that has lost its own.
            if matches!(&fields, [_, Some(state), ..] if state == AWAITED) {
                continue;
            }
            let record = self.record(shard, fields).await?;
            let found =
                Found { id: id.clone(), record, in_outbox: outbox.is_some(), in_unsettled: unsettled.is_some() };
            let wanted = if orphans { found.record.is_none() } else { true };
            if wanted && (found.record.is_some() || found.in_outbox || found.in_unsettled) {
                all.push(found);
            }
        }
        Ok(all)
    }

    async fn record(&mut self, shard: Shard, fields: [Option<String>; 6]) -> Result<Option<FoundRecord>, CacheError> {
        let [Some(version), state, deleted, schema, payload, epoch] = fields else { return Ok(None) };
        let version = version.parse().map_err(|_| unexpected("a version"))?;
        let state = state.as_deref().and_then(State::parse).ok_or_else(|| unexpected("a state"))?;
        let content = match (deleted.as_deref(), schema.as_deref().map(str::parse)) {
            (Some("1"), _) => Ok(Content::Tombstone),
            (_, Some(Ok(schema))) => {
                Ok(Content::Json { text: payload.unwrap_or_default(), schema: SchemaId::new(schema) })
            }
            _ => Err("its schema is no number".to_owned()),
        };
        let stale = state == State::Persisted && epoch != self.epoch(shard).await?;
        Ok(Some(FoundRecord { version, state, content, stale }))
    }

    /// Read once a shard: one that rises meanwhile makes records look valid that are not any more, as to a reader who came just
    /// before.
    async fn epoch(&mut self, shard: Shard) -> Result<Option<String>, CacheError> {
        if let Some(known) = self.epochs.get(&shard.number()) {
            return Ok(Some(known.clone()));
        }
        let epoch: Option<String> =
            redis::cmd("HGET").arg(shard.epoch()).arg("n").query_async(&mut self.connection).await?;
        if let Some(epoch) = &epoch {
            self.epochs.insert(shard.number(), epoch.clone());
        }
        Ok(epoch)
    }
}

fn unexpected(what: &str) -> CacheError {
    CacheError::Unexpected(what.to_owned())
}

fn parse<T: FromRedisValue>(value: Value) -> Result<T, CacheError> {
    T::from_redis_value(value).map_err(|error| CacheError::Unexpected(error.to_string()))
}
