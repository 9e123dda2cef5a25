//! Looking at the cache from outside: everything is seen, nothing is changed, and a Redis that has changed is not believed.

use std::collections::BTreeMap;

use cache::{Content, Dead, Found, FoundRecord, Inspector, Scan, State};

use crate::support::{
    ANN, Fixture, delete, empty_database, fresh, id, json, key, new, put, record_key, settings, version,
};

async fn inspector(cache: &Fixture) -> Inspector {
    Inspector::connect(&cache.settings).await.expect("it connects")
}

/// Everything that a scan finds of users, by id.
async fn scanned(cache: &Fixture) -> BTreeMap<String, Found> {
    let (mut inspector, mut at, mut all) = (inspector(cache).await, Some(Scan::default()), BTreeMap::new());
    while let Some(scan) = at {
        let (found, next) = inspector.scan("users", &scan).await.expect("it scans");
        all.extend(found.into_iter().map(|found| (found.id.clone(), found)));
        at = next;
    }
    all
}

#[tokio::test]
async fn a_scan_finds_every_record_in_its_state_and_every_member_without_one_and_changes_nothing() {
    let cache = fresh().await;
    for n in 0..1200 {
        cache.put(&format!("n{n}")).await;
    }
    let (logged, settled) = (cache.put("logged").await, cache.put("settled").await);
    cache.acknowledge("logged", logged).await;
    cache.settle("settled", settled).await;
    let gone = new(cache.write(delete("gone")).await);
    let mut other = put("stranger");
    other.entity = "users2".to_owned();
    cache.write(other).await;
    let () = cache.ask("ZADD", &[&key("lost", "unsettled"), "16", "users:lost"]).await;
    // What a dead letter has uncovered (R14) is no record, and no member without one.
    cache.put("awaited").await;
    let refused = cache.put("awaited").await;
    let dead = Dead { entity: "users".to_owned(), id: id("awaited"), version: refused, in_vain: false };
    cache.cache.dead(&[dead]).await.unwrap();
    let before = cache.dump().await;
    let all = scanned(&cache).await;
    assert_eq!(cache.dump().await, before, "a look has changed something");
    assert_eq!(all.len(), 1204, "1200 records, three special ones, and a member without one");
    let record = |version, state, content| Some(FoundRecord { version, state, content: Ok(content), stale: false });
    let found =
        |id: &str, record, in_outbox, in_unsettled| Found { id: id.to_owned(), record, in_outbox, in_unsettled };
    assert_eq!(all["logged"], found("logged", record(logged, State::Logged, json(ANN)), false, true));
    assert_eq!(all["settled"], found("settled", record(settled, State::Persisted, json(ANN)), false, false));
    assert_eq!(all["gone"], found("gone", record(gone, State::Cached, Content::Tombstone), true, false));
    assert_eq!(all["lost"], found("lost", None, false, true));
    let some = inspector(&cache).await.look("users", &["n7", "lost", "nobody"]).await.expect("it looks");
    assert_eq!(some.len(), 2);
    assert_eq!((&some["n7"], &some["lost"]), (&all["n7"], &all["lost"]));
}

#[tokio::test]
async fn a_record_that_was_persisted_in_another_life_of_redis_is_stale() {
    let cache = fresh().await;
    let version = cache.put("1").await;
    cache.settle("1", version).await;
    cache.put("2").await;
    let () = cache.ask("HSET", &[&record_key("1"), "epoch", "0"]).await;
    let all = scanned(&cache).await;
    let stale: Vec<_> = all.values().map(|found| found.record.as_ref().expect("a record").stale).collect();
    assert_eq!(stale, [true, false]);
}

#[tokio::test]
async fn r18_the_heads_are_the_oldest_of_all_shards_and_doubts_are_said() {
    let cache = fresh().await;
    let mut inspector = inspector(&cache).await;
    let heads = inspector.heads().await.expect("it looks");
    assert_eq!((heads.outbox, heads.unsettled, heads.doubts), (None, None, Vec::new()));
    let (first, second) = (cache.put("1").await, cache.put("2").await);
    for id in ["3", "4", "5"] {
        let version = cache.put(id).await;
        cache.acknowledge(id, version).await;
    }
    cache.acknowledge("1", first).await;
    let heads = inspector.heads().await.expect("it looks");
    assert_eq!((heads.outbox, heads.unsettled), (Some(second), Some(first)));
    assert!(heads.unsettled > Some(version(1 << 50)), "a version is exact");
    let () = cache.ask("SET", &["wb:{09}:incomplete", "1"]).await;
    let () = cache.ask("DEL", &["wb:{02}:epoch"]).await;
    let doubts = inspector.heads().await.expect("it looks").doubts;
    assert_eq!(doubts.len(), 2, "{doubts:?}");
    assert!(doubts[0].starts_with("shard 2: Redis has changed"), "{doubts:?}");
    assert!(doubts[1].starts_with("shard 9: the cache is incomplete"), "{doubts:?}");
}

#[tokio::test]
async fn a_redis_that_nobody_has_met_is_left_as_it_is() {
    let settings = settings(&empty_database());
    assert!(Inspector::connect(&settings).await.is_err());
    let mut plain = crate::support::plain_connection(settings.redis_url.expose()).await;
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut plain).await.expect("it answers");
    assert!(keys.is_empty(), "a look has met Redis in the services' place");
}
