//! R5, step 5, with R12, R15 and R16: a precondition is decided on what is certain, and what is absent from the cache is
//! nowhere only under a lease that nothing has taken away.

use cache::{Lease, Looked, Precondition, State, Write, Written};
use record::Version;

use crate::support::{Fixture, above, below, delete, fresh, key, lease_key, new, put, record_key, until};

fn wanting(id: &str, precondition: Precondition) -> Write {
    Write { precondition: Some(precondition), ..put(id) }
}

fn matching(id: &str, version: Version) -> Write {
    wanting(id, Precondition::Match(version))
}

async fn leased(cache: &Fixture, id: &str) -> Lease {
    match cache.look(id).await {
        Looked::Miss(Some(lease)) => lease,
        other => panic!("no lease but {other:?}"),
    }
}

fn nowhere(write: Write, lease: &Lease) -> Write {
    Write { nowhere: Some(lease.clone()), ..write }
}

#[tokio::test]
async fn r5_if_match_writes_over_that_version_alone_and_a_refused_write_touches_nothing() {
    let cache = fresh().await;
    let first = cache.put("1").await;
    let before = cache.dump().await;
    for other in [below(first), above(first)] {
        assert_eq!(cache.write(matching("1", other)).await, Written::Conflict(Some((first, State::Cached))));
    }
    assert_eq!(cache.dump().await, before);
    let second = new(cache.write(matching("1", first)).await);
    cache.acknowledge("1", second).await;
    assert_eq!(cache.write(matching("1", first)).await, Written::Conflict(Some((second, State::Logged))));
}

#[tokio::test]
async fn r5_a_deleted_record_matches_no_version_and_is_none() {
    let cache = fresh().await;
    cache.put("1").await;
    let deleted = new(cache.write(delete("1")).await);
    assert_eq!(cache.write(matching("1", deleted)).await, Written::Conflict(None));
    let unused = cache.write(wanting("1", Precondition::Unused)).await;
    assert_eq!(unused, Written::Conflict(Some((deleted, State::Cached))), "something was there");
    let again = new(cache.write(wanting("1", Precondition::NoneMatch)).await);
    let refused = Written::Conflict(Some((again, State::Cached)));
    assert_eq!(cache.write(wanting("1", Precondition::NoneMatch)).await, refused);
}

#[tokio::test]
async fn r16_while_the_cache_is_incomplete_no_precondition_is_decided_for_present_records_either() {
    let cache = fresh().await;
    let first = cache.put("1").await;
    cache.ask::<()>("SET", &[key("1", "incomplete"), "1".to_owned()]).await;
    let before = cache.dump().await;
    for precondition in [Precondition::Match(first), Precondition::NoneMatch, Precondition::Unused] {
        assert_eq!(cache.write(wanting("1", precondition)).await, Written::Incomplete, "{precondition:?}");
    }
    assert_eq!(cache.dump().await, before);
    cache.put("1").await;
}

#[tokio::test]
async fn r12_what_is_absent_is_decided_only_under_a_lease() {
    let cache = fresh().await;
    for precondition in [Precondition::NoneMatch, Precondition::Unused, Precondition::Match(Version::ZERO)] {
        assert_eq!(cache.write(wanting("1", precondition)).await, Written::Absent, "{precondition:?}");
    }
    let lease = leased(&cache, "1").await;
    let missed = cache.write(nowhere(matching("1", Version::ZERO), &lease)).await;
    assert_eq!(missed, Written::Conflict(None), "there is nothing that could match");
    new(cache.write(nowhere(wanting("1", Precondition::NoneMatch), &lease)).await);
    assert!(!cache.exists(&lease_key("1")).await, "a write takes the lease away, its own too");
}

/// Between the row that was not there and the script, somebody else wrote; what he wrote may have come and gone.
#[tokio::test]
async fn r12_no_write_slips_in_between_the_missing_row_and_the_script() {
    let cache = fresh().await;
    let lease = leased(&cache, "1").await;
    let between = cache.put("1").await;
    cache.settle("1", between).await;
    cache.ask::<()>("DEL", &[record_key("1")]).await;
    let write = nowhere(wanting("1", Precondition::NoneMatch), &lease);
    assert_eq!(cache.write(write).await, Written::Absent, "the record is in the table by now");

    // `k11b`: written past this cache; only its settle comes by.
    let lease = leased(&cache, "2").await;
    cache.settle("2", above(between)).await;
    assert_eq!(cache.write(nowhere(wanting("2", Precondition::NoneMatch), &lease)).await, Written::Absent);
}

/// One that reads, or wants the same, does not keep a creator from it; one of two creators is the first.
#[tokio::test]
async fn r12_readers_and_creators_share_a_lease_and_a_record_is_created_once() {
    let cache = fresh().await;
    let lease = leased(&cache, "1").await;
    for _ in 0..3 {
        assert_eq!(leased(&cache, "1").await, lease);
    }
    let created = new(cache.write(nowhere(wanting("1", Precondition::NoneMatch), &lease)).await);
    let refused = cache.write(nowhere(wanting("1", Precondition::NoneMatch), &lease)).await;
    assert_eq!(refused, Written::Conflict(Some((created, State::Cached))));
}

/// The life before may have lost the settle that would have taken the lease away: the row that was not there is by now.
#[tokio::test]
async fn r12_a_lease_of_an_earlier_life_proves_no_absence() {
    let cache = fresh().await;
    let lease = leased(&cache, "1").await;
    let before = cache.cache.epoch();
    cache.cache.settles_missed();
    until("the new life is met", || async { cache.cache.epoch() > before }).await;
    assert!(cache.exists(&lease_key("1")).await, "it still stands");
    for precondition in [Precondition::NoneMatch, Precondition::Unused, Precondition::Match(Version::ZERO)] {
        let told = cache.write(nowhere(wanting("1", precondition), &lease)).await;
        assert_eq!(told, Written::Absent, "{precondition:?}");
    }
    let renewed = leased(&cache, "1").await;
    new(cache.write(nowhere(wanting("1", Precondition::NoneMatch), &renewed)).await);
}

#[tokio::test]
async fn r15_a_settled_record_of_another_epoch_counts_as_absent() {
    let cache = fresh().await;
    let old = cache.put("1").await;
    cache.settle("1", old).await;
    cache.ask::<()>("HSET", &[record_key("1"), "epoch".to_owned(), "0".to_owned()]).await;
    assert_eq!(cache.write(matching("1", old)).await, Written::Absent, "k21: a newer write may have been forgotten");
    assert_eq!(cache.write(wanting("1", Precondition::NoneMatch)).await, Written::Absent);
    let lease = leased(&cache, "1").await;
    let created = new(cache.write(nowhere(wanting("1", Precondition::NoneMatch), &lease)).await);
    assert!(cache.life(&record_key("1")).await.is_none(), "an unpersisted record never expires (G4)");
    assert_eq!(cache.state("1").await, State::Cached);
    assert_eq!(cache.hit("1").await.version, created);
}
