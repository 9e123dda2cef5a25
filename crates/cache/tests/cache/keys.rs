//! R5, step 3, and R7: an idempotency key has one version for as long as Redis remembers it, and says how far that has come.

use std::time::Duration;

use cache::{Idempotency, Logged, State, Write, Written};
use record::Version;

use crate::support::{Fixture, above, delete, fresh, fresh_with, json, key, logged, new, put, record_key};

const KEY: &str = "aa11";

fn keyed(id: &str) -> Write {
    Write { idempotency: Some(Idempotency { key: KEY.to_owned(), fingerprint: "bb22".to_owned() }), ..put(id) }
}

fn idem_key(id: &str) -> String {
    key(id, &format!("idem:users:{id}:{KEY}"))
}

fn known(id: &str, version: Version) -> Logged {
    Logged { key: Some(KEY.to_owned()), ..logged(id, version) }
}

async fn repeat(cache: &Fixture, id: &str) -> (Version, State, bool) {
    match cache.write(keyed(id)).await {
        Written::Repeated { version, state, content } => (version, state, content.is_some()),
        other => panic!("a key that is known was answered {other:?}"),
    }
}

async fn is_overtaken(cache: &Fixture, version: Version) -> bool {
    cache.write(keyed("1")).await == Written::Overtaken(version)
}

#[tokio::test]
async fn r5_k18_a_known_key_gets_the_version_of_its_first_request_and_writes_nothing() {
    let cache = fresh().await;
    let first = new(cache.write(keyed("1")).await);
    let before = cache.dump().await;
    assert_eq!(repeat(&cache, "1").await, (first, State::Cached, true), "to be published again with what stands there");
    assert_eq!(cache.dump().await, before, "a key that is known writes nothing");
    let life = cache.life(&idem_key("1")).await.expect("a key is forgotten one day");
    assert!((86_390_000..=86_400_000).contains(&life), "it is remembered for {life} ms");
}

#[tokio::test]
async fn r5_a_key_with_another_request_is_a_mismatch_and_writes_nothing() {
    let cache = fresh().await;
    cache.write(keyed("1")).await;
    let before = cache.dump().await;
    let mut other = keyed("1");
    other.idempotency.as_mut().unwrap().fingerprint = "cc33".to_owned();
    assert_eq!(cache.write(other).await, Written::Mismatch);
    assert_eq!(cache.dump().await, before);
}

#[tokio::test]
async fn r5_a_key_belongs_to_its_record_and_is_forgotten_in_its_time() {
    let cache = fresh_with(|settings| settings.idempotency_ttl_s = Duration::from_millis(50)).await;
    let first = new(cache.write(keyed("1")).await);
    assert!(new(cache.write(keyed("2")).await) != first, "the same key of another record is another key");
    crate::support::until("the key is forgotten", async || !cache.exists(&idem_key("1")).await).await;
    assert!(new(cache.write(keyed("1")).await) > first);
}

#[tokio::test]
async fn r7_what_a_known_key_says_is_what_became_of_its_version() {
    let cache = fresh().await;
    let first = new(cache.write(keyed("1")).await);
    let second = cache.put("1").await;
    assert!(is_overtaken(&cache, first).await, "overwritten, and neither is in the topic");
    cache.acknowledge("1", second).await;
    assert!(is_overtaken(&cache, first).await, "k50: the newer one is logged, and the table may refuse it");
    let third = cache.put("1").await;
    assert!(is_overtaken(&cache, first).await, "never logged from the key alone");
    cache.settle("1", third).await;
    assert_eq!(repeat(&cache, "1").await, (first, State::Persisted, false));
    cache.ask::<()>("DEL", &[record_key("1")]).await;
    assert!(is_overtaken(&cache, first).await, "k50: what has left the cache may have been a dead letter");
    // The first handler's late acknowledgement: the record has moved on, the key learns of it.
    assert_eq!(cache.cache.logged(&[known("1", first)]).await.unwrap(), 0);
    assert_eq!(repeat(&cache, "1").await, (first, State::Logged, false));
    assert!(cache.life(&idem_key("1")).await.is_some(), "it still is forgotten one day");
}

#[tokio::test]
async fn r6_an_acknowledgement_marks_record_and_key_and_never_another_version_of_the_key() {
    let cache = fresh().await;
    let first = new(cache.write(keyed("1")).await);
    assert_eq!(cache.cache.logged(&[known("1", above(first)), logged("2", first)]).await.unwrap(), 0);
    assert_eq!(repeat(&cache, "1").await, (first, State::Cached, true), "another version was acknowledged");
    assert_eq!(cache.cache.logged(&[known("2", first), known("1", first)]).await.unwrap(), 1);
    assert_eq!(cache.indexes("1").await, (None, Some(first.to_string())));
    assert_eq!(repeat(&cache, "1").await, (first, State::Logged, false));
}

#[tokio::test]
async fn r7_the_stored_content_comes_back_and_not_that_of_the_retry() {
    let cache = fresh().await;
    let first = new(cache.write(Write { content: json("{\"name\":\"first\"}"), ..keyed("1") }).await);
    let again = cache.write(Write { content: json("{\"name\":\"again\"}"), ..keyed("1") }).await;
    let content = Some(json("{\"name\":\"first\"}"));
    assert_eq!(again, Written::Repeated { version: first, state: State::Cached, content });
    let deleted = new(cache.write(Write { idempotency: keyed("2").idempotency, ..delete("2") }).await);
    let content = Some(cache::Content::Tombstone);
    assert_eq!(cache.write(keyed("2")).await, Written::Repeated { version: deleted, state: State::Cached, content });
}

#[tokio::test]
async fn r5_keyed_and_plain_writes_share_a_call_and_a_wrong_type_under_a_key_stops_no_other() {
    let cache = fresh().await;
    cache.ask::<()>("SADD", &[idem_key("2"), "x".to_owned()]).await;
    let writes = [put("1"), keyed("2"), keyed("3"), put("4"), keyed("3")];
    let written = cache.cache.write(&writes, Version::ZERO).await.expect("the script answers");
    let [
        Ok(Written::New(_)),
        Err(_),
        Ok(Written::New(third)),
        Ok(Written::New(_)),
        Ok(Written::Repeated { version, .. }),
    ] = &written[..]
    else {
        panic!("{written:?}");
    };
    assert_eq!(version, third, "one key, one version, also within a call");
    assert!(!cache.exists(&record_key("2")).await, "a refused write touches nothing");
}

#[tokio::test]
async fn r5_k18_one_key_under_concurrency_gives_one_version() {
    let cache = fresh().await;
    let writes: Vec<_> = (0..64).map(|_| keyed("1")).collect();
    let (one, other) = (cache.another("one"), cache.another("other"));
    let (one, other) = tokio::join!(one.write(&writes, Version::ZERO), other.write(&writes, Version::ZERO));
    let written: Vec<_> = one.unwrap().into_iter().chain(other.unwrap()).map(|written| written.unwrap()).collect();
    let issued: Vec<_> = written.iter().filter(|written| matches!(written, Written::New(_))).collect();
    assert_eq!(issued.len(), 1, "{issued:?}");
}
