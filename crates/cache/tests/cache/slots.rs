//! R4: the slots of versions without Redis have one owner each, and versions with them are unlike all others.

use std::collections::HashSet;
use std::time::Duration;

use cache::WriteQueue;
use record::Slot;

use crate::support::{fresh, until};

const LEASE: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn r4_k06_every_slot_has_one_owner_and_fourteen_is_all_there_are() {
    let cache = fresh().await;
    let mut given = HashSet::new();
    for n in 0..14 {
        let slot = cache.cache.claim_slot(&format!("host-{n}"), None, LEASE).await.unwrap().expect("one is free");
        assert!(given.insert(slot), "slot {slot:?} was given twice");
    }
    assert_eq!(cache.cache.claim_slot("one too many", None, LEASE).await.unwrap(), None);
}

#[tokio::test]
async fn r4_whoever_comes_again_gets_its_slot_back_and_what_is_given_back_is_free() {
    let cache = fresh().await;
    let claim = async |who: &str| cache.cache.claim_slot(who, None, LEASE).await.unwrap();
    let mine = claim("me").await.expect("one is free");
    for n in 0..13 {
        claim(&format!("host-{n}")).await.expect("one is free");
    }
    assert_eq!(claim("me").await, Some(mine), "after a restart");
    cache.cache.release_slot(mine, "another").await.unwrap();
    assert_eq!(claim("new").await, None, "only its owner gives a slot back");
    cache.cache.release_slot(mine, "me").await.unwrap();
    assert_eq!(claim("new").await, Some(mine));
}

#[tokio::test]
async fn r4_a_slot_that_is_not_renewed_is_free_again() {
    let cache = fresh().await;
    let slot = cache.cache.claim_slot("gone", None, Duration::from_millis(30)).await.unwrap().expect("one is free");
    let key = format!("wb:{{slot}}:{}", slot.get());
    until("the lease ends", async || !cache.exists(&key).await).await;
}

#[tokio::test]
async fn r4_k06_versions_without_redis_differ_by_their_slot_and_grow_past_all_that_was_seen() {
    let cache = fresh().await;
    let (one, writer) = WriteQueue::new(cache.cache.clone(), 8);
    let (other, _) = WriteQueue::new(cache.cache.clone(), 8);
    let running = crate::support::go(writer.run());
    let cache::Written::New(seen) = one.write(crate::support::put("1")).await.unwrap() else { panic!("not taken") };
    let slot = |number| Slot::new(number).unwrap();
    let mut versions = HashSet::new();
    let mut last = seen;
    for _ in 0..100 {
        // A clock that stands still, behind what was seen.
        let version = one.issue_away(16, slot(3));
        assert!(version > last && version.slot() == 3, "{version} after {last}");
        last = version;
        assert!(versions.insert(version));
        assert!(versions.insert(other.issue_away(seen.get() + 160, slot(4))), "two processes, one version");
    }
    assert_eq!(one.seen(), last.get(), "the next script is told of it");
    running.abort();
}
