//! R2: no version from a clock that is ahead, and no script after its handler gave up. The edges are exact: all writes of
//! one call have the same clock of Redis, which the answer tells.

use std::time::Duration;

use cache::{Connector, SHARDS, Write, WriteQueue, Written};
use record::Version;
use service::clock;

use crate::support::{
    Fixture, dependency, empty_database, fixture, fresh, fresh_with, go, id, put, settings, shard, until,
};

const D: i64 = 50_000;
const T: i64 = 500_000;

/// 64 writes whose clocks lie closely around `away` from Redis', and of each: its clock minus Redis', and its answer.
async fn around(cache: &Fixture, away: i64) -> Vec<(i64, Written)> {
    let here = clock::now_micros();
    let mine = |n: i64| here.checked_add_signed(away - 40 + n * 5).unwrap();
    let writes: Vec<_> = (0..64).map(|n| Write { mine: mine(n), ..put("1") }).collect();
    let written = cache.cache.write(&writes, Version::ZERO).await.expect("the script answers");
    let now = cache.last_reading().now;
    let ahead = writes.iter().map(|write| write.mine.cast_signed() - now.cast_signed());
    ahead.zip(written.into_iter().map(|written| written.expect("each is answered"))).collect()
}

/// Every answer is `expected`, and the last microsecond on either side of `edge` has been seen.
async fn holds_up_to(cache: &Fixture, edge: i64, expected: impl Fn(i64) -> &'static str) {
    let (mut inside, mut outside) = (false, false);
    for _ in 0..2000 {
        for (ahead, written) in around(cache, edge).await {
            let word = match written {
                Written::New(_) => "new",
                Written::Skew => "skew",
                Written::Late => "late",
                other => panic!("{other:?}"),
            };
            assert_eq!(word, expected(ahead), "a clock {ahead} us ahead of Redis'");
            (inside, outside) = (inside || ahead == edge, outside || ahead == edge + edge.signum());
        }
        if inside && outside {
            return;
        }
    }
    panic!("the edge was not met: on it {inside}, beyond it {outside}");
}

#[tokio::test]
async fn a_clock_that_is_ahead_by_more_than_d_is_skew() {
    holds_up_to(&fresh().await, D, |ahead| if ahead > D { "skew" } else { "new" }).await;
}

#[tokio::test]
async fn a_request_under_way_for_more_than_t_less_d_is_late() {
    holds_up_to(&fresh().await, D - T, |ahead| if -ahead > T - D { "late" } else { "new" }).await;
}

#[tokio::test]
async fn d_and_t_are_settings() {
    let cache = fresh_with(|settings| settings.clock_skew_ms = std::time::Duration::from_millis(100)).await;
    holds_up_to(&cache, 100_000, |ahead| if ahead > 100_000 { "skew" } else { "new" }).await;
    holds_up_to(&cache, -400_000, |ahead| if ahead < -400_000 { "late" } else { "new" }).await;
}

/// `k40`. Each shard was found changed at another moment around T ago, and one call asks them all.
#[tokio::test]
async fn r2_k40_no_version_is_issued_for_t_after_redis_was_found_changed() {
    let cache = fresh().await;
    let of = |wanted: u16| (0u32..).map(|n| n.to_string()).find(|id| shard(id) == wanted).expect("some id");
    let ids: Vec<_> = (0..SHARDS).map(of).collect();
    let t = T.unsigned_abs();
    let around = "local time, changed = redis.call('TIME'), {}
        for n, key in ipairs(KEYS) do
          changed[n] = time[1] * 1000000 + time[2] - ARGV[1] + n * 100
          redis.call('HSET', key, 'changed_at', string.format('%.0f', changed[n]))
        end
        return changed";
    let mut set = vec![around.to_owned(), SHARDS.to_string()];
    set.extend((0..SHARDS).map(|shard| format!("wb:{{{shard:02}}}:epoch")).chain([t.to_string()]));
    let (mut inside, mut outside) = (false, false);
    for _ in 0..2000 {
        let changed: Vec<u64> = cache.ask("EVAL", &set).await;
        let writes: Vec<_> = ids.iter().map(|name| Write { id: id(name), ..put("1") }).collect();
        let written = cache.cache.write(&writes, Version::ZERO).await.expect("the script answers");
        let now = cache.last_reading().now;
        for (changed, written) in changed.into_iter().zip(written) {
            let since = now - changed;
            let quiet = written.expect("each is answered") == Written::Quiet;
            assert_eq!(quiet, since < t, "{since} us after the change");
            (inside, outside) = (inside || quiet, outside || !quiet);
        }
        if inside && outside {
            return;
        }
    }
    panic!("the edge was not met: within {inside}, beyond {outside}");
}

/// Else a clock that was wrong at the change and is right now would stop all writes for as long as it was wrong by.
#[tokio::test]
async fn r2_a_change_that_the_clock_has_yet_to_reach_keeps_nobody_quiet() {
    let cache = fresh().await;
    let key = format!("wb:{{{:02}}}:epoch", shard("1"));
    let changed_at = async |ahead: u64| {
        let at = clock::now_micros() + ahead;
        cache.ask::<()>("HSET", &[key.clone(), "changed_at".to_owned(), at.to_string()]).await;
    };
    changed_at(3_600_000_000).await;
    cache.put("1").await;
    changed_at(300_000).await;
    assert_eq!(cache.write(put("1")).await, Written::Quiet, "set back by less than T: it may have been just now");
}

#[tokio::test]
async fn skew_and_late_touch_nothing() {
    let cache = fresh().await;
    cache.put("1").await;
    let before = cache.dump().await;
    let ahead = Write { mine: clock::now_micros() + 1_000_000, ..put("1") };
    assert_eq!(cache.write(ahead).await, Written::Skew);
    let late = Write { mine: clock::now_micros() - 1_000_000, ..put("1") };
    assert_eq!(cache.write(late).await, Written::Late);
    assert_eq!(cache.dump().await, before);
}

#[tokio::test]
async fn every_answer_tells_when_redis_clock_was_read() {
    let cache = fresh().await;
    let before = clock::now_micros();
    cache.put("1").await;
    let reading = cache.last_reading();
    let order = [before, reading.sent, reading.now, reading.received, clock::now_micros()];
    assert!(order.is_sorted(), "one machine, one clock: {order:?}");
}

#[tokio::test]
async fn the_clock_is_probed_when_nothing_is_written() {
    let cache = fresh().await;
    let first = cache.last_reading();
    crate::support::until("a second reading", || async { cache.last_reading() != first }).await;
}

/// `k40`: clocks that differ by D give a lower version right after the change, to whoever comes, also to a process that starts.
#[tokio::test]
async fn r2_it_is_quiet_for_t_after_a_change_for_all_who_meet_it_and_not_for_who_meets_an_old_one() {
    let url = empty_database();
    let first = fixture(settings(&url)).await;
    let slow = |settings: &mut cache::RedisSettings| settings.redis_timeout_ms = Duration::from_secs(60);
    let mut long = settings(&url);
    slow(&mut long);
    // Its T is a minute, and the change a second ago: it has not raised this epoch, and must wait all the same.
    let connector = Connector::new(&long, std::sync::Arc::new(|_| {})).unwrap();
    let late = cache::Cache::new(connector.clone(), long, "late");
    let (redis, stopping) = (dependency(), tokio_util::sync::CancellationToken::new());
    let (runs, stopped) = (redis.clone(), stopping.clone());
    go(async move { connector.run(&runs, &stopped).await });
    until("it is connected", || async { late.depths().await.is_ok() }).await;
    assert_eq!(late.epoch(), first.cache.epoch());
    assert!(late.is_quiet(), "it would issue a version at once");
    assert!(!redis.is_up(), "nobody is to be told that writes are taken");
    stopping.cancel();
    assert!(!first.cache.is_quiet(), "ready means that T is over");
    let third = fixture(settings(&url)).await;
    assert!(!third.cache.is_quiet());

    // On a live connection as well.
    let (queue, writer) = WriteQueue::new(first.cache.clone(), 10);
    go(writer.run());
    first.ask::<()>("FLUSHDB", &[] as &[&str]).await;
    assert_eq!(queue.write(put("1")).await.unwrap(), Written::StaleEpoch);
    assert!(first.cache.is_quiet());
    until("it is over", || async { !first.cache.is_quiet() }).await;
    third.meets_again().await;
    assert_eq!(third.cache.epoch(), first.cache.epoch());
}
