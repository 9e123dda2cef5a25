//! R14: a version that is a dead letter leaves the cache, and only that version.

use cache::{Dead, Idempotency, Looked, Precondition, State, Write, Written};
use record::Version;

use crate::support::{Fixture, above, below, fresh, id, key, lease_key, new, put, record_key, shard_of};

fn dead(name: &str, version: Version) -> Dead {
    Dead { entity: "users".to_owned(), id: id(name), version, in_vain: false }
}

fn in_vain(name: &str, version: Version) -> Dead {
    Dead { in_vain: true, ..dead(name, version) }
}

/// A dead letter over a write that the table does not have yet; the version of that.
async fn uncovered(cache: &Fixture, name: &str) -> Version {
    let below = cache.put(name).await;
    cache.acknowledge(name, below).await;
    let refused = cache.put(name).await;
    cache.acknowledge(name, refused).await;
    assert_eq!(cache.cache.dead(&[dead(name, refused)]).await.unwrap(), 1);
    below
}

async fn awaits(cache: &Fixture, name: &str, version: Version) -> bool {
    let stands = cache.stands(name).await;
    let state = stands.get("state").map(String::as_str) == Some("awaited");
    state && stands.get("version") == Some(&version.to_string()) && !stands.contains_key("payload")
}

async fn gone(cache: &Fixture) -> bool {
    !cache.exists(&record_key("1")).await && cache.indexes("1").await == (None, None)
}

/// `k43`: else the sweep finds it unsettled, and brings it to the topic again for ever.
#[tokio::test]
async fn r14_a_dead_version_leaves_the_record_both_indexes_and_the_lease() {
    let cache = fresh().await;
    for logged in [false, true] {
        let version = cache.put("1").await;
        if logged {
            cache.acknowledge("1", version).await;
        }
        cache.ask::<()>("SET", &[lease_key("1"), "somebody's".to_owned()]).await;
        assert_eq!(cache.cache.dead(&[dead("1", version)]).await.unwrap(), 1);
        assert!(gone(&cache).await, "logged {logged}");
        assert!(!cache.exists(&lease_key("1")).await, "a reader could fill what it read before");
    }
}

#[tokio::test]
async fn r14_a_record_that_has_moved_on_or_is_older_is_left_alone() {
    let cache = fresh().await;
    let version = cache.put("1").await;
    cache.acknowledge("1", version).await;
    let before = cache.dump().await;
    for other in [below(version), above(version)] {
        assert_eq!(cache.cache.dead(&[dead("1", other)]).await.unwrap(), 0);
        assert_eq!(cache.dump().await, before, "another version was dropped");
    }
}

#[tokio::test]
async fn r14_in_doubt_a_dead_version_is_dropped_as_well() {
    for (doubt, value) in [("incomplete", Some("1")), ("epoch", None)] {
        let cache = fresh().await;
        let version = cache.put("1").await;
        cache.acknowledge("1", version).await;
        match value {
            Some(value) => cache.ask::<()>("SET", &[key("1", doubt), value.to_owned()]).await,
            None => cache.ask::<()>("DEL", &[key("1", doubt)]).await,
        }
        cache.cache.dead(&[dead("1", version)]).await.unwrap();
        assert!(gone(&cache).await, "{doubt}");
    }
}

#[tokio::test]
async fn r14_a_left_over_entry_without_a_record_goes_and_last_is_never_raised() {
    let cache = fresh().await;
    let version = cache.put("1").await;
    cache.acknowledge("1", version).await;
    cache.ask::<()>("DEL", &[record_key("1")]).await;
    let last = cache.last("1").await;
    // Dead because it lies in the future: to go on from there would put every later write there, too.
    let ahead = Version::new(version.get() + 3_600_000_000).unwrap();
    cache.cache.dead(&[dead("1", ahead)]).await.unwrap();
    assert!(gone(&cache).await);
    assert_eq!(cache.last("1").await, last);
}

#[tokio::test]
async fn a_key_of_the_wrong_type_stops_no_other_dead_letter() {
    let cache = fresh().await;
    let mut all = Vec::new();
    for name in ["1", "2", "3"] {
        all.push(dead(name, cache.put(name).await));
    }
    cache.ask::<()>("SET", &[record_key("2"), "of somebody else".to_owned()]).await;
    assert_eq!(cache.cache.dead(&all).await.unwrap(), 2);
    assert!(matches!(cache.look("3").await, Looked::Miss(_)));
}

/// `k53`: the row is older than a write that was acknowledged, and its event is still to come.
#[tokio::test]
async fn r14_what_a_dead_letter_has_uncovered_is_awaited_and_no_row_is_believed_before() {
    let cache = fresh().await;
    let below = uncovered(&cache, "1").await;
    assert!(awaits(&cache, "1", below).await, "{:?}", cache.stands("1").await);
    assert_eq!(cache.indexes("1").await, (None, Some(below.to_string())), "no doubt ends and no purge passes it");
    assert_eq!(cache.life(&record_key("1")).await, None, "it would be forgotten");
    assert_eq!(cache.look("1").await, Looked::Miss(None), "a reader could fill the older row, and vouch for it");
    for precondition in
        [Precondition::Match(crate::support::below(below)), Precondition::NoneMatch, Precondition::Unused]
    {
        let write = Write { precondition: Some(precondition), ..put("1") };
        assert_eq!(cache.write(write).await, Written::Incomplete, "{precondition:?} was decided without it");
    }
    // An older version is not what is awaited.
    cache.settle("1", crate::support::below(below)).await;
    assert!(awaits(&cache, "1", below).await);
    cache.settle("1", below).await;
    assert!(gone(&cache).await, "{:?}", cache.stands("1").await);
    assert!(matches!(cache.look("1").await, Looked::Miss(Some(_))), "the table has it");
}

#[tokio::test]
async fn r14_what_the_table_has_of_below_is_not_awaited() {
    let cache = fresh().await;
    let below = cache.put("1").await;
    let refused = cache.put("1").await;
    assert_eq!(cache.stands("1").await.get("below"), Some(&below.to_string()));
    // In an earlier life of Redis it was read as well: the table never goes back.
    cache.settle_in("1", below, cache.cache.epoch() - 1).await;
    assert_eq!(cache.stands("1").await.get("below"), None);
    cache.cache.dead(&[dead("1", refused)]).await.unwrap();
    assert!(gone(&cache).await);
    // Nor what was persisted when it was overwritten.
    let persisted = cache.put("1").await;
    cache.settle("1", persisted).await;
    let refused = cache.put("1").await;
    cache.cache.dead(&[dead("1", refused)]).await.unwrap();
    assert!(gone(&cache).await);
}

/// A dead letter below a dead letter hides what is below both: only the sweep knows when nothing can come any more.
#[tokio::test]
async fn r14_what_is_awaited_ends_by_a_settle_or_by_the_sweep_and_never_by_its_own_dead_letter() {
    let cache = fresh().await;
    let below = uncovered(&cache, "1").await;
    assert_eq!(cache.cache.dead(&[dead("1", below)]).await.unwrap(), 0);
    assert!(awaits(&cache, "1", below).await);
    let page = cache.cache.unsettled(shard_of("1"), 0, Version::MAX.get(), 9).await.unwrap();
    let found: Vec<_> = page.entries.iter().map(|entry| (entry.version, entry.state)).collect();
    assert_eq!(found, [(below, None)]);
    assert!(page.entries[0].logged_at > below.get(), "since when it is awaited");
    assert_eq!(cache.cache.dead(&[in_vain("1", crate::support::below(below))]).await.unwrap(), 0);
    assert_eq!(cache.cache.dead(&[in_vain("1", below)]).await.unwrap(), 1);
    assert!(gone(&cache).await);
    // What the sweep has seen as awaited was written again.
    let version = cache.put("1").await;
    assert_eq!(cache.cache.dead(&[in_vain("1", version)]).await.unwrap(), 0);
    assert_eq!(cache.state("1").await, State::Cached);
}

#[tokio::test]
async fn r14_a_write_on_top_of_what_is_awaited_still_remembers_it() {
    let cache = fresh().await;
    let below = uncovered(&cache, "1").await;
    let refused = cache.put("1").await;
    assert_eq!(cache.indexes("1").await, (Some(refused.to_string()), None));
    cache.cache.dead(&[dead("1", refused)]).await.unwrap();
    assert!(awaits(&cache, "1", below).await, "{:?}", cache.stands("1").await);
}

/// R7: nothing is left that a relay would send.
#[tokio::test]
async fn r7_a_key_whose_version_is_awaited_is_answered_by_its_own_event() {
    let cache = fresh().await;
    let keyed =
        || Write { idempotency: Some(Idempotency { key: "k".to_owned(), fingerprint: "f".to_owned() }), ..put("1") };
    let below = new(cache.write(keyed()).await);
    let refused = cache.put("1").await;
    cache.cache.dead(&[dead("1", refused)]).await.unwrap();
    assert!(awaits(&cache, "1", below).await);
    assert_eq!(cache.write(keyed()).await, Written::Overtaken(below), "it is in neither outbox nor topic");
}
