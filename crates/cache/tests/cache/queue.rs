//! The queue in front of the write script: one call carries what waits, nothing waits for company, and every writer gets
//! the answer to its own write.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use cache::{Cache, CacheError, Connector, WriteQueue, Writer, Written};
use tokio::task::JoinSet;

use crate::support::{Fixture, fixture, fresh, go, key, new, own_redis, put, record_key, settings, version};

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
    assert_eq!(new(queue.write(put("1")).await.unwrap()), version(before.get() + 16));
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
