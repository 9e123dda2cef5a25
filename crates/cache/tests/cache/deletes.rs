//! R9: a delete is a write of a tombstone, which stays in the cache until it is settled and its TTL is over.

use cache::{Cached, Content, State};

use crate::support::{delete, fresh, new, record_key, shard_of};

#[tokio::test]
async fn a_delete_is_a_write_of_a_tombstone() {
    let cache = fresh().await;
    let put = cache.put("1").await;
    let version = new(cache.write(delete("1")).await);
    assert!(version > put);
    assert_eq!(cache.hit("1").await, Cached { version, state: State::Cached, content: Content::Tombstone });
    let record = cache.stands("1").await;
    assert_eq!((record["deleted"].as_str(), record["payload"].as_str()), ("1", ""), "nothing of the record is left");
    assert_eq!(cache.indexes("1").await, (Some(version.to_string()), None));
}

#[tokio::test]
async fn a_record_that_was_never_there_can_be_deleted() {
    let cache = fresh().await;
    let version = new(cache.write(delete("1")).await);
    assert_eq!(cache.hit("1").await.version, version);
}

#[tokio::test]
async fn a_tombstone_stays_until_it_is_settled_and_its_ttl_is_over() {
    let cache = fresh().await;
    let version = new(cache.write(delete("1")).await);
    cache.acknowledge("1", version).await;
    assert_eq!(cache.life(&record_key("1")).await, None);
    cache.settle("1", version).await;
    assert!(cache.life(&record_key("1")).await.is_some());
    let tombstone = Cached { version, state: State::Persisted, content: Content::Tombstone };
    assert_eq!(cache.hit("1").await, tombstone, "a reader needs no row to know that it is gone");
}

#[tokio::test]
async fn a_tombstone_is_relayed_as_one() {
    let cache = fresh().await;
    let version = new(cache.write(delete("1")).await);
    let pending = cache.cache.pending(shard_of("1"), 0, version.get(), 10).await.unwrap();
    assert_eq!(pending.entries[0].content, Content::Tombstone);
}

#[tokio::test]
async fn a_deleted_record_can_be_written_again() {
    let cache = fresh().await;
    cache.write(delete("1")).await;
    cache.put("1").await;
    assert!(matches!(cache.hit("1").await.content, Content::Json { .. }));
}
