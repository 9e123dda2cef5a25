//! R15 and the connection: which Redis may be used, what is noticed when it goes, and that it comes back by itself.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use cache::{Cache, CacheError, ConnectError, Connector, Looked, Written};
use record::Version;
use service::FailureClass;
use tokio_util::sync::CancellationToken;

use crate::support::{
    dependency, empty_database, fixture, fresh, go, id, new, own_redis, plain_connection, put, record_key, settings,
    until,
};

/// What a process hears that must not use the Redis at `url`.
async fn refusal(url: &str) -> ConnectError {
    let connector = Connector::new(&settings(url), Arc::new(|_| {})).expect("the address is one");
    let (redis, stopping) = (dependency(), CancellationToken::new());
    let running = connector.run(&redis, &stopping);
    let ended = tokio::time::timeout(Duration::from_secs(20), running).await.expect("it is refused within 20 s");
    assert!(!redis.is_up(), "a Redis that must not be used is not there");
    ended.expect_err("it must not be used")
}

#[tokio::test]
async fn a_redis_that_evicts_unpersisted_records_is_refused() {
    let redis = own_redis();
    let mut plain = plain_connection(&redis.url(0)).await;
    for policy in ["allkeys-lru", "allkeys-lfu", "allkeys-random"] {
        let _: () = redis::cmd("CONFIG")
            .arg(&["SET", "maxmemory-policy", policy])
            .query_async(&mut plain)
            .await
            .expect("it is a policy");
        let refused = refusal(&redis.url(0)).await;
        assert!(matches!(&refused, ConnectError::Evicts(found) if found == policy), "{refused}");
        assert!(refused.to_string().contains("volatile-ttl"), "the remedy: {refused}");
    }
}

#[tokio::test]
async fn policies_that_only_take_what_expires_are_used() {
    let redis = own_redis();
    let cache = fixture(settings(&redis.url(0))).await;
    for policy in ["noeviction", "volatile-lru"] {
        cache.ask::<()>("CONFIG", &["SET", "maxmemory-policy", policy]).await;
        fixture(settings(&redis.url(1))).await.put("1").await;
    }
}

#[tokio::test]
async fn a_redis_that_was_cut_into_another_number_of_shards_is_refused() {
    let url = empty_database();
    let mut plain = plain_connection(&url).await;
    let _: () = redis::cmd("SET").arg(&["wb:shards", "32"]).query_async(&mut plain).await.unwrap();
    let refused = refusal(&url).await;
    assert!(matches!(refused, ConnectError::Shards { found: 32 }), "{refused}");
}

#[tokio::test]
async fn the_first_process_writes_down_epoch_and_number_of_shards() {
    let cache = fresh().await;
    assert_eq!(cache.ask::<u16>("GET", &["wb:shards"]).await, 16);
    let info: redis::InfoDict = cache.ask("INFO", &["server"]).await;
    for shard in 0..16 {
        let epoch: Vec<String> = cache.ask("HMGET", &[&format!("wb:{{{shard:02}}}:epoch"), "n", "run_id"]).await;
        assert_eq!(epoch, [cache.cache.epoch().to_string(), info.get("run_id").unwrap()]);
    }
}

#[tokio::test]
async fn a_process_that_never_reached_redis_is_told_at_once() {
    let connector = Connector::new(&settings("redis://127.0.0.1:1/0"), Arc::new(|_| {})).unwrap();
    let cache = Cache::new(connector, settings("redis://127.0.0.1:1/0"), "this");
    let told = cache.write(&[put("1")], Version::ZERO).await;
    assert!(matches!(told, Err(CacheError::Away)), "{told:?}");
    assert_eq!(CacheError::Away.class(), FailureClass::Transient);
    assert!(matches!(cache.look("users", &id("1")).await, Err(CacheError::Away)));
    assert!(matches!(cache.depths().await, Err(CacheError::Away)));
}

/// R2, R8: else the first writes would take a Redis that is there for away, and go past it.
#[tokio::test]
async fn r2_a_connection_is_used_only_once_the_clock_behind_it_was_read() {
    let settings = settings(&empty_database());
    let (cache, handed_out) = (Arc::new(OnceLock::<Cache>::new()), Arc::new(Mutex::new(Vec::new())));
    let (asked, told) = (Arc::clone(&cache), Arc::clone(&handed_out));
    let observer = move |_| {
        // Without a connection it says so at once.
        let mut depths = std::pin::pin!(asked.get().expect("it runs").depths());
        let polled = depths.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        told.lock().unwrap().push(!matches!(polled, std::task::Poll::Ready(Err(CacheError::Away))));
    };
    let connector = Connector::new(&settings, Arc::new(observer)).unwrap();
    cache.set(Cache::new(connector.clone(), settings, "this")).expect("it is set once");
    let (redis, stopping) = (dependency(), CancellationToken::new());
    go(async move { connector.run(&redis, &stopping).await });
    until("its clock is read twice", || async { handed_out.lock().unwrap().len() >= 2 }).await;
    assert_eq!(handed_out.lock().unwrap()[..2], [false, true], "handed out when its clock was read");
}

#[tokio::test]
async fn a_kill_of_redis_is_noticed_and_its_return_too() {
    let redis = own_redis();
    let cache = fixture(settings(&redis.url(0))).await;
    cache.ask::<()>("CONFIG", &["SET", "appendfsync", "always"]).await;
    let before = cache.put("1").await;
    redis.kill().expect("redis dies");
    until("the kill is noticed", || async { !cache.redis.is_up() }).await;
    let told = cache.cache.write(&[put("1")], Version::ZERO).await;
    assert!(matches!(told, Err(CacheError::Away | CacheError::Unanswered(_))), "{told:?}");
    redis.restart().expect("redis starts again");
    until("the return is noticed", || async { cache.redis.is_up() }).await;
    cache.connected().await;
    match cache.look("1").await {
        Looked::Hit(cached) => assert_eq!(cached.version, before, "what it had acknowledged"),
        Looked::Miss(_) | Looked::Unleased(_) => panic!("the record is lost"),
    }
    // The scripts are gone with the process; they are sent again.
    assert!(cache.put("1").await > before);
}

#[tokio::test]
async fn a_call_without_an_answer_in_time_is_unanswered_and_the_next_one_is_not_even_sent() {
    let redis = own_redis();
    let cache = fixture(settings(&redis.url(0))).await;
    cache.put("other").await;
    redis.pause().expect("redis pauses");
    let since = Instant::now();
    let told = cache.cache.write(&[put("1")], Version::ZERO).await;
    assert!(matches!(told, Err(CacheError::Unanswered(_))), "{told:?}");
    assert!((400..1500).contains(&since.elapsed().as_millis()), "T is 500 ms, it took {:?}", since.elapsed());
    let told = cache.cache.write(&[put("1")], Version::ZERO).await;
    assert!(matches!(told, Err(CacheError::Away)), "this connection leads to nobody: {told:?}");
    until("the pause is noticed", || async { !cache.redis.is_up() }).await;

    redis.resume().expect("redis goes on");
    cache.connected().await;
    assert!(!cache.exists(&record_key("1")).await, "a script ran although its handler had given up (R2)");
    cache.put("1").await;
}

/// A reader may ask the table alone only of a Redis that is known to be away; before it was met, and when a connection has just
/// broken, nobody knows.
#[tokio::test]
async fn r12_redis_is_known_to_be_away_only_once_connecting_has_failed() {
    let redis = own_redis();
    let connector = Connector::new(&settings(&redis.url(0)), Arc::new(|_| {})).expect("the address is one");
    let never_run = cache::Cache::new(connector, settings(&redis.url(0)), "that");
    let waited = tokio::time::timeout(Duration::from_millis(300), never_run.is_there()).await;
    assert!(waited.is_err(), "before anybody has tried: {waited:?}");

    let cache = fixture(settings(&redis.url(0))).await;
    assert!(cache.cache.is_there().await);
    redis.pause().expect("redis pauses");
    assert!(cache.cache.depths().await.is_err(), "it does not answer");
    assert!(!cache.cache.is_there().await, "a Redis that hangs takes connections, and is not met");
    redis.resume().expect("redis goes on");
    cache.connected().await;
    assert!(cache.cache.is_there().await);
    // As a network that stumbles: nothing was tried yet, and the next connection is found at once.
    cache.ask::<()>("CLIENT", &["KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    until("the break is noticed", || async { cache.cache.depths().await.is_err() }).await;
    assert!(cache.cache.is_there().await, "a Redis that is there was taken for one that is away");
}

#[tokio::test]
async fn a_redis_that_hangs_is_noticed_although_nobody_asks_it() {
    let redis = own_redis();
    let cache = fixture(settings(&redis.url(0))).await;
    redis.pause().expect("redis pauses");
    until("the probe was not answered", || async { !cache.redis.is_up() }).await;
    assert!(matches!(cache.cache.depths().await, Err(CacheError::Away)));
    redis.resume().expect("redis goes on");
    cache.connected().await;
}

/// After a failover the old connection may lead to what is a replica now.
#[tokio::test]
async fn a_replica_is_left_until_it_is_a_master_again() {
    let redis = own_redis();
    let cache = fixture(settings(&redis.url(0))).await;
    let before = cache.put("1").await;
    cache.ask::<()>("REPLICAOF", &["127.0.0.1", "1"]).await;
    let told = cache.cache.write(&[put("1"), put("2")], Version::ZERO).await.expect_err("a replica takes no writes");
    assert!(matches!(&told, CacheError::Refused { code, .. } if code == "READONLY"), "{told:?}");
    assert_eq!(told.class(), FailureClass::Transient);
    until("the replica was left", || async { !cache.redis.is_up() }).await;
    cache.ask::<()>("REPLICAOF", &["NO", "ONE"]).await;
    cache.connected().await;
    assert!(cache.put("1").await > before);
}

#[tokio::test]
async fn a_redis_that_becomes_one_to_be_refused_ends_the_process_when_it_is_met_again() {
    let redis = own_redis();
    let mut cache = fixture(settings(&redis.url(0))).await;
    cache.ask::<()>("CONFIG", &["SET", "maxmemory-policy", "allkeys-lru"]).await;
    assert!(matches!(cache.write(put("1")).await, Written::New(_)), "it is not looked at before each write");
    cache.ask::<()>("FLUSHALL", &[] as &[&str]).await;
    cache.look("1").await;
    let ended = tokio::time::timeout(Duration::from_secs(20), &mut cache.running).await.expect("it ends within 20 s");
    assert!(matches!(ended.unwrap(), Err(ConnectError::Evicts(_))));
    assert!(matches!(cache.cache.depths().await, Err(CacheError::Away)), "nobody uses it any more");
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_before_anything_starts() {
    let refused = Connector::new(&settings("http://127.0.0.1"), Arc::new(|_| {})).expect_err("no Redis speaks HTTP");
    assert!(refused.to_string().starts_with("--redis-url"), "{refused}");
}

/// Two processes that meet an empty Redis at once agree on it.
#[tokio::test]
async fn two_processes_share_one_redis() {
    let url = empty_database();
    let (one, two) = tokio::join!(fixture(settings(&url)), fixture(settings(&url)));
    let first = one.put("1").await;
    let second = new(two.write(put("1")).await);
    assert!(second > first);
    assert_eq!(one.hit("1").await.version, second);
}
