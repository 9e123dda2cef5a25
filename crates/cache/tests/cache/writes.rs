//! R5: record, outbox entry and `last` are there together or not at all; a refused write touches nothing and stops no
//! other; bounds hold to the entry.

use std::time::Duration;

use cache::{CacheError, Written};
use record::Version;

use crate::support::{
    ANN, Fixture, complete, delete, fixture, fresh, fresh_with, go, key, lease_key, neighbours, new, own_redis, put,
    record_key, settings, until, written_after_quiet,
};

#[tokio::test]
async fn a_write_leaves_record_outbox_entry_and_last() {
    let cache = fresh().await;
    let mut write = put("1");
    write.trace = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned());
    let trace = write.trace.clone().unwrap();
    let version = new(cache.write(write).await).to_string();
    let record = cache.stands("1").await;
    let stands: Vec<_> = record.iter().map(|(field, value)| (field.as_str(), value.as_str())).collect();
    let expected = [
        ("deleted", "0"),
        ("payload", ANN),
        ("schema", "7"),
        ("state", "cached"),
        ("trace", &trace),
        ("version", &version),
    ];
    assert_eq!(stands, expected, "what HGETALL shows of a record");
    assert_eq!(cache.indexes("1").await, (Some(version.clone()), None));
    assert_eq!(cache.last("1").await.to_string(), version);
}

#[tokio::test]
async fn overwriting_leaves_one_outbox_entry_at_the_newest_version() {
    let cache = fresh().await;
    cache.put("1").await;
    let newest = cache.put("1").await;
    assert_eq!(cache.indexes("1").await, (Some(newest.to_string()), None));
    assert_eq!(cache.cache.depths().await.unwrap().outbox, 1);
}

#[tokio::test]
async fn a_persisted_record_that_is_written_again_loses_its_ttl_and_all_traces_of_its_past() {
    let cache = fresh().await;
    let first = cache.put("1").await;
    cache.acknowledge("1", first).await;
    cache.settle("1", first).await;
    assert!(cache.life(&record_key("1")).await.is_some(), "a persisted record expires");
    let second = cache.put("1").await;
    assert_eq!(cache.life(&record_key("1")).await, None, "an unpersisted record must never expire (G4)");
    let record = cache.stands("1").await;
    assert_eq!(record["version"], second.to_string());
    for past in ["partition", "offset", "logged_at", "epoch"] {
        assert!(!record.contains_key(past), "{past} is that of the version before: {record:?}");
    }
}

#[tokio::test]
async fn a_logged_record_that_is_written_again_is_cached_again() {
    let cache = fresh().await;
    let first = cache.put("1").await;
    cache.acknowledge("1", first).await;
    let second = cache.put("1").await;
    assert_eq!(cache.stands("1").await["state"], "cached");
    assert_eq!(cache.indexes("1").await, (Some(second.to_string()), None), "it waits for the topic, and only for that");
}

#[tokio::test]
async fn a_write_takes_the_lease_of_readers_away() {
    let cache = fresh().await;
    cache.look("1").await;
    assert!(cache.exists(&lease_key("1")).await);
    cache.put("1").await;
    assert!(!cache.exists(&lease_key("1")).await);
}

/// One call: refused, taken, refused, taken.
#[tokio::test]
async fn a_refused_write_touches_nothing_and_stops_no_other_in_its_batch() {
    let cache = fresh().await;
    let mut writes = ["1", "2", "3", "4"].map(put);
    writes[0].mine += 1_000_000;
    writes[2].mine -= 1_000_000;
    let written = cache.cache.write(&writes, Version::ZERO).await.expect("the script answers");
    let written: Vec<_> = written.into_iter().map(|written| written.expect("each is answered")).collect();
    assert!(
        matches!(written[..], [Written::Skew, Written::New(_), Written::Late, Written::New(_)]),
        "answers are in the order of the writes: {written:?}"
    );
    for (id, there) in [("1", false), ("2", true), ("3", false), ("4", true)] {
        assert_eq!(cache.exists(&record_key(id)).await, there, "record {id}");
        assert_eq!(cache.indexes(id).await.0.is_some(), there, "outbox entry of {id}");
    }
}

/// Somebody else's key where our record would be: no rule can be followed for it, but for all others.
#[tokio::test]
async fn a_key_of_the_wrong_type_stops_no_other_write_and_leaves_no_half_of_its_own() {
    let cache = fresh().await;
    let ids = neighbours(3);
    cache.ask::<()>("SET", &[record_key(&ids[1]), "of somebody else".to_owned()]).await;
    let writes: Vec<_> = ids.iter().map(|id| put(id)).collect();
    let written = cache.cache.write(&writes, Version::ZERO).await.expect("the script answers");
    assert!(matches!(&written[1], Err(CacheError::Refused { code, .. }) if code == "WRONGTYPE"), "{:?}", written[1]);
    assert_eq!(cache.indexes(&ids[1]).await, (None, None), "an outbox entry without a record");
    for n in [0, 2] {
        let version = new(written[n].clone().expect("a neighbour is taken"));
        assert_eq!(cache.last(&ids[n]).await.max(version.get()), cache.last(&ids[n]).await);
        assert_eq!(cache.indexes(&ids[n]).await.0, Some(version.to_string()));
    }
}

async fn stale_epoch(cache: &Fixture) {
    let before = cache.dump().await;
    assert_eq!(cache.write(put("1")).await, Written::StaleEpoch);
    assert_eq!(cache.dump().await, before);
}

#[tokio::test]
async fn a_redis_of_another_epoch_takes_no_write() {
    let cache = fresh().await;
    cache.ask::<()>("HSET", &[key("1", "epoch"), "n".to_owned(), "2".to_owned()]).await;
    stale_epoch(&cache).await;
}

#[tokio::test]
async fn a_redis_without_an_epoch_takes_no_write() {
    let cache = fresh().await;
    cache.ask::<()>("DEL", &[key("1", "epoch")]).await;
    stale_epoch(&cache).await;
}

/// Room for two entries in each shard.
#[tokio::test]
async fn the_outbox_takes_as_many_entries_as_its_bound_says_and_no_more() {
    let cache = fresh_with(|settings| settings.outbox_most = 2 * 16 + 15).await;
    let ids = neighbours(3);
    let first = cache.put(&ids[0]).await;
    cache.put(&ids[1]).await;
    let before = cache.dump().await;
    assert_eq!(cache.write(put(&ids[2])).await, Written::Full);
    assert_eq!(cache.write(put(&ids[0])).await, Written::Full, "of a record that is in there, too");
    assert_eq!(cache.dump().await, before);
    cache.acknowledge(&ids[0], first).await;
    cache.put(&ids[2]).await;
}

#[tokio::test]
async fn the_unsettled_take_as_many_entries_as_their_bound_says_and_no_more() {
    let cache = fresh_with(|settings| settings.unsettled_most = 2 * 16).await;
    let ids = neighbours(4);
    let mut versions = Vec::new();
    for id in &ids[..2] {
        versions.push(cache.put(id).await);
    }
    cache.acknowledge(&ids[0], versions[0]).await;
    cache.put(&ids[2]).await;
    cache.acknowledge(&ids[1], versions[1]).await;
    let before = cache.dump().await;
    assert_eq!(cache.write(put(&ids[3])).await, Written::Full);
    assert_eq!(cache.dump().await, before);
    cache.settle(&ids[0], versions[0]).await;
    cache.put(&ids[3]).await;
}

/// Its own Redis with too little memory: nothing is written, and what makes room again works all the same.
#[tokio::test]
async fn a_redis_without_memory_is_full_and_recovers_by_acknowledging_and_settling() {
    let redis = own_redis();
    let cache = complete(fixture(settings(&redis.url(0))).await).await;
    let version = cache.put("1").await;
    let deleted = new(cache.write(delete("2")).await);
    cache.ask::<()>("CONFIG", &["SET", "maxmemory", "1"]).await;
    let before = cache.dump().await;
    let written = cache.cache.write(&[put("1"), put("3")], Version::ZERO).await.expect("full is an answer");
    let written: Vec<_> = written.into_iter().map(|written| written.expect("each is answered")).collect();
    assert_eq!(written, [Written::Full, Written::Full]);
    assert_eq!(cache.dump().await, before);

    // A process that starts only now is needed most of all: it relays and settles, which makes room.
    let late = fixture(settings(&redis.url(0))).await;
    let shard = crate::support::shard_of("1");
    let granted = late.cache.claim_relay(shard, std::time::Duration::from_secs(1)).await;
    assert!(granted.is_ok_and(|granted| granted), "a claim is advice: without room for it the relay goes on");
    assert_eq!(late.cache.pending(shard, 0, version.get(), 10).await.unwrap().entries.len(), 1);

    assert_eq!(cache.acknowledge("1", version).await, 1, "else the relay would publish it again and again");
    assert_eq!(cache.indexes("1").await, (None, Some(version.to_string())));
    // The settled record is evictable at once, and Redis is over its bound: only the mark and the indexes are certain.
    assert_eq!(cache.settle("1", version).await, 1);
    assert_eq!(cache.settle("2", deleted).await, 1);
    assert_eq!(cache.cache.depths().await.unwrap().unsettled, 0);
    assert_eq!(cache.cache.depths().await.unwrap().outbox, 0);
    cache.ask::<()>("CONFIG", &["SET", "maxmemory", "512mb"]).await;
    cache.put("3").await;
}

#[tokio::test]
async fn a_wiped_redis_is_noticed_on_a_live_connection_met_again_and_used() {
    let cache = fresh().await;
    let (queue, writer) = cache::WriteQueue::new(cache.cache.clone(), 10);
    go(writer.run());
    let before = new(queue.write(put("1")).await.unwrap());
    cache.ask::<()>("FLUSHDB", &[] as &[&str]).await;
    assert_eq!(queue.write(put("1")).await.unwrap(), Written::StaleEpoch);
    assert_eq!(cache.ask::<u16>("GET", &["wb:shards"]).await, 16, "it was met before the answer came");
    let after = written_after_quiet(&queue, "1").await;
    assert!(after > before, "versions go on although `last` is lost");
}

#[tokio::test]
async fn a_reader_meets_a_wiped_redis_again_too() {
    let cache = fresh().await;
    let before = cache.cache.epoch();
    cache.ask::<()>("FLUSHDB", &[] as &[&str]).await;
    assert_eq!(cache.look("1").await, cache::Looked::Miss(None), "what was lost is not known: no lease");
    // Else nothing would be cached until the next write.
    until("the wiped Redis was met again", || async { cache.cache.epoch() > before }).await;
    until("writes are taken again", || async { matches!(cache.write(put("1")).await, Written::New(_)) }).await;
}

#[tokio::test]
async fn what_waits_is_counted_and_dated() {
    let cache = fresh().await;
    assert_eq!(cache.cache.depths().await.unwrap(), cache::Depths::default());
    let first = cache.put("1").await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    let second = cache.put("2").await;
    let mut other = put("3");
    other.entity = "orders".to_owned();
    let third = new(cache.write(other).await);
    let depths = cache.cache.depths().await.unwrap();
    assert_eq!((depths.outbox, depths.unsettled, depths.unsettled_oldest), (3, 0, None));
    assert_eq!(depths.outbox_oldest["users"], first, "exact, although scores are doubles");
    assert_eq!(depths.outbox_oldest["orders"], third);
    cache.acknowledge("1", first).await;
    cache.acknowledge("2", second).await;
    let depths = cache.cache.depths().await.unwrap();
    assert_eq!((depths.outbox, depths.unsettled, depths.unsettled_oldest), (1, 2, Some(first)));
}
