//! R12: a miss leaves a lease, and only under it the row that was read may be put into the cache.

use std::time::{Duration, Instant};

use cache::{Cached, Content, Entry, Lease, Looked, State};
use record::Version;
use service::FailureClass;

use crate::support::{
    Fixture, below, complete, fixture, fresh, fresh_with, id, json, key, lease_key, own_redis, put, record_key,
    settings, until, version,
};

/// That of the row that was read.
fn row_version() -> Version {
    version(1_700_000_000_000_000)
}

fn row(version: Version) -> Entry {
    Entry { entity: "users".to_owned(), id: id("1"), version, content: json(r#"{"name":"Row"}"#) }
}

async fn leased(cache: &Fixture) -> Lease {
    match cache.look("1").await {
        Looked::Miss(Some(lease)) => lease,
        other => panic!("no lease: {other:?}"),
    }
}

async fn fill(cache: &Fixture, lease: &Lease) -> bool {
    cache.cache.fill(lease, &row(row_version())).await.expect("the script answers")
}

#[tokio::test]
async fn a_miss_leaves_a_lease_that_ends() {
    let cache = fresh().await;
    leased(&cache).await;
    let rest = cache.life(&lease_key("1")).await.expect("a lease ends");
    assert!((4000..=5000).contains(&rest), "{rest} ms");
}

#[tokio::test]
async fn a_fill_under_the_lease_is_a_persisted_record_with_a_ttl() {
    let cache = fresh().await;
    let lease = leased(&cache).await;
    assert!(fill(&cache, &lease).await);
    let filled = Cached { version: row_version(), state: State::Persisted, content: row(row_version()).content };
    assert_eq!(cache.hit("1").await, filled);
    let rest = cache.life(&record_key("1")).await.expect("what is persisted expires");
    assert!((3_590_000..=3_600_000).contains(&rest), "{rest} ms");
    assert_eq!(cache.indexes("1").await, (None, None), "it waits for nobody");
    assert!(!cache.exists(&lease_key("1")).await, "the lease is used up");
}

#[tokio::test]
async fn a_tombstone_row_is_filled_as_a_tombstone() {
    let cache = fresh().await;
    let lease = leased(&cache).await;
    let entry = Entry { content: Content::Tombstone, ..row(row_version()) };
    assert!(cache.cache.fill(&lease, &entry).await.unwrap());
    assert_eq!(cache.hit("1").await.content, Content::Tombstone);
}

#[tokio::test]
async fn a_fill_raises_last_to_the_rows_version_and_never_lowers_it() {
    let cache = fresh().await;
    let ahead = version(service::clock::now_micros() + 3_600_000_000);
    let lease = leased(&cache).await;
    assert!(cache.cache.fill(&lease, &row(ahead)).await.unwrap());
    assert_eq!(cache.last("1").await, ahead.get());
    assert!(cache.put("1").await > ahead, "a row's version is never issued again");
    let last = cache.last("1").await;
    cache.ask::<()>("DEL", &[record_key("1")]).await;
    let lease = leased(&cache).await;
    assert!(fill(&cache, &lease).await);
    assert_eq!(cache.last("1").await, last);
}

#[tokio::test]
async fn without_the_lease_nothing_is_filled() {
    let cache = fresh().await;
    let lease = leased(&cache).await;
    cache.ask::<()>("DEL", &[lease_key("1")]).await;
    assert!(!fill(&cache, &lease).await);
    assert!(!cache.exists(&record_key("1")).await);
}

#[tokio::test]
async fn a_lease_is_good_for_one_fill() {
    let cache = fresh().await;
    let lease = leased(&cache).await;
    assert!(fill(&cache, &lease).await);
    cache.ask::<()>("DEL", &[record_key("1")]).await;
    assert!(!fill(&cache, &lease).await);
}

/// Else readers of an absent record would keep whoever wants to create it from his lease.
#[tokio::test]
async fn r12_a_lease_that_stands_is_handed_on_for_the_rest_of_its_time() {
    let cache = fresh_with(|settings| settings.fill_lease_ms = Duration::from_millis(400)).await;
    let (begun, earlier) = (Instant::now(), leased(&cache).await);
    let other = cache.another("that");
    until("half of its time is over", || async { begun.elapsed() > Duration::from_millis(200) }).await;
    let Looked::Miss(Some(later)) = other.look("users", &id("1")).await.unwrap() else { panic!("no lease") };
    assert_eq!(later, earlier);
    let rest = cache.life(&lease_key("1")).await.expect("a lease ends");
    assert!(rest <= 200, "it lives for {rest} ms more: readers could keep it for ever, also past a doubt");
    assert!(fill(&cache, &later).await);
    assert!(!fill(&cache, &earlier).await, "one of them fills");
}

#[tokio::test]
async fn a_lease_is_over_after_its_time() {
    let cache = fresh_with(|settings| settings.fill_lease_ms = Duration::from_millis(30)).await;
    let lease = leased(&cache).await;
    until("the lease is over", || async { !cache.exists(&lease_key("1")).await }).await;
    assert!(!fill(&cache, &lease).await);
}

/// `k11`: else an older row would follow a newer write that was settled and has expired meanwhile.
#[tokio::test]
async fn a_write_in_between_takes_the_lease_away() {
    let cache = fresh().await;
    let lease = leased(&cache).await;
    cache.put("1").await;
    cache.ask::<()>("DEL", &[record_key("1")]).await;
    assert!(!fill(&cache, &lease).await);
    assert!(!cache.exists(&record_key("1")).await);
}

/// `k11b`: the write went around this Redis, only its settle comes by.
#[tokio::test]
async fn a_settle_in_between_takes_the_lease_away() {
    let cache = fresh().await;
    let lease = leased(&cache).await;
    cache.settle("1", version(row_version().get() + 16)).await;
    assert!(!fill(&cache, &lease).await);
    assert!(!cache.exists(&record_key("1")).await);
}

#[tokio::test]
async fn a_record_that_is_there_is_not_filled_over() {
    let cache = fresh().await;
    let lease = leased(&cache).await;
    let there = cache.put("1").await;
    // As if the write had not taken it away: what is in the cache stands even then.
    let text = format!("{lease:?}").split('"').nth(1).unwrap().to_owned();
    cache.ask::<()>("SET", &[lease_key("1"), text]).await;
    assert!(!fill(&cache, &lease).await);
    assert_eq!(cache.hit("1").await.version, there);
}

/// `k35`: a lease given in doubt brings an old row back, and a precondition is decided on it.
#[tokio::test]
async fn while_the_cache_is_incomplete_a_miss_gets_no_lease() {
    let cache = fresh().await;
    cache.ask::<()>("SET", &[key("1", "incomplete"), "1".to_owned()]).await;
    assert_eq!(cache.look("1").await, Looked::Miss(None));
    assert!(!cache.exists(&lease_key("1")).await);
    cache.ask::<()>("DEL", &[key("1", "incomplete")]).await;
    leased(&cache).await;
}

/// The bypassed write's settle is still to come (R8): the fill could put an older row beside it, current in this epoch.
#[tokio::test]
async fn r12_a_lease_from_before_the_doubt_fills_nothing_in_it() {
    let cache = fresh().await;
    let lease = leased(&cache).await;
    cache.ask::<()>("SET", &[key("1", "incomplete"), "1".to_owned()]).await;
    assert!(!fill(&cache, &lease).await);
    assert!(!cache.exists(&record_key("1")).await);
}

/// v2 was applied past this Redis and its settle given up, for which the epoch is raised: the row that was read before is v1.
#[tokio::test]
async fn r12_a_lease_of_an_earlier_life_fills_nothing_after_the_new_one_was_met() {
    let cache = fresh().await;
    let lease = leased(&cache).await;
    let before = cache.cache.epoch();
    cache.cache.settles_missed();
    until("the new life is met", || async { cache.cache.epoch() > before }).await;
    assert!(cache.exists(&lease_key("1")).await, "it still stands");
    assert!(!fill(&cache, &lease).await, "an older row is current in the new life");
    assert!(!cache.exists(&record_key("1")).await);
    let renewed = leased(&cache).await;
    assert_ne!(renewed, lease, "handed on from another life");
    assert!(fill(&cache, &renewed).await);
}

/// Settling is what makes room, and readers must not stand in its way, nor be turned away.
#[tokio::test]
async fn r12_a_redis_without_room_gives_no_lease_and_still_says_what_it_has() {
    let redis = own_redis();
    let cache = complete(fixture(settings(&redis.url(0))).await).await;
    let there = cache.put("2").await;
    cache.ask::<()>("CONFIG", &["SET", "maxmemory", "1mb"]).await;
    assert_eq!(cache.look("1").await, Looked::Unleased(FailureClass::Saturated));
    assert_eq!(cache.hit("2").await.version, there);
    cache.ask::<()>("CONFIG", &["SET", "maxmemory", "0"]).await;
    leased(&cache).await;
}

#[tokio::test]
async fn in_another_epoch_a_miss_gets_no_lease_and_nothing_is_filled() {
    let cache = fresh().await;
    let lease = leased(&cache).await;
    cache.ask::<()>("HSET", &[key("1", "epoch"), "n".to_owned(), "2".to_owned()]).await;
    assert!(!fill(&cache, &lease).await);
    assert_eq!(cache.look("1").await, Looked::Miss(None));
    assert!(!cache.exists(&record_key("1")).await);
}

#[tokio::test]
async fn unpersisted_records_are_found_whatever_their_epoch() {
    let cache = fresh().await;
    let version = cache.put("1").await;
    assert_eq!(cache.hit("1").await, Cached { version, state: State::Cached, content: put("1").content });
    cache.acknowledge("1", version).await;
    assert_eq!(cache.state("1").await, State::Logged);
}

/// Of an earlier life of Redis: it says "persisted", but newer writes may have come and gone meanwhile.
#[tokio::test]
async fn a_persisted_record_of_another_epoch_counts_as_absent_and_is_filled_over() {
    let cache = fresh().await;
    let version = cache.put("1").await;
    cache.settle("1", version).await;
    assert_eq!(cache.state("1").await, State::Persisted);
    cache.ask::<()>("HSET", &[record_key("1"), "epoch".to_owned(), "0".to_owned()]).await;
    let lease = leased(&cache).await;
    let older = below(version);
    assert!(cache.cache.fill(&lease, &row(older)).await.unwrap(), "the row is what is known");
    assert_eq!(cache.hit("1").await.version, older);
    let record = cache.stands("1").await;
    assert_eq!(record["epoch"], cache.cache.epoch().to_string());
}

/// What stands in Redis is readable, whatever the path it came by.
#[tokio::test]
async fn hgetall_of_a_filled_record_shows_version_state_and_json() {
    let cache = fresh().await;
    let lease = leased(&cache).await;
    fill(&cache, &lease).await;
    let record = cache.stands("1").await;
    let shown = ["version", "state", "deleted", "schema", "payload"].map(|field| record[field].as_str());
    assert_eq!(shown, ["1700000000000000", "persisted", "0", "7", r#"{"name":"Row"}"#]);
}
