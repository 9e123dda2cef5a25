//! R14: MySQL holds version h. Only now may an entry leave the cache, and in doubt it is dropped, never marked.

use cache::{Looked, State};
use record::Version;

use crate::support::{Fixture, above, below, fresh, fresh_with, key, lease_key, logged, record_key, until, version};

#[tokio::test]
async fn the_very_version_is_marked_gets_a_ttl_and_leaves_both_indexes() {
    let cache = fresh().await;
    let version = cache.put("1").await;
    cache.acknowledge("1", version).await;
    assert_eq!(cache.settle("1", version).await, 1);
    let record = cache.stands("1").await;
    assert_eq!((record["state"].as_str(), record["epoch"].as_str()), ("persisted", &*cache.cache.epoch().to_string()));
    assert_eq!(cache.indexes("1").await, (None, None));
    let rest = cache.life(&record_key("1")).await.expect("it may leave now");
    assert!((3_590_000..=3_600_000).contains(&rest), "{rest} ms");
}

/// The topic's acknowledgement may come later than the settle, or never.
#[tokio::test]
async fn a_version_whose_acknowledgement_was_lost_is_settled_out_of_the_outbox() {
    let cache = fresh().await;
    let version = cache.put("1").await;
    assert_eq!(cache.settle("1", version).await, 1);
    assert_eq!(cache.indexes("1").await, (None, None));
    assert_eq!(cache.state("1").await, State::Persisted);
}

#[tokio::test]
async fn a_persisted_record_leaves_when_its_ttl_is_over() {
    let cache = fresh_with(|settings| settings.settled_ttl_s = std::time::Duration::from_millis(50)).await;
    let version = cache.put("1").await;
    cache.settle("1", version).await;
    until("the record has expired", || async { !cache.exists(&record_key("1")).await }).await;
    assert_eq!(cache.last("1").await, version.get(), "its version is remembered");
}

/// `d10`: a write made around this Redis would leave the older record in the cache for ever.
#[tokio::test]
async fn a_record_older_than_the_row_is_dropped() {
    let cache = fresh().await;
    let version = cache.put("1").await;
    cache.acknowledge("1", version).await;
    assert_eq!(cache.settle("1", above(version)).await, 0);
    assert!(!cache.exists(&record_key("1")).await);
    assert_eq!(cache.indexes("1").await, (None, None));
}

#[tokio::test]
async fn a_record_newer_than_the_row_is_left_alone() {
    let cache = fresh().await;
    let version = cache.put("1").await;
    for _ in 0..2 {
        let before = cache.dump().await;
        assert_eq!(cache.settle("1", below(version)).await, 0);
        assert_eq!(cache.dump().await, before);
        cache.acknowledge("1", version).await;
    }
}

#[tokio::test]
async fn a_settle_of_no_record_takes_a_left_over_entry_out_of_the_indexes() {
    let cache = fresh().await;
    let version = cache.put("1").await;
    cache.acknowledge("1", version).await;
    cache.ask::<()>("DEL", &[record_key("1")]).await;
    assert_eq!(cache.settle("1", version).await, 0);
    assert_eq!(cache.indexes("1").await, (None, None));
    assert!(!cache.exists(&record_key("1")).await);
}

async fn dropped_and_not_marked(cache: &Fixture, version: Version, epoch: u64) {
    assert_eq!(cache.settle_in("1", version, epoch).await, 0, "marked in doubt");
    assert!(!cache.exists(&record_key("1")).await, "in doubt the row answers");
    assert_eq!(cache.indexes("1").await, (None, None));
}

/// `k33`: after a failover a late settle would mark as current what is not.
#[tokio::test]
async fn a_settle_of_another_epoch_drops_the_record() {
    let cache = fresh().await;
    let version = cache.put("1").await;
    cache.acknowledge("1", version).await;
    dropped_and_not_marked(&cache, version, cache.cache.epoch() + 1).await;
}

#[tokio::test]
async fn a_settle_in_a_redis_without_an_epoch_drops_the_record() {
    let cache = fresh().await;
    let version = cache.put("1").await;
    cache.ask::<()>("DEL", &[key("1", "epoch")]).await;
    dropped_and_not_marked(&cache, version, cache.cache.epoch()).await;
}

#[tokio::test]
async fn a_settle_while_incomplete_drops_the_record() {
    let cache = fresh().await;
    let version = cache.put("1").await;
    cache.ask::<()>("SET", &[key("1", "incomplete"), "1".to_owned()]).await;
    dropped_and_not_marked(&cache, version, cache.cache.epoch()).await;
}

#[tokio::test]
async fn in_doubt_a_record_newer_than_the_row_is_left_alone_too() {
    let cache = fresh().await;
    let version = cache.put("1").await;
    let before = cache.dump().await;
    assert_eq!(cache.settle_in("1", below(version), cache.cache.epoch() + 1).await, 0);
    assert_eq!(cache.dump().await, before);
}

#[tokio::test]
async fn a_settle_always_takes_the_lease_away() {
    let cache = fresh().await;
    for (held, epoch) in [(16, cache.cache.epoch()), (16, cache.cache.epoch() + 1)] {
        assert!(matches!(cache.look("1").await, Looked::Miss(Some(_))));
        cache.settle_in("1", version(held), epoch).await;
        assert!(!cache.exists(&lease_key("1")).await);
    }
    // An older row than what is there, too: a reader may have read it.
    let newer = cache.put("1").await;
    cache.ask::<()>("SET", &[lease_key("1"), "somebody's".to_owned()]).await;
    cache.settle("1", below(newer)).await;
    assert!(!cache.exists(&lease_key("1")).await);
}

#[tokio::test]
async fn a_settle_raises_last_to_the_rows_version_and_never_lowers_it() {
    let cache = fresh().await;
    let ahead = version(service::clock::now_micros() + 3_600_000_000);
    cache.settle("1", ahead).await;
    assert_eq!(cache.last("1").await, ahead.get());
    cache.settle("1", version(16)).await;
    assert_eq!(cache.last("1").await, ahead.get());
    assert!(cache.put("1").await > ahead);
}

#[tokio::test]
async fn many_settles_are_one_call_each_by_itself() {
    let cache = fresh().await;
    let mut all = Vec::new();
    for n in 0..90 {
        let id = n.to_string();
        let version = cache.put(&id).await;
        let held = [below(version), version, above(version)][n % 3];
        all.push(cache.settled(&id, held));
    }
    assert_eq!(cache.cache.settle(&all).await.unwrap(), 30);
    for n in 0..90 {
        let id = n.to_string();
        let there = cache.stands(&id).await.get("state").cloned();
        let expected = [Some("cached"), Some("persisted"), None][n % 3];
        assert_eq!(there.as_deref(), expected, "record {n}");
        assert_eq!(cache.indexes(&id).await.0.is_some(), n % 3 == 0, "outbox entry {n}");
    }
}

/// One call of the persister carries many; it is sent again until Redis takes it.
#[tokio::test]
async fn a_key_of_the_wrong_type_stops_no_other_settle() {
    let cache = fresh().await;
    let mut all = Vec::new();
    for id in ["1", "2", "3"] {
        all.push(cache.settled(id, cache.put(id).await));
    }
    cache.ask::<()>("SET", &[record_key("2"), "of somebody else".to_owned()]).await;
    assert_eq!(cache.cache.settle(&all).await.unwrap(), 2);
    assert_eq!(cache.state("3").await, State::Persisted);
}

/// G4, looked at from the outside: whatever can leave the cache by itself is persisted, or is no record at all.
#[tokio::test]
async fn nothing_unsettled_ever_has_a_ttl() {
    let cache = fresh().await;
    for n in 0..60_usize {
        let id = (n % 20).to_string();
        let version = cache.put(&id).await;
        match n % 5 {
            0 => {}
            1 => drop(cache.cache.logged(&[logged(&id, version)]).await.unwrap()),
            2 => drop(cache.settle(&id, version).await),
            3 => drop(cache.settle(&id, below(version)).await),
            _ => drop(cache.settle_in(&id, below(version), 99).await),
        }
        cache.look(&format!("absent{n}")).await;
    }
    let keys: Vec<String> = cache.ask("KEYS", &["*"]).await;
    let mut persisted = 0;
    for key in keys {
        let expires = cache.life(&key).await.is_some();
        if key.contains(":record:") {
            let state: String = cache.ask("HGET", &[key.as_str(), "state"]).await;
            assert_eq!(expires, state == "persisted", "{key} is {state}");
            persisted += u32::from(expires);
        } else {
            assert_eq!(expires, key.contains(":lease:"), "{key}");
        }
    }
    assert!(persisted > 0, "none was settled: this has shown nothing");
}
