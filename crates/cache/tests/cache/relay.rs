//! R10, the cache's half: what waits for the topic, oldest first, and who looks after it.

use std::time::{Duration, Instant};

use cache::PendingEntry;
use record::Version;

use crate::support::{Fixture, fresh, id, json, key, neighbours, new, put, record_key, shard_of, until};

async fn written(cache: &Fixture, ids: &[String]) -> Vec<Version> {
    let mut versions = Vec::new();
    for id in ids {
        versions.push(cache.put(id).await);
    }
    versions
}

async fn pending(cache: &Fixture, until: u64, most: usize) -> Vec<String> {
    let entries = cache.cache.pending(shard_of(&neighbours(1)[0]), 0, until, most).await.expect("the script answers");
    entries.entries.into_iter().map(|entry| entry.id.as_str().to_owned()).collect()
}

#[tokio::test]
async fn an_entry_carries_everything_that_the_event_needs() {
    let cache = fresh().await;
    let mut write = put("1");
    write.trace = Some("00-trace-01".to_owned());
    let version = new(cache.write(write).await);
    let entries = cache.cache.pending(shard_of("1"), 0, version.get(), 10).await.unwrap();
    let trace = Some("00-trace-01".to_owned());
    let content = json(crate::support::ANN);
    assert_eq!(entries.entries, [PendingEntry { entity: "users".to_owned(), id: id("1"), version, content, trace }]);
}

#[tokio::test]
async fn an_entry_without_a_trace_has_none() {
    let cache = fresh().await;
    let version = cache.put("1").await;
    assert_eq!(cache.cache.pending(shard_of("1"), 0, version.get(), 10).await.unwrap().entries[0].trace, None);
}

#[tokio::test]
async fn the_oldest_come_first() {
    let cache = fresh().await;
    let ids = neighbours(5);
    written(&cache, &ids).await;
    let renewed = cache.put(&ids[1]).await;
    let expected: Vec<_> = [0, 2, 3, 4, 1].map(|n: usize| ids[n].clone()).into();
    assert_eq!(pending(&cache, renewed.get(), 100).await, expected);
}

#[tokio::test]
async fn none_is_younger_than_asked_for() {
    let cache = fresh().await;
    let ids = neighbours(3);
    let versions = written(&cache, &ids).await;
    assert_eq!(pending(&cache, versions[1].get(), 100).await, ids[..2]);
    assert_eq!(pending(&cache, versions[1].get() - 1, 100).await, ids[..1]);
    assert_eq!(pending(&cache, versions[0].get() - 1, 100).await, [""; 0]);
}

#[tokio::test]
async fn no_more_come_than_asked_for() {
    let cache = fresh().await;
    let ids = neighbours(5);
    let newest = written(&cache, &ids).await[4];
    assert_eq!(pending(&cache, newest.get(), 2).await, ids[..2]);
}

/// Redis does nothing else while it reads a page, and the page must be there within T.
#[tokio::test]
async fn a_page_of_large_records_ends_early_and_the_next_begins_behind_it() {
    let cache = fresh().await;
    let ids = neighbours(3);
    let mut newest = Version::ZERO;
    for id in &ids {
        let mut write = put(id);
        write.content = json(&format!(r#"{{"name":"{}"}}"#, "x".repeat(700_000)));
        newest = new(cache.write(write).await);
    }
    let shard = shard_of(&ids[0]);
    let first = cache.cache.pending(shard, 0, newest.get(), 100).await.unwrap();
    assert_eq!(first.entries.len(), 2, "a page ends once it holds a mebibyte");
    let second = cache.cache.pending(shard, first.behind.unwrap(), newest.get(), 100).await.unwrap();
    assert_eq!(second.entries.iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>(), [ids[2].as_str()]);
    let third = cache.cache.pending(shard, second.behind.unwrap(), newest.get(), 100).await.unwrap();
    assert_eq!(third.behind, None, "nothing is left");
}

#[tokio::test]
async fn what_is_acknowledged_does_not_come_again() {
    let cache = fresh().await;
    let ids = neighbours(3);
    let versions = written(&cache, &ids).await;
    cache.acknowledge(&ids[0], versions[0]).await;
    assert_eq!(pending(&cache, versions[2].get(), 100).await, ids[1..]);
}

#[tokio::test]
async fn an_entry_without_a_record_behind_it_is_dropped() {
    let cache = fresh().await;
    let ids = neighbours(2);
    let newest = written(&cache, &ids).await[1];
    cache.ask::<()>("DEL", &[record_key(&ids[0])]).await;
    assert_eq!(pending(&cache, newest.get(), 100).await, ids[1..]);
    assert_eq!(cache.indexes(&ids[0]).await, (None, None), "there is nothing to bring to the topic");
}

/// What somebody else's hand has put there must not keep the rest of the shard from the topic.
#[tokio::test]
async fn an_entry_that_cannot_be_read_stays_and_stops_no_other() {
    let cache = fresh().await;
    let ids = neighbours(4);
    let newest = written(&cache, &ids).await[3];
    cache.ask::<()>("DEL", &[record_key(&ids[0])]).await;
    cache.ask::<()>("SET", &[record_key(&ids[0]), "of somebody else".to_owned()]).await;
    cache.ask::<()>("HSET", &[record_key(&ids[1]), "version".to_owned(), "new".to_owned()]).await;
    cache.ask::<()>("HDEL", &[record_key(&ids[2]), "schema".to_owned()]).await;
    assert_eq!(pending(&cache, newest.get(), 100).await, ids[3..]);
    assert_eq!(cache.cache.depths().await.unwrap().outbox, 4);
}

#[tokio::test]
async fn a_claim_keeps_other_instances_away_until_it_is_over() {
    let cache = fresh().await;
    let (other, shard) = (cache.another("that"), shard_of("1"));
    let time = Duration::from_millis(300);
    let since = Instant::now();
    assert!(cache.cache.claim_relay(shard, time).await.unwrap());
    assert!(!other.claim_relay(shard, time).await.unwrap(), "two relays on one shard");
    until("the claim is over", || async { other.claim_relay(shard, time).await.unwrap() }).await;
    assert!(since.elapsed() >= time, "it was over after {:?}", since.elapsed());
}

#[tokio::test]
async fn a_claim_holds_for_its_shard_alone() {
    let cache = fresh().await;
    let time = Duration::from_secs(10);
    let mut shards = cache::Shard::all();
    let (first, second) = (shards.next().unwrap(), shards.next().unwrap());
    assert!(cache.cache.claim_relay(first, time).await.unwrap());
    assert!(cache.another("that").claim_relay(second, time).await.unwrap());
}

/// A relay with more than one batch of work goes on: its own claim does not keep it away, it is renewed.
#[tokio::test]
async fn an_instance_renews_its_own_claim() {
    let cache = fresh().await;
    let shard = shard_of("1");
    assert!(cache.cache.claim_relay(shard, Duration::from_secs(1)).await.unwrap());
    assert!(cache.cache.claim_relay(shard, Duration::from_secs(10)).await.unwrap());
    let rest = cache.life(&key("1", "relaying")).await.expect("a claim ends");
    assert!(rest > 5000, "{rest} ms");
}
