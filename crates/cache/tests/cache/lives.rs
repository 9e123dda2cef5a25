//! R15: the lives of a Redis. Whatever it lost, the first who meets it says so to all: another epoch, incomplete, and quiet for
//! T.

use std::time::Duration;

use cache::{Connector, Looked, Written};

use crate::support::{
    Fixture, complete, empty_database, fixture, fresh, new, own_redis, put, record_key, settings, until,
};

const SHARDS: [u16; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

pub(crate) fn epoch_key(shard: u16) -> String {
    format!("wb:{{{shard:02}}}:epoch")
}

impl Fixture {
    /// Meets Redis on the live connection, as whoever is told EPOCH does.
    pub(crate) async fn meets_again(&self) {
        let (before, look) = (self.cache.epoch(), || async { self.look("nobody").await });
        look().await;
        until("Redis was met again", || async { self.cache.epoch() != before }).await;
    }

    pub(crate) async fn epochs(&self) -> Vec<u64> {
        let mut epochs = Vec::new();
        for shard in SHARDS {
            epochs.push(self.ask::<Option<u64>>("HGET", &[epoch_key(shard), "n".to_owned()]).await.unwrap_or(0));
        }
        epochs
    }

    pub(crate) async fn incomplete(&self) -> usize {
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
