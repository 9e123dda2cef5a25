//! The queue in front of the write script: one call carries what waits, nothing waits for company, and every writer gets
//! the answer to its own write.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use cache::{Cache, CacheError, Connector, WriteQueue, Writer, Written};
use tokio::task::JoinSet;

use crate::support::{
    Fixture, fixture, fresh, go, json, key, new, own_redis, put, record_key, settings, version, written_after_quiet,
};

fn queue(cache: &Fixture, most: usize) -> (WriteQueue, Writer) {
    WriteQueue::new(cache.cache.clone(), most)
}

/// How often a script was called, as Redis counts.
async fn script_calls(cache: &Fixture) -> u64 {
    let info: redis::InfoDict = cache.ask("INFO", &["commandstats"]).await;
    let line: Option<String> = info.get("cmdstat_evalsha");
    line.map_or(0, |line| line.split([',', '=']).nth(1).unwrap().parse().unwrap())
}

#[tokio::test]
async fn one_script_call_carries_what_waits_and_each_writer_gets_its_own_answer() {
    let redis = own_redis();
    let cache = fixture(settings(&redis.url(0))).await;
    let (queue, writer) = queue(&cache, 10_000);
    go(writer.run());
    queue.write(put("first")).await.expect("it is answered");
    let before = script_calls(&cache).await;
    let mut writers = JoinSet::new();
    for n in 0..1000 {
        let queue = queue.clone();
        writers.spawn(async move {
            let id = format!("w{n}");
            let mut write = put(&id);
            // One in four is refused: answers must not slip.
            write.mine += if n % 4 == 0 { 10_000_000 } else { 0 };
            (n, id, queue.write(write).await.expect("it is answered"))
        });
    }
    for (n, id, written) in writers.join_all().await {
        if n % 4 == 0 {
            assert_eq!(written, Written::Skew, "{id}");
        } else {
            let version = new(written).to_string();
            assert_eq!(cache.stands(&id).await.get("version"), Some(&version), "{id} got another's answer");
        }
    }
    let calls = script_calls(&cache).await - before;
    assert!((16..=32).contains(&calls), "1000 waiting writes of at most 64 to a call took {calls} calls");
}

#[tokio::test]
async fn a_write_alone_does_not_wait_for_company() {
    let redis = own_redis();
    let cache = fixture(settings(&redis.url(0))).await;
    let (queue, writer) = queue(&cache, 10);
    go(writer.run());
    queue.write(put("0")).await.expect("it is answered");
    let before = script_calls(&cache).await;
    for n in 1..=20 {
        queue.write(put(&n.to_string())).await.expect("it is answered");
    }
    assert_eq!(script_calls(&cache).await - before, 20);
}

#[tokio::test]
async fn past_its_bound_the_queue_refuses_at_once_and_sends_nothing() {
    let cache = fresh().await;
    let (queue, writer) = queue(&cache, 2);
    let mut waiting: Vec<_> = ["1", "2"].map(|id| Box::pin(queue.write(put(id)))).into();
    for write in &mut waiting {
        assert!(futures_poll(write).await.is_pending());
    }
    let refused = queue.write(put("3")).await;
    assert!(matches!(refused, Err(CacheError::Saturated)), "{refused:?}");
    go(writer.run());
    for write in waiting {
        new(write.await.expect("what had room is written"));
    }
    assert!(!cache.exists(&record_key("3")).await);
}

/// Polls once.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::future::poll_fn(|context| Poll::Ready(std::pin::Pin::new(&mut *future).poll(context))).await
}

#[tokio::test]
async fn a_write_that_nobody_waits_for_any_more_is_not_sent() {
    let cache = fresh().await;
    let (queue, writer) = queue(&cache, 10);
    let mut abandoned = Box::pin(queue.write(put("abandoned")));
    assert!(futures_poll(&mut abandoned).await.is_pending());
    drop(abandoned);
    go(writer.run());
    new(queue.write(put("waited-for")).await.expect("it is answered"));
    assert!(!cache.exists(&record_key("abandoned")).await, "its client has another answer by now");
}

/// The version of a write is above all that this process has handed out, although Redis forgot them.
#[tokio::test]
async fn the_process_remembers_the_highest_version_it_has_seen() {
    let cache = fresh().await;
    let (queue, writer) = queue(&cache, 10);
    go(writer.run());
    let ahead = service::clock::now_micros() + 3_600_000_000;
    cache.ask::<()>("SET", &[key("1", "last"), ahead.to_string()]).await;
    let before = new(queue.write(put("1")).await.unwrap());
    assert_eq!(queue.seen(), before.get(), "known before the answer is used");
    cache.ask::<()>("FLUSHDB", &[] as &[&str]).await;
    assert_eq!(queue.write(put("1")).await.unwrap(), Written::StaleEpoch);
    assert_eq!(written_after_quiet(&queue, "1").await, version(before.get() + 16));
}

/// `k40`: the first call learns of the change and meets Redis again; what stands behind it goes out in the new epoch at once.
#[tokio::test]
async fn r2_k40_what_stands_in_the_queue_when_redis_changes_gets_no_version_for_t() {
    let cache = fresh().await;
    let (queue, writer) = queue(&cache, 1000);
    cache.ask::<()>("FLUSHDB", &[] as &[&str]).await;
    let mut waiting: Vec<_> = (0..200).map(|n| Box::pin(queue.write(put(&n.to_string())))).collect();
    for write in &mut waiting {
        assert!(futures_poll(write).await.is_pending());
    }
    go(writer.run());
    let (mut stale, mut quiet) = (0, 0);
    for write in waiting {
        match write.await.expect("it is answered") {
            Written::StaleEpoch => stale += 1,
            Written::Quiet => quiet += 1,
            other => panic!("right after the change: {other:?}"),
        }
    }
    assert_eq!((stale, quiet), (64, 136), "the first call was of the old epoch, those behind it of the new one");
    written_after_quiet(&queue, "1").await;
}

/// What lies between two servers for longer than T has no handler any more.
#[tokio::test]
async fn one_script_call_carries_a_megabyte_at_most_and_what_is_larger_goes_alone() {
    let redis = own_redis();
    let cache = fixture(settings(&redis.url(0))).await;
    let (queue, writer) = queue(&cache, 100);
    let large = |n: usize, bytes: usize| {
        let mut write = put(&n.to_string());
        write.content = json(&format!(r#"{{"name":"{}"}}"#, "x".repeat(bytes)));
        write
    };
    // So that Redis knows the script.
    cache.put("first").await;
    let before = script_calls(&cache).await;
    let sizes = [300_000, 300_000, 300_000, 300_000, 2_000_000, 300_000, 300_000];
    let writes = sizes.iter().enumerate().map(|(n, bytes)| Box::pin(queue.write(large(n, *bytes))));
    let mut waiting: Vec<_> = writes.collect();
    for write in &mut waiting {
        assert!(futures_poll(write).await.is_pending());
    }
    go(writer.run());
    for write in waiting {
        let answer = write.await.expect("it is answered");
        // On a slow machine the last ones were read too long ago by then; they were sent all the same.
        assert!(matches!(answer, Written::New(_) | Written::Late), "{answer:?}");
    }
    // Three; one, since the next is too large for any; that one; two.
    assert_eq!(script_calls(&cache).await - before, 4);
}

#[tokio::test]
async fn every_waiting_writer_hears_of_a_failed_call() {
    let settings = settings("redis://127.0.0.1:1/0");
    let connector = Connector::new(&settings, Arc::new(|_| {})).unwrap();
    let (queue, writer) = WriteQueue::new(Cache::new(connector, settings, "this"), 100);
    go(writer.run());
    let mut writers = JoinSet::new();
    for n in 0..70 {
        let queue = queue.clone();
        writers.spawn(async move { queue.write(put(&n.to_string())).await });
    }
    for told in writers.join_all().await {
        assert!(matches!(told, Err(CacheError::Away)), "{told:?}");
    }
}

#[tokio::test]
async fn what_waits_when_the_writer_ends_may_have_happened_and_what_comes_later_has_not() {
    let cache = fresh().await;
    let (queue, writer) = queue(&cache, 10);
    let mut waiting = Box::pin(queue.write(put("1")));
    assert!(futures_poll(&mut waiting).await.is_pending());
    drop(writer);
    let told = waiting.await;
    assert!(matches!(told, Err(CacheError::Unanswered(_))), "{told:?}");
    let told = queue.write(put("2")).await;
    assert!(matches!(told, Err(CacheError::Away)), "{told:?}");
}

#[tokio::test]
async fn the_writer_ends_when_no_queue_is_left_and_everything_is_answered() {
    let cache = fresh().await;
    let (queue, writer) = queue(&cache, 10);
    let ended = go(writer.run());
    new(queue.write(put("1")).await.unwrap());
    drop(queue);
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("it ends within 20 s").unwrap();
}
