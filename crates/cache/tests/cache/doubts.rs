//! R16: when the cache is incomplete, who says so, and when it is whole again.

use cache::{Looked, State};

use crate::support::{
    complete, empty_database, fixture, fresh, lease_key, own_redis, record_key, settings, until, version,
};

fn incomplete_key(shard: u16) -> String {
    format!("wb:{{{shard:02}}}:incomplete")
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
