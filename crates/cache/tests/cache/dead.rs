//! R14: a version that is a dead letter leaves the cache, and only that version.

use cache::{Dead, Looked};
use record::Version;

use crate::support::{Fixture, above, below, fresh, id, key, lease_key, record_key};

fn dead(name: &str, version: Version) -> Dead {
    Dead { entity: "users".to_owned(), id: id(name), version }
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
