//! A Redis without room: what it takes away (G4), and that it is met all the same (R15).

use cache::Written;

use crate::lives::epoch_key;
use crate::support::{complete, fixture, own_redis, put, record_key, settings};

/// G4: under pressure Redis takes what is settled, and nothing else, however long it is pressed.
#[tokio::test]
async fn g4_a_redis_without_room_evicts_only_what_mysql_holds() {
    let redis = own_redis();
    let cache = complete(fixture(settings(&redis.url(0))).await).await;
    cache.ask::<()>("CONFIG", &["SET", "maxmemory", "6mb"]).await;
    let large = |id: &str| {
        let mut write = put(id);
        write.content = crate::support::json(&format!(r#"{{"name":"{}"}}"#, "x".repeat(8_000)));
        write
    };
    let (mut waiting, mut settled, mut full) = (Vec::new(), Vec::new(), false);
    for n in 0..4000 {
        let id = n.to_string();
        let version = match cache.write(large(&id)).await {
            Written::New(version) => version,
            Written::Full => {
                full = true;
                break;
            }
            refused => panic!("{refused:?}"),
        };
        match n % 3 {
            0 => {
                cache.settle(&id, version).await;
                settled.push(id);
            }
            1 => {
                cache.acknowledge(&id, version).await;
                waiting.push(id);
            }
            _ => waiting.push(id),
        }
    }
    assert!(full, "Redis was never out of memory: this shows nothing");
    let mut evicted = 0;
    for id in &settled {
        evicted += u32::from(!cache.exists(&record_key(id)).await);
    }
    assert!(evicted > 0, "nothing was evicted: this shows nothing");
    for id in &waiting {
        assert!(cache.exists(&record_key(id)).await, "record {id} is gone, and MySQL does not hold it");
    }
}

/// Only a Redis that was met can be settled, which is what makes room.
#[tokio::test]
async fn r15_a_redis_without_room_begins_a_new_life_too() {
    let redis = own_redis();
    let cache = complete(fixture(settings(&redis.url(0))).await).await;
    let waiting = cache.put("1").await;
    cache.ask::<()>("HSET", &[epoch_key(0), "run_id".to_owned(), "of another server".to_owned()]).await;
    cache.ask::<()>("CONFIG", &["SET", "maxmemory", "1"]).await;
    let late = fixture(settings(&redis.url(0))).await;
    assert!(late.cache.epoch() > cache.cache.epoch());
    assert_eq!(late.incomplete().await, 16);
    late.settle("1", waiting).await;
    assert_eq!(late.indexes("1").await, (None, None));
}
