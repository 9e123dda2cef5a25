//! What whoever asks for the fate of a write is told by the cache, and a key that is asked for without writing.

use cache::{Dead, HeldVersion, Idempotency, Newest, Place, Precondition, State, Write, Written};

use crate::support::{Fixture, above, fresh, id, key, new, put};

async fn newest(cache: &Fixture) -> Newest {
    cache.cache.newest("users", &id("1")).await.unwrap()
}

fn whole(held: HeldVersion) -> Newest {
    Newest { held: Some(held), whole: true }
}

#[tokio::test]
async fn a_version_is_told_with_its_state_and_place_and_what_was_lost_is_never_denied() {
    let cache = fresh().await;
    assert_eq!(newest(&cache).await, Newest { held: None, whole: true });
    let version = cache.put("1").await;
    let cached = HeldVersion { version, state: Some(State::Cached), place: None };
    assert_eq!(newest(&cache).await, whole(cached));
    cache.acknowledge("1", version).await;
    let logged = newest(&cache).await.held.unwrap();
    assert!(
        logged.state == Some(State::Logged) && matches!(logged.place, Some(Place { logged_at: 1.., .. })),
        "{logged:?}"
    );
    cache.settle("1", version).await;
    let before = cache.dump().await;
    let persisted = HeldVersion { state: Some(State::Persisted), ..logged };
    assert_eq!(newest(&cache).await, whole(persisted), "it still knows where it stood");
    assert_eq!(cache.dump().await, before, "a question leaves nothing behind");

    cache.ask::<()>("SET", &[key("1", "incomplete"), "1 1".to_owned()]).await;
    assert_eq!(newest(&cache).await, Newest { held: Some(persisted), whole: false });
    // R15: settled in another life; and a Redis that was emptied.
    cache.ask::<()>("HSET", &[crate::support::record_key("1"), "epoch".to_owned(), "1".to_owned()]).await;
    assert_eq!(newest(&cache).await, Newest { held: None, whole: false });
    cache.ask::<()>("DEL", &[key("1", "epoch")]).await;
    assert_eq!(newest(&cache).await, Newest { held: None, whole: false });
}

#[tokio::test]
async fn r14_what_is_awaited_has_no_state() {
    let cache = fresh().await;
    let below = cache.put("1").await;
    let refused = cache.put("1").await;
    let dead = Dead { entity: "users".to_owned(), id: id("1"), version: refused, in_vain: false };
    cache.cache.dead(&[dead]).await.unwrap();
    let held = newest(&cache).await.held.unwrap();
    assert_eq!((held.version, held.state), (below, None));
}

#[tokio::test]
async fn r7_a_key_is_asked_for_and_nothing_is_written() {
    let cache = fresh().await;
    let known = |key: &str| {
        let idempotency = Some(Idempotency { key: key.to_owned(), fingerprint: "ab".to_owned() });
        Write { precondition: Some(Precondition::Known), idempotency, ..put("1") }
    };
    assert_eq!(cache.write(known("cd")).await, Written::Conflict(None));
    let first = Write { precondition: None, ..known("cd") };
    let version = new(cache.write(first).await);
    let before = cache.dump().await;
    assert!(matches!(cache.write(known("cd")).await, Written::Repeated { version: told, .. } if told == version));
    assert_eq!(cache.write(known("ef")).await, Written::Conflict(None));
    let other = Idempotency { key: "cd".to_owned(), fingerprint: "00".to_owned() };
    assert_eq!(cache.write(Write { idempotency: Some(other), ..known("cd") }).await, Written::Mismatch);
    assert_eq!(cache.dump().await, before, "something was written");
    assert!(above(version) > version);
}
