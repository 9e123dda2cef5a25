//! R11: what the sweep sees of the unsettled.

use cache::State;

use crate::support::{fresh, record_key};

/// R11: what the sweep is told of an entry, and what becomes of it.
#[tokio::test]
async fn r11_an_unsettled_entry_tells_how_far_its_record_has_come() {
    let cache = fresh().await;
    let version = cache.put("1").await;
    cache.acknowledge("1", version).await;
    let shard = crate::support::shard_of("1");
    let page = cache.cache.unsettled(shard, 0, version.get(), 10).await.unwrap();
    let [entry] = page.entries.as_slice() else { panic!("one entry: {page:?}") };
    assert_eq!(
        (entry.version, entry.state, entry.partition, entry.logged_at),
        (version, Some(State::Logged), 3, 1_000_000)
    );
    assert_eq!(cache.cache.unsettled(shard, 0, version.get() - 1, 10).await.unwrap().behind, None, "too young");
    let [record] = &cache.cache.behind(&page.entries).await.unwrap()[..] else { panic!("its record") };
    assert_eq!((record.version, &record.content), (version, &crate::support::json(crate::support::ANN)));

    let again = cache::Logged { offset: 90, partition: 4, at: 2_000_000, ..crate::support::logged("1", version) };
    assert_eq!(cache.cache.produced_again(std::slice::from_ref(&again)).await.unwrap(), 1);
    let told = cache.cache.unsettled(shard, 0, version.get(), 10).await.unwrap();
    assert_eq!((told.entries[0].partition, told.entries[0].logged_at), (4, 2_000_000));

    let newer = cache.put("1").await;
    assert_eq!(cache.cache.produced_again(&[again]).await.unwrap(), 0, "it has moved on");
    assert!(cache.cache.behind(&page.entries).await.unwrap().is_empty());
    assert!(cache.cache.unsettled(shard, 0, newer.get(), 10).await.unwrap().entries.is_empty(), "it is the relay's");
    cache.acknowledge("1", newer).await;
    cache.ask::<()>("DEL", &[record_key("1")]).await;
    assert!(cache.cache.unsettled(shard, 0, newer.get(), 10).await.unwrap().entries.is_empty());
    assert_eq!(cache.indexes("1").await.1, None, "nothing is behind it");
}
