//! R15 and R16: the lives of a Redis. Whatever it lost, the first who meets it says so to all: another epoch, incomplete, and
//! quiet for T. Failovers are real: a second Redis replicates, is cut off, and is promoted.

use std::time::Duration;

use cache::{Connector, Looked, Settled, State, WriteQueue, Written};
use stack::Redis;

use crate::support::{
    Fixture, complete, empty_database, fixture, fresh, go, lease_key, new, own_redis, plain_connection, put,
    record_key, settings, until, version,
};

const SHARDS: [u16; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

fn epoch_key(shard: u16) -> String {
    format!("wb:{{{shard:02}}}:epoch")
}

fn incomplete_key(shard: u16) -> String {
    format!("wb:{{{shard:02}}}:incomplete")
}

impl Fixture {
    /// Meets Redis on the live connection, as whoever is told EPOCH does.
    async fn meets_again(&self) {
        let (before, look) = (self.cache.epoch(), || async { self.look("nobody").await });
        look().await;
        until("Redis was met again", || async { self.cache.epoch() != before }).await;
    }

    async fn epochs(&self) -> Vec<u64> {
        let mut epochs = Vec::new();
        for shard in SHARDS {
            epochs.push(self.ask::<Option<u64>>("HGET", &[epoch_key(shard), "n".to_owned()]).await.unwrap_or(0));
        }
        epochs
    }

    async fn incomplete(&self) -> usize {
        self.cache.doubts().await.expect("Redis answers").len()
    }
}

#[tokio::test]
async fn r15_a_flushed_redis_gets_an_epoch_that_was_never_used_and_is_incomplete_in_every_shard() {
    let cache = fresh().await;
    let mut before = vec![cache.cache.epoch()];
    for _ in 0..3 {
        cache.ask::<()>("FLUSHDB", &[] as &[&str]).await;
        cache.meets_again().await;
        let epoch = cache.cache.epoch();
        assert!(before.iter().all(|used| *used < epoch), "{epoch} after {before:?}");
        assert_eq!(cache.epochs().await, vec![epoch; 16], "one number, in every shard");
        assert_eq!(cache.incomplete().await, 16);
        before.push(epoch);
    }
}

/// The clock of the Redis that was wiped may have been ahead: the process remembers what it expected.
#[tokio::test]
async fn r15_an_epoch_ahead_of_the_clock_is_not_used_again_after_a_wipe() {
    let cache = fresh().await;
    let ahead = cache.cache.epoch() + 3_600_000_000;
    for shard in SHARDS {
        cache.ask::<()>("HSET", &[epoch_key(shard), "n".to_owned(), ahead.to_string()]).await;
    }
    cache.meets_again().await;
    assert_eq!(cache.cache.epoch(), ahead, "the same run_id, and all shards agree: somebody else raised it");
    cache.ask::<()>("FLUSHDB", &[] as &[&str]).await;
    cache.meets_again().await;
    assert!(cache.cache.epoch() > ahead);
}

#[tokio::test]
async fn r15_one_lost_epoch_key_or_a_half_raised_redis_begins_a_new_life_for_all() {
    let cache = fresh().await;
    let before = cache.cache.epoch();
    cache.ask::<()>("DEL", &[epoch_key(5)]).await;
    let neighbour = crate::support::neighbours(1).remove(0);
    // Whoever uses another shard notices nothing yet; the first who uses this one says it to all.
    assert!(matches!(cache.write(put(&neighbour)).await, Written::New(_)));
    let inside = (0..).map(|n| n.to_string()).find(|id| crate::support::shard(id) == 5).expect("some id");
    assert_eq!(cache.write(put(&inside)).await, Written::StaleEpoch);
    cache.look(&inside).await;
    until("a new life has begun", || async { cache.cache.epoch() > before }).await;
    assert_eq!(cache.epochs().await, vec![cache.cache.epoch(); 16]);
    assert_eq!(cache.incomplete().await, 16);

    let raised = cache.cache.epoch();
    for shard in 0..8 {
        cache.ask::<()>("HSET", &[epoch_key(shard), "n".to_owned(), (raised + 7).to_string()]).await;
    }
    let late = fixture(cache.settings.clone()).await;
    assert!(late.cache.epoch() > raised + 7, "shards that disagree are a Redis that nobody knows");
    assert_eq!(late.epochs().await, vec![late.cache.epoch(); 16]);
}

#[tokio::test]
async fn r15_processes_that_meet_one_changed_redis_at_once_agree_on_one_epoch() {
    let url = empty_database();
    let (one, two, three) = tokio::join!(fixture(settings(&url)), fixture(settings(&url)), fixture(settings(&url)));
    let epochs = [&one, &two, &three].map(|process| process.cache.epoch());
    assert_eq!(epochs, [epochs[0]; 3]);
    // None of them throws another out.
    new(one.write(put("1")).await);
    new(two.write(put("1")).await);
    new(three.write(put("1")).await);
}

/// Data kept, another process: reads go to MySQL for a while, and what is not settled is still there.
#[tokio::test]
async fn r15_a_plain_restart_empties_the_cache_logically_and_keeps_what_is_not_settled() {
    let redis = own_redis();
    let cache = complete(fixture(settings(&redis.url(0))).await).await;
    cache.ask::<()>("CONFIG", &["SET", "appendfsync", "always"]).await;
    let settled = cache.put("settled").await;
    cache.settle("settled", settled).await;
    let waiting = cache.put("waiting").await;
    let before = cache.cache.epoch();
    redis.kill().expect("redis dies");
    redis.restart().expect("redis starts again");
    until("the restart is noticed", || async { cache.cache.epoch() > before }).await;
    cache.connected().await;
    assert_eq!(cache.look("settled").await, Looked::Miss(None), "settled in an earlier life, and no lease in doubt");
    assert_eq!(cache.hit("waiting").await.version, waiting);
    assert_eq!(cache.incomplete().await, 16);
}

/// A replica that lacks the last writes, promoted.
struct Failover {
    old: Redis,
    new: Redis,
}

impl Failover {
    fn servers() -> Self {
        Self { old: own_redis(), new: own_redis() }
    }

    /// The new one has what the old one has at this moment, and nothing that comes after.
    async fn replicate_and_cut(&self) {
        let mut replica = plain_connection(&self.new.url(0)).await;
        let of = self.old.url(0);
        let port = of.rsplit(':').next().and_then(|rest| rest.split('/').next()).expect("a port").to_owned();
        let _: () = redis::cmd("REPLICAOF").arg("127.0.0.1").arg(&port).query_async(&mut replica).await.unwrap();
        let mut master = plain_connection(&self.old.url(0)).await;
        until("the replica has all of it", || {
            let (mut replica, mut master) = (replica.clone(), master.clone());
            async move {
                let info: redis::InfoDict =
                    redis::cmd("INFO").arg("replication").query_async(&mut replica).await.unwrap();
                // Before it has synchronised it tells an offset of its own past.
                let linked = info.get::<String>("master_link_status").is_some_and(|status| status == "up");
                let here: u64 = info.get("slave_repl_offset").unwrap_or(0);
                let info: redis::InfoDict =
                    redis::cmd("INFO").arg("replication").query_async(&mut master).await.unwrap();
                let there: u64 = info.get("master_repl_offset").unwrap_or(u64::MAX);
                linked && here >= there && here > 0
            }
        })
        .await;
        let _: () = redis::cmd("REPLICAOF").arg("NO").arg("ONE").query_async(&mut replica).await.unwrap();
        let _: () = redis::cmd("PING").query_async(&mut master).await.unwrap();
    }
}

/// A master that was made a replica and then a master again keeps its `run_id`, and may have lost what the other one lacked.
#[tokio::test]
async fn r15_a_redis_that_was_a_replica_in_between_begins_a_new_life_although_it_never_ended() {
    let servers = Failover::servers();
    let cache = complete(fixture(settings(&servers.old.url(0))).await).await;
    let (before, first) = (cache.cache.epoch(), cache.put("1").await);
    servers.replicate_and_cut().await;
    let second = cache.put("1").await;
    let back = Failover { old: servers.new, new: servers.old };
    back.replicate_and_cut().await;
    let after = fixture(cache.settings.clone()).await;
    assert_eq!(after.stands("1").await["version"], first.to_string(), "this test would show nothing");
    assert!(after.cache.epoch() > before, "{second} is gone, and nobody says so");
    assert_eq!(after.incomplete().await, 16);
}

/// `k19`, `k21`: v2 is persisted and settled, the failover forgets it, and the promoted replica has v1 with hours to live.
#[tokio::test]
async fn r15_what_was_settled_before_a_failover_does_not_count_as_current_after_it() {
    let servers = Failover::servers();
    let cache = complete(fixture(settings(&servers.old.url(0))).await).await;
    let first = cache.put("1").await;
    cache.settle("1", first).await;
    servers.replicate_and_cut().await;
    let second = cache.put("1").await;
    cache.settle("1", second).await;

    let after = fixture(settings(&servers.new.url(0))).await;
    assert_eq!(after.stands("1").await["version"], first.to_string(), "this test would show nothing");
    assert_eq!(after.look("1").await, Looked::Miss(None), "v1 is stale, and If-Match v1 would destroy v2");
    assert!(after.cache.epoch() > cache.cache.epoch());
    assert_eq!(after.incomplete().await, 16);
}

/// `k33`, `k33b`: A applies v1; B applies and settles v2; failover to v1, epoch raised; A's settle comes late.
#[tokio::test]
async fn r14_a_settle_of_an_older_epoch_is_not_believed() {
    let servers = Failover::servers();
    let cache = complete(fixture(settings(&servers.old.url(0))).await).await;
    let first = cache.put("1").await;
    let late = Settled { ..cache.settled("1", first) };
    servers.replicate_and_cut().await;
    let second = cache.put("1").await;
    cache.settle("1", second).await;

    let after = complete(fixture(settings(&servers.new.url(0))).await).await;
    assert_eq!(after.cache.settle(&[late]).await.unwrap(), 0, "v1 is marked current, although the row is v2");
    assert!(!after.exists(&record_key("1")).await, "the row answers for it");
    assert_eq!(after.indexes("1").await, (None, None));
    // In the epoch of now it is certain.
    let third = after.put("1").await;
    assert_eq!(after.settle("1", third).await, 1);
}

/// `d10`, `k20`: written around this Redis and settled while nobody could tell it.
#[tokio::test]
async fn r15_settles_that_were_given_up_raise_the_epoch_at_the_next_contact_and_leave_the_cache_complete() {
    let cache = fresh().await;
    let persisted = cache.put("1").await;
    cache.settle("1", persisted).await;
    let waiting = cache.put("2").await;
    let before = cache.cache.epoch();
    cache.cache.settles_missed();
    until("the epoch is raised", || async { cache.cache.epoch() > before }).await;
    assert!(matches!(cache.look("1").await, Looked::Miss(Some(_))), "it may be older than the row");
    assert_eq!(cache.hit("2").await.version, waiting);
    assert_eq!(cache.incomplete().await, 0, "nothing was lost: preconditions go on");
    assert!(!cache.cache.is_quiet(), "no clock has to catch up");
    let raised = cache.cache.epoch();
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(cache.cache.epoch(), raised, "once is enough");
}

#[tokio::test]
async fn r14_before_redis_was_met_the_epoch_is_one_that_is_never_current() {
    let connector = Connector::new(&settings("redis://127.0.0.1:1/0"), std::sync::Arc::new(|_| {})).unwrap();
    let stranger = cache::Cache::new(connector, settings("redis://127.0.0.1:1/0"), "that");
    let cache = fresh().await;
    let version = cache.put("1").await;
    assert_eq!(cache.settle_in("1", version, stranger.epoch()).await, 0);
    assert!(!cache.exists(&record_key("1")).await);
}

/// `k40`: clocks that differ by D give a lower version right after the change, to whoever comes, also to a process that starts.
#[tokio::test]
async fn r2_it_is_quiet_for_t_after_a_change_for_all_who_meet_it_and_not_for_who_meets_an_old_one() {
    let url = empty_database();
    let first = fixture(settings(&url)).await;
    let slow = |settings: &mut cache::RedisSettings| settings.redis_timeout_ms = Duration::from_secs(60);
    let mut long = settings(&url);
    slow(&mut long);
    // Its T is a minute, and the change a second ago: it has not raised this epoch, and must wait all the same.
    let connector = Connector::new(&long, std::sync::Arc::new(|_| {})).unwrap();
    let late = cache::Cache::new(connector.clone(), long, "late");
    let (redis, stopping) = (crate::support::dependency(), tokio_util::sync::CancellationToken::new());
    let (runs, stopped) = (redis.clone(), stopping.clone());
    go(async move { connector.run(&runs, &stopped).await });
    until("it is connected", || async { late.depths().await.is_ok() }).await;
    assert_eq!(late.epoch(), first.cache.epoch());
    assert!(late.is_quiet(), "it would issue a version at once");
    assert!(!redis.is_up(), "nobody is to be told that writes are taken");
    stopping.cancel();
    assert!(!first.cache.is_quiet(), "ready means that T is over");
    let third = fixture(settings(&url)).await;
    assert!(!third.cache.is_quiet());

    // On a live connection as well.
    let (queue, writer) = WriteQueue::new(first.cache.clone(), 10);
    go(writer.run());
    first.ask::<()>("FLUSHDB", &[] as &[&str]).await;
    assert_eq!(queue.write(put("1")).await.unwrap(), Written::StaleEpoch);
    assert!(first.cache.is_quiet());
    until("it is over", || async { !first.cache.is_quiet() }).await;
    third.meets_again().await;
    assert_eq!(third.cache.epoch(), first.cache.epoch());
}

/// R8: the cache lacks a write that was made around it. Every shard is declared incomplete before anything else is done.
#[tokio::test]
async fn r16_a_process_that_wrote_around_redis_declares_it_incomplete_before_it_uses_it() {
    let redis = own_redis();
    let cache = complete(fixture(settings(&redis.url(0))).await).await;
    let (before, persisted) = (cache.cache.epoch(), cache.put("1").await);
    cache.settle("1", persisted).await;
    // Cut off, not restarted: the same life.
    cache.ask::<()>("CONFIG", &["SET", "appendfsync", "always"]).await;
    redis.pause().expect("redis pauses");
    until("the pause is noticed", || async { !cache.redis.is_up() }).await;
    cache.cache.bypassed("users", &crate::support::id("1"));
    redis.resume().expect("redis goes on");
    until("a first call goes through", || async { cache.cache.depths().await.is_ok() }).await;
    let doubts = cache.cache.doubts().await.expect("Redis answers");
    let shards: Vec<_> = doubts.iter().map(|doubt| doubt.shard.number()).collect();
    assert_eq!(shards, [crate::support::shard("1")], "the very first call found incomplete what it lacks, and no more");
    assert_eq!(cache.cache.epoch(), before, "Redis has not changed");
    assert_eq!(cache.state("1").await, State::Persisted, "what is settled stays readable");

    // A write whose script got no answer goes around a connection that is there again by now.
    let cache = complete(cache).await;
    assert_eq!(cache.incomplete().await, 0);
    cache.cache.bypassed("users", &crate::support::id("1"));
    until("it is declared on the live connection", || async { cache.incomplete().await == 1 }).await;
}

/// A doubt that is set again while the sweep is about to end it begins anew.
#[tokio::test]
async fn r16_a_doubt_ends_by_compare_and_delete_and_only_when_nothing_from_before_waits() {
    let cache = fixture(settings(&empty_database())).await;
    let doubt = |id: &'static str| {
        let cache = &cache;
        async move {
            let doubts = cache.cache.doubts().await.unwrap();
            doubts.into_iter().find(|doubt| doubt.shard.number() == crate::support::shard(id)).expect("in doubt")
        }
    };
    let (outbox, after) = (cache.put("1").await, doubt("1").await);
    assert_eq!(after.last, outbox.get());
    assert!(!cache.cache.complete(&after).await.unwrap(), "an entry of the outbox waits");
    cache.acknowledge("1", outbox).await;
    assert!(!cache.cache.complete(&after).await.unwrap(), "an unsettled entry waits");
    // One that came later waits for nothing of before.
    let shard = crate::support::shard("1");
    let later = (2..).map(|n: u32| n.to_string()).find(|id| crate::support::shard(id) == shard).unwrap();
    cache.put(&later).await;
    cache.settle("1", outbox).await;
    assert!(!cache.exists(&record_key("1")).await, "a settle in doubt drops");
    let earlier = after.clone();
    cache.ask::<()>("SET", &[incomplete_key(shard), "set again".to_owned()]).await;
    assert!(!cache.cache.complete(&earlier).await.unwrap(), "it was set again since");
    assert!(
        cache.cache.complete(&doubt("1").await).await.is_ok_and(|done| !done),
        "the later one is from before by now"
    );
    cache.settle(&later, version(cache.last(&later).await)).await;
    assert!(cache.cache.complete(&doubt("1").await).await.unwrap());
    assert_eq!(cache.incomplete().await, 15);
}

/// `k35`: a lease from before the doubt is of another epoch; one in doubt is not given.
#[tokio::test]
async fn r16_a_lease_of_an_earlier_life_fills_nothing() {
    let cache = fresh().await;
    let Looked::Miss(Some(lease)) = cache.look("1").await else { panic!("a lease") };
    let text: String = cache.ask("GET", &[lease_key("1")]).await;
    cache.ask::<()>("FLUSHDB", &[] as &[&str]).await;
    // As a failover would bring it back.
    cache.ask::<()>("SET", &[lease_key("1"), text]).await;
    let entry = cache::Entry {
        entity: "users".to_owned(),
        id: crate::support::id("1"),
        version: version(16),
        content: crate::support::json(crate::support::ANN),
    };
    assert!(!cache.cache.fill(&lease, &entry).await.unwrap(), "nobody has met this Redis yet");
    cache.meets_again().await;
    assert_eq!(cache.look("1").await, Looked::Miss(None));
}

/// R11: what the sweep is told of an entry, and what becomes of it.
#[tokio::test]
async fn r11_an_unsettled_entry_tells_how_far_its_record_has_come() {
    let cache = fresh().await;
    let version = cache.put("1").await;
    cache.acknowledge("1", version).await;
    let shard = crate::support::shard_of("1");
    let page = cache.cache.unsettled(shard, 0, version.get(), 10).await.unwrap();
    let [entry] = page.entries.as_slice() else { panic!("one entry: {page:?}") };
    assert_eq!((entry.version, entry.state, entry.partition, entry.logged_at), (version, State::Logged, 3, 1_000_000));
    assert_eq!(cache.cache.unsettled(shard, 0, version.get() - 1, 10).await.unwrap().behind, None, "too young");
    let [record] = &cache.cache.behind(&page.entries).await.unwrap()[..] else { panic!("its record") };
    assert_eq!((record.version, &record.content), (version, &crate::support::json(crate::support::ANN)));

    let again = cache::Logged { offset: 90, partition: 4, at: 2_000_000, ..crate::support::logged("1", version) };
    assert_eq!(cache.cache.produced_again(std::slice::from_ref(&again)).await.unwrap(), 1);
    let told = cache.cache.unsettled(shard, 0, version.get(), 10).await.unwrap();
    assert_eq!((told.entries[0].partition, told.entries[0].logged_at), (4, 2_000_000));

    let newer = cache.put("1").await;
    assert_eq!(cache.cache.produced_again(&[again]).await.unwrap(), 0, "it has moved on");
    assert!(cache.cache.behind(&page.entries).await.unwrap().is_empty());
    assert!(cache.cache.unsettled(shard, 0, newer.get(), 10).await.unwrap().entries.is_empty(), "it is the relay's");
    cache.acknowledge("1", newer).await;
    cache.ask::<()>("DEL", &[record_key("1")]).await;
    assert!(cache.cache.unsettled(shard, 0, newer.get(), 10).await.unwrap().entries.is_empty());
    assert_eq!(cache.indexes("1").await.1, None, "nothing is behind it");
}

/// G4: under pressure Redis takes what is settled, and nothing else, however long it is pressed.
#[tokio::test]
async fn g4_a_redis_without_room_evicts_only_what_mysql_holds() {
    let redis = own_redis();
    let cache = complete(fixture(settings(&redis.url(0))).await).await;
    cache.ask::<()>("CONFIG", &["SET", "maxmemory", "6mb"]).await;
    let large = |id: &str| {
        let mut write = put(id);
        write.content = crate::support::json(&format!(r#"{{"name":"{}"}}"#, "x".repeat(8_000)));
        write
    };
    let (mut waiting, mut settled, mut full) = (Vec::new(), Vec::new(), false);
    for n in 0..4000 {
        let id = n.to_string();
        let version = match cache.write(large(&id)).await {
            Written::New(version) => version,
            Written::Full => {
                full = true;
                break;
            }
            refused => panic!("{refused:?}"),
        };
        match n % 3 {
            0 => {
                cache.settle(&id, version).await;
                settled.push(id);
            }
            1 => {
                cache.acknowledge(&id, version).await;
                waiting.push(id);
            }
            _ => waiting.push(id),
        }
    }
    assert!(full, "Redis was never out of memory: this shows nothing");
    let mut evicted = 0;
    for id in &settled {
        evicted += u32::from(!cache.exists(&record_key(id)).await);
    }
    assert!(evicted > 0, "nothing was evicted: this shows nothing");
    for id in &waiting {
        assert!(cache.exists(&record_key(id)).await, "record {id} is gone, and MySQL does not hold it");
    }
}

/// Only a Redis that was met can be settled, which is what makes room.
#[tokio::test]
async fn r15_a_redis_without_room_begins_a_new_life_too() {
    let redis = own_redis();
    let cache = complete(fixture(settings(&redis.url(0))).await).await;
    let waiting = cache.put("1").await;
    cache.ask::<()>("HSET", &[epoch_key(0), "run_id".to_owned(), "of another server".to_owned()]).await;
    cache.ask::<()>("CONFIG", &["SET", "maxmemory", "1"]).await;
    let late = fixture(settings(&redis.url(0))).await;
    assert!(late.cache.epoch() > cache.cache.epoch());
    assert_eq!(late.incomplete().await, 16);
    late.settle("1", waiting).await;
    assert_eq!(late.indexes("1").await, (None, None));
}
