//! The rules as methods: each calls one script on the current connection and types its answer. No retries here; who
//! calls knows whether a second try is harmless.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use record::{RecordId, Slot, Version};
use redis::{FromRedisValue, Value};
use service::clock;

use crate::answers::{
    Dead, Depths, Entry, Idempotency, Lease, Logged, Looked, PendingPage, Precondition, Settled, State, Write, Written,
};
use crate::call::Call;
use crate::connect::{Connector, Reading};
use crate::keys::{SHARDS, Shard, located, slots};
use crate::reply::{looked, page, stored, sum, version, written};
use crate::scripts::Scripts;
use crate::{CacheError, RedisSettings, keys, reply};

/// Most writes in one script call: each may take 16 microseconds of the shard's version space (PROTOCOL R1).
pub(crate) const MOST_WRITES: usize = 64;

/// Payload in one call or answer, which must be through well within T.
pub(crate) const MOST_BYTES: usize = 1 << 20;

/// Redis as the protocol sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cache {
    pub(crate) connector: Connector,
    settings: RedisSettings,
    pub(crate) scripts: Arc<Scripts>,
    instance: Arc<str>,
    tokens: Arc<AtomicU64>,
}

impl Cache {
    /// `instance` is a name that no other process has at the same time.
    #[must_use]
    pub fn new(connector: Connector, settings: RedisSettings, instance: &str) -> Self {
        Self {
            connector,
            settings,
            scripts: Arc::new(Scripts::new()),
            instance: instance.into(),
            tokens: Arc::default(),
        }
    }

    /// R5 for up to 64 writes; `seen` is the highest version the process knows of. The answers are as many as `writes`
    /// and in their order; each write is all or nothing by itself, and one that Redis refuses stops no other.
    ///
    /// # Errors
    /// [`CacheError`] for the whole batch; after [`CacheError::Unanswered`] the writes may have happened.
    pub async fn write(&self, writes: &[Write], seen: Version) -> Result<Vec<Result<Written, CacheError>>, CacheError> {
        let shards = u64::from(SHARDS);
        let members: Vec<_> = writes.iter().map(|write| located(&write.entity, &write.id)).collect();
        let mut call = Call::of(&self.scripts.write);
        let places = call.shards(members.iter().map(|(_, shard)| *shard));
        call.arg(self.connector.epoch())
            .arg(seen.get())
            .arg(clock::micros(self.settings.clock_skew_ms))
            .arg(clock::micros(self.settings.redis_timeout_ms))
            .arg(self.settings.outbox_most / shards)
            .arg(self.settings.unsettled_most / shards)
            .arg(millis(self.settings.idempotency_ttl_s));
        for (write, (member, shard)) in writes.iter().zip(&members) {
            call.key(shard.record(member)).key(shard.lease(member));
            if let Some(Idempotency { key, .. }) = &write.idempotency {
                call.key(shard.idempotency(member, key));
            }
            let (payload, deleted, schema) = stored(&write.content);
            call.arg(places.of(*shard)).arg(write.mine).arg(member).arg(payload).arg(deleted).arg(schema);
            call.arg(write.trace.as_deref().unwrap_or_default())
                .arg(write.precondition.map(wanted).unwrap_or_default());
            call.arg(write.nowhere.as_ref().map_or("", |lease| &lease.0));
            call.arg(write.idempotency.as_ref().map_or("", |idempotency| &idempotency.fingerprint));
        }
        let sent = clock::now_micros();
        let answer: Result<Vec<Value>, _> = self.call(&call).await;
        let answer = match answer {
            Err(CacheError::Refused { code, .. }) if code == "OOM" => return Ok(vec![Ok(Written::Full); writes.len()]),
            answer => answer?,
        };
        let received = clock::now_micros();
        let mut answers = answer.into_iter();
        let now = version(answers.next().unwrap_or(Value::Nil))?.get();
        self.connector.observe(Reading { sent, now, received });
        let answers: Vec<_> = answers.map(written).collect();
        if answers.len() == writes.len() {
            Ok(answers)
        } else {
            Err(CacheError::Unexpected(format!("{} answers to {} writes", answers.len(), writes.len())))
        }
    }

    /// R6: the topic has acknowledged these versions. Returns how many records still had that version.
    ///
    /// # Errors
    /// [`CacheError`]; to call again is harmless, and so is not to: the relay then sends a duplicate.
    pub async fn logged(&self, entries: &[Logged]) -> Result<u64, CacheError> {
        let members: Vec<_> = entries.iter().map(|entry| located(&entry.entity, &entry.id)).collect();
        let mut call = Call::of(&self.scripts.logged);
        let places = call.shards(members.iter().map(|(_, shard)| *shard));
        for (entry, (member, shard)) in entries.iter().zip(&members) {
            call.key(shard.record(member));
            if let Some(key) = &entry.key {
                call.key(shard.idempotency(member, key));
            }
            call.arg(places.of(*shard)).arg(member).arg(entry.version.get()).arg(entry.partition).arg(entry.offset);
            call.arg(entry.at).arg(u8::from(entry.key.is_some()));
        }
        self.call(&call).await.map(|done| done_of("logged", done))
    }

    /// R14: MySQL holds these versions. Returns how many records were marked persisted.
    ///
    /// # Errors
    /// [`CacheError`]; to call again is harmless and necessary.
    pub async fn settle(&self, entries: &[Settled]) -> Result<u64, CacheError> {
        let members: Vec<_> = entries.iter().map(|entry| located(&entry.entity, &entry.id)).collect();
        let mut call = Call::of(&self.scripts.settle);
        let places = call.shards(members.iter().map(|(_, shard)| *shard));
        call.arg(millis(self.settings.settled_ttl_s));
        for (entry, (member, shard)) in entries.iter().zip(&members) {
            call.key(shard.record(member)).key(shard.lease(member));
            call.arg(places.of(*shard)).arg(member).arg(entry.held.get()).arg(entry.epoch);
        }
        let (marked, refused, why, strange): (u64, u64, Option<String>, u64) = self.call(&call).await?;
        // One that was read in an earlier life of Redis says nothing of the present one.
        if strange > 0 && entries.iter().any(|entry| entry.epoch == self.epoch()) {
            self.connector.meet_again_soon();
        }
        Ok(done_of("settle", (marked, refused, why)))
    }

    /// R14, R15: the epoch that the process has met last, to be read *before* the rows that a settle tells of. 0, which is
    /// never current, before it has met any.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.connector.epoch()
    }

    /// R14: these versions are dead letters, acknowledged and noted. Returns how many records were dropped for it.
    ///
    /// # Errors
    /// [`CacheError`]; to call again is harmless and necessary.
    pub async fn dead(&self, entries: &[Dead]) -> Result<u64, CacheError> {
        let mut call = Call::of(&self.scripts.dead);
        for entry in entries {
            let (member, shard) = located(&entry.entity, &entry.id);
            call.key(shard.record(&member)).key(shard.lease(&member)).key(shard.outbox()).key(shard.unsettled());
            call.arg(member).arg(entry.version.get()).arg(u8::from(entry.in_vain));
        }
        self.call(&call).await.map(|done| done_of("dead", done))
    }

    /// R12: the record, or a lease to fill it.
    ///
    /// # Errors
    /// [`CacheError`]: the cache may have the record or not.
    pub async fn look(&self, entity: &str, id: &RecordId) -> Result<Looked, CacheError> {
        let (member, shard) = located(entity, id);
        let token = format!("{}-{}", self.instance, self.tokens.fetch_add(1, Ordering::Relaxed));
        let mut call = Call::of(&self.scripts.read);
        call.key(shard.record(&member)).key(shard.lease(&member)).key(shard.epoch()).key(shard.incomplete());
        call.arg(self.connector.epoch()).arg(&token).arg(millis(self.settings.fill_lease_ms));
        let answer: Vec<Value> = self.call(&call).await?;
        let (looked, met) = looked(answer)?;
        if !met {
            self.connector.meet_again_soon();
        }
        Ok(looked)
    }

    /// Waits until Redis is there (`true`) or known to be away (`false`): after a connection has broken, and before the first
    /// one, it is neither. Ends within the time that an attempt to connect may take.
    pub async fn is_there(&self) -> bool {
        self.connector.is_there().await
    }

    /// R12: puts a row into the cache if the lease still stands. Says whether it did.
    ///
    /// # Errors
    /// [`CacheError`]; the record is then simply not cached.
    pub async fn fill(&self, lease: &Lease, entry: &Entry) -> Result<bool, CacheError> {
        let (member, shard) = located(&entry.entity, &entry.id);
        let (payload, deleted, schema) = stored(&entry.content);
        let mut call = Call::of(&self.scripts.fill);
        call.key(shard.record(&member)).key(shard.lease(&member)).key(shard.last()).key(shard.epoch());
        call.key(shard.incomplete());
        call.arg(&lease.0).arg(entry.version.get()).arg(payload).arg(deleted).arg(schema);
        call.arg(millis(self.settings.settled_ttl_s));
        self.call(&call).await
    }

    /// R10: the oldest outbox entries of a shard, newer than `behind` and none newer than `until`, with the records behind
    /// them. A page holds `most` of them, and fewer where they are large.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn pending(&self, shard: Shard, behind: u64, until: u64, most: usize) -> Result<PendingPage, CacheError> {
        let mut call = Call::of(&self.scripts.relay);
        call.key(shard.outbox()).arg(behind).arg(until).arg(most).arg(MOST_BYTES).arg(shard.record_prefix());
        page(self.call(&call).await?)
    }

    /// R10: tells the other instances that this one relays the shard for a while; said again in time, for another while.
    /// `false`: another does already. A Redis without room grants every claim: it is advice, and the relay makes room.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn claim_relay(&self, shard: Shard, time: Duration) -> Result<bool, CacheError> {
        let (mut connection, number) = self.connector.connection()?;
        let key = shard.relay_claim();
        let mut claim = redis::cmd("SET");
        claim.arg(key).arg(&*self.instance).arg("NX").arg("GET").arg("PX").arg(millis(time));
        let holder: Result<Option<String>, _> = claim.query_async(&mut connection).await;
        match holder.map_err(|error| self.connector.failed(number, error)) {
            Ok(None) => Ok(true),
            Ok(Some(holder)) if holder == *self.instance => {
                // It may have run out since and be another's by now: two relays at once are harmless.
                let renewed: Result<(), _> =
                    redis::cmd("PEXPIRE").arg(key).arg(millis(time)).query_async(&mut connection).await;
                renewed.map(|()| true).map_err(|error| self.connector.failed(number, error))
            }
            Ok(Some(_)) => Ok(false),
            Err(CacheError::Refused { code, .. }) if code == "OOM" => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// How much waits, over all shards.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn depths(&self) -> Result<Depths, CacheError> {
        let mut pipe = redis::pipe();
        for key in Shard::all().flat_map(|shard| [shard.outbox(), shard.unsettled()]) {
            pipe.cmd("ZCARD").arg(key).cmd("ZRANGE").arg(key).arg(0).arg(0).arg("WITHSCORES");
        }
        sum(self.pipe(&pipe).await?)
    }

    /// How far the newest version of a record has come; `None` where it is not in the cache. Leaves nothing behind.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn state(&self, entity: &str, id: &RecordId) -> Result<Option<(Version, State)>, CacheError> {
        let (mut connection, number) = self.connector.connection()?;
        let (member, shard) = located(entity, id);
        let key = shard.record(&member);
        let mut ask = redis::cmd("HMGET");
        let answer: Result<[Value; 2], _> =
            ask.arg(&key).arg("version").arg("state").query_async(&mut connection).await;
        match answer.map_err(|error| self.connector.failed(number, error))? {
            [Value::Nil, _] => Ok(None),
            [number, state] => Ok(Some((version(number)?, reply::state(state)?))),
        }
    }

    /// R4: the slot that `identity` holds from now on for as long as `lease`, this one if it has to be `one`; `None`: it is, or all
    /// are others'. Said again in time, it is the same one for another while.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn claim_slot(
        &self,
        identity: &str,
        one: Option<Slot>,
        lease: Duration,
    ) -> Result<Option<Slot>, CacheError> {
        let mut call = Call::of(&self.scripts.slot);
        match one {
            Some(slot) => _ = call.key(keys::slot(slot.get())),
            None => slots().for_each(|slot| _ = call.key(slot)),
        }
        // Where to begin, so that many which start at once do not all look at the same slots first.
        call.arg(identity).arg(millis(lease)).arg(crc32fast::hash(identity.as_bytes()));
        let number: u8 = self.call(&call).await?;
        Ok(Slot::new(number).ok().map(|claimed| one.unwrap_or(claimed)))
    }

    /// R4: `identity` holds this slot from now on for as long as `lease`, whoever held it before.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn take_slot(&self, slot: Slot, identity: &str, lease: Duration) -> Result<(), CacheError> {
        let (mut connection, number) = self.connector.connection()?;
        let mut take = redis::cmd("SET");
        take.arg(keys::slot(slot.get())).arg(identity).arg("PX").arg(millis(lease));
        take.query_async(&mut connection).await.map_err(|error| self.connector.failed(number, error))
    }

    /// R4: gives a slot back, if `identity` still holds it.
    ///
    /// # Errors
    /// [`CacheError`]; the lease then ends by itself.
    pub async fn release_slot(&self, slot: Slot, identity: &str) -> Result<(), CacheError> {
        let mut call = Call::of(&self.scripts.release);
        call.key(keys::slot(slot.get())).arg(identity);
        self.call(&call).await
    }

    /// R8: to be said before a version of this record is issued without Redis; when the process reaches Redis again, it
    /// declares the record's shard incomplete first.
    pub fn bypassed(&self, entity: &str, id: &RecordId) {
        self.connector.bypassed(located(entity, id).1);
    }

    /// R15: settles were given up: at the next contact the epoch is raised, since a record may count as current that is not.
    pub fn settles_missed(&self) {
        self.connector.settles_missed();
    }

    /// R2: whether no version may be issued just now, neither by script nor without Redis, since Redis has changed less than
    /// T ago.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.connector.is_quiet()
    }

    pub(crate) async fn meet_again(&self) -> Result<(), CacheError> {
        self.connector.meet_again().await
    }

    pub(crate) async fn pipe<T: FromRedisValue>(&self, pipe: &redis::Pipeline) -> Result<T, CacheError> {
        let (mut connection, number) = self.connector.connection()?;
        pipe.query_async(&mut connection).await.map_err(|error| self.connector.failed(number, error))
    }

    pub(crate) async fn call<T: FromRedisValue>(&self, call: &Call<'_>) -> Result<T, CacheError> {
        let (mut connection, number) = self.connector.connection()?;
        call.on(&mut connection).await.map_err(|error| self.connector.failed(number, error))
    }
}

/// How many entries a script has changed. What it could not touch is no reason to call again: it never will.
pub(crate) fn done_of(script: &str, (done, refused, why): (u64, u64, Option<String>)) -> u64 {
    if refused > 0 {
        tracing::error!(script, refused, why, "{script}: Redis refused {refused} entries for good: {why:?}");
    }
    done
}

/// As the write script has it.
fn wanted(precondition: Precondition) -> String {
    match precondition {
        Precondition::Match(version) => version.to_string(),
        Precondition::NoneMatch => "none".to_owned(),
        Precondition::Unused => "unused".to_owned(),
        Precondition::Known => "known".to_owned(),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
