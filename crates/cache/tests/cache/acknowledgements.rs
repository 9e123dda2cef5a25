//! R6, second half: what the topic has acknowledged moves from the outbox to the unsettled, if it still is the newest.

use cache::State;
use record::Version;

use crate::support::{below, fresh, key, logged, neighbours, record_key};

#[tokio::test]
async fn an_acknowledged_version_moves_from_the_outbox_to_the_unsettled() {
    let cache = fresh().await;
    let version = cache.put("1").await;
    assert_eq!(cache.acknowledge("1", version).await, 1);
    let record = cache.stands("1").await;
    let coordinates = ["state", "partition", "offset", "logged_at"].map(|field| record[field].as_str());
    assert_eq!(coordinates, ["logged", "3", "17", "1000000"]);
    assert_eq!(cache.indexes("1").await, (None, Some(version.to_string())));
    assert_eq!(cache.state("1").await, State::Logged);
    assert_eq!(cache.life(&record_key("1")).await, None, "an unsettled record must never expire (G4)");
}

#[tokio::test]
async fn an_acknowledgement_of_an_older_version_does_nothing() {
    let cache = fresh().await;
    let older = cache.put("1").await;
    cache.put("1").await;
    let before = cache.dump().await;
    assert_eq!(cache.acknowledge("1", older).await, 0);
    assert_eq!(cache.dump().await, before);
}

#[tokio::test]
async fn r16_r18_what_is_overwritten_waits_for_the_topic_alone_and_not_by_its_first_version_for_ever() {
    let cache = fresh().await;
    let first = cache.put("1").await;
    cache.acknowledge("1", first).await;
    let second = cache.put("1").await;
    let waits = "a record that is overwritten faster than acknowledged keeps doubts and purges waiting";
    assert_eq!(cache.indexes("1").await, (Some(second.to_string()), None), "{waits}");
    let third = cache.put("1").await;
    cache.acknowledge("1", second).await;
    assert_eq!(cache.indexes("1").await, (Some(third.to_string()), None));
    cache.acknowledge("1", third).await;
    assert_eq!(cache.indexes("1").await, (None, Some(third.to_string())));
}

#[tokio::test]
async fn a_second_acknowledgement_does_nothing() {
    let cache = fresh().await;
    let version = cache.put("1").await;
    cache.acknowledge("1", version).await;
    let before = cache.dump().await;
    let again = cache::Logged { offset: 99, ..logged("1", version) };
    assert_eq!(cache.cache.logged(&[again]).await.unwrap(), 0);
    assert_eq!(cache.dump().await, before);
}

/// The relay's acknowledgement may come long after the persister has settled the version.
#[tokio::test]
async fn an_acknowledgement_of_a_persisted_version_does_nothing() {
    let cache = fresh().await;
    let version = cache.put("1").await;
    cache.settle("1", version).await;
    let before = cache.dump().await;
    assert_eq!(cache.acknowledge("1", version).await, 0, "it would wait for MySQL for ever");
    assert_eq!(cache.dump().await, before);
}

#[tokio::test]
async fn an_acknowledgement_of_a_record_that_has_left_does_nothing() {
    let cache = fresh().await;
    let version = cache.put("1").await;
    cache.ask::<()>("DEL", &[record_key("1"), key("1", "outbox")]).await;
    let before = cache.dump().await;
    assert_eq!(cache.acknowledge("1", version).await, 0);
    assert_eq!(cache.dump().await, before);
}

#[tokio::test]
async fn many_acknowledgements_are_one_call() {
    let cache = fresh().await;
    let mut all = Vec::new();
    for n in 0..100 {
        let id = n.to_string();
        let version = cache.put(&id).await;
        all.push(logged(&id, if n % 3 == 0 { below(version) } else { version }));
    }
    assert_eq!(cache.cache.logged(&all).await.unwrap(), 66);
    let depths = cache.cache.depths().await.unwrap();
    assert_eq!((depths.outbox, depths.unsettled), (34, 66));
}

#[tokio::test]
async fn no_acknowledgements_are_no_error() {
    assert_eq!(fresh().await.cache.logged(&[]).await.unwrap(), 0);
}

#[tokio::test]
async fn outbox_and_unsettled_are_in_the_order_of_versions() {
    let cache = fresh().await;
    let ids = neighbours(5);
    let mut versions: Vec<Version> = Vec::new();
    for id in &ids {
        versions.push(cache.put(id).await);
    }
    let in_order: Vec<_> = ids.iter().map(|id| format!("users:{id}")).collect();
    let stands: Vec<String> = cache.ask("ZRANGE", &[&key(&ids[0], "outbox"), "0", "-1"]).await;
    assert_eq!(stands, in_order);
    for n in [3, 0, 4, 1, 2] {
        cache.acknowledge(&ids[n], versions[n]).await;
    }
    let stands: Vec<String> = cache.ask("ZRANGE", &[&key(&ids[0], "unsettled"), "0", "-1"]).await;
    assert_eq!(stands, in_order, "by version, not by when they were acknowledged");
}

#[tokio::test]
async fn a_key_of_the_wrong_type_stops_no_other_acknowledgement() {
    let cache = fresh().await;
    let mut all = Vec::new();
    for id in ["1", "2", "3"] {
        all.push(logged(id, cache.put(id).await));
    }
    cache.ask::<()>("SET", &[record_key("2"), "of somebody else".to_owned()]).await;
    assert_eq!(cache.cache.logged(&all).await.unwrap(), 2);
    assert!(cache.indexes("3").await.1.is_some());
}
