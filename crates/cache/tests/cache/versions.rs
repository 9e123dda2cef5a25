//! R1: `v = roundup16(max(now, last + 1, seen + 1, mine))`, and not one bit of it rounded on the way.

use cache::Written;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use record::{Version, issue};
use service::clock;

use crate::support::{Fixture, fresh, key, new, put, version};

/// The version that one write gets when the shard has issued `last` and the process has seen `seen`, and what the rule
/// makes of the very clock reading that the script had.
async fn issued(cache: &Fixture, last: u64, seen: u64, mine: u64) -> (Version, Version) {
    cache.ask::<()>("SET", &[key("1", "last"), last.to_string()]).await;
    let mut write = put("1");
    write.mine = mine;
    let got = new(cache.write_seen(write, version(seen)).await);
    (got, issue(cache.last_reading().now, version(last), version(seen), mine))
}

#[tokio::test]
async fn a_first_write_has_the_clock_of_redis_rounded_up_to_16() {
    let cache = fresh().await;
    let mut write = put("1");
    write.mine -= 10_000;
    let got = new(cache.write(write).await).get();
    let now = cache.last_reading().now;
    assert_eq!(got, now.next_multiple_of(16), "Redis' clock said {now}");
}

#[tokio::test]
async fn a_version_is_above_whatever_the_shard_has_issued() {
    let cache = fresh().await;
    let ahead = clock::now_micros() + 3_600_000_000;
    let (got, _) = issued(&cache, ahead, 0, clock::now_micros()).await;
    assert_eq!(got.get(), (ahead + 1).next_multiple_of(16));
}

#[tokio::test]
async fn a_version_is_above_whatever_the_process_has_seen() {
    let cache = fresh().await;
    let ahead = clock::now_micros() + 3_600_000_000;
    let (got, _) = issued(&cache, 0, ahead, clock::now_micros()).await;
    assert_eq!(got.get(), (ahead + 1).next_multiple_of(16));
}

#[tokio::test]
async fn a_version_is_not_below_the_clock_of_the_process() {
    let cache = fresh().await;
    let mine = clock::now_micros() + 40_000;
    let (got, _) = issued(&cache, 0, 0, mine).await;
    assert_eq!(got.get(), mine.next_multiple_of(16));
}

#[tokio::test]
async fn versions_of_a_record_grow_although_the_clock_stands_still_behind_them() {
    let cache = fresh().await;
    let ahead = (clock::now_micros() + 86_400_000_000).next_multiple_of(16);
    cache.ask::<()>("SET", &[key("1", "last"), ahead.to_string()]).await;
    for n in 1..=5 {
        assert_eq!(cache.put("1").await.get(), ahead + n * 16, "write {n}");
    }
}

#[tokio::test]
async fn writes_of_one_script_call_have_different_versions_in_their_order() {
    let cache = fresh().await;
    let writes: Vec<_> = (0..64).map(|_| put("1")).collect();
    let written = cache.cache.write(&writes, Version::ZERO).await.expect("the script answers");
    let versions: Vec<_> = written.into_iter().map(|written| new(written.expect("each is answered")).get()).collect();
    assert!(versions.windows(2).all(|pair| pair[0] + 16 == pair[1]), "{versions:?}");
}

#[tokio::test]
async fn what_was_issued_is_remembered_for_ever() {
    let cache = fresh().await;
    let got = cache.put("1").await;
    assert_eq!(cache.last("1").await, got.get());
    assert_eq!(cache.life(&key("1", "last")).await, None, "`last` must outlive every record");
}

/// 2^53 - 1 - 15 has 16 digits, and `tostring` of Lua keeps 14.
#[tokio::test]
async fn no_digit_is_rounded_anywhere() {
    let cache = fresh().await;
    for last in [999_999_999_999_999, 1_764_000_000_690_509, 4_503_599_627_370_495, Version::MAX.get() - 64] {
        let seen = last.max(clock::now_micros());
        let (got, expected) = issued(&cache, last, seen, clock::now_micros()).await;
        assert_eq!(got, expected, "after {last}");
        let text = got.to_string();
        assert_eq!(cache.stands("1").await["version"], text);
        assert_eq!(cache.last("1").await.to_string(), text);
        assert_eq!(cache.indexes("1").await, (Some(text.clone()), None), "the score");
        assert_eq!(cache.acknowledge("1", got).await, 1, "the version is recognised");
        assert_eq!(cache.indexes("1").await, (None, Some(text)), "the score");
        assert_eq!(cache.settle("1", got).await, 1, "the version is recognised");
        assert_eq!(cache.hit("1").await.version, got);
    }
}

/// Compared on the script's own reading of the clock, so that this is exact.
#[test]
fn the_script_counts_as_record_issue_does() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let cache = runtime.block_on(fresh());
    let near = |around: i64| (-around..around).prop_map(|by| clock::now_micros().saturating_add_signed(by));
    let readings = || prop_oneof![Just(0), 0u64..1 << 52, near(1_000_000), near(40_000)];
    let mine = near(40_000);
    TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() })
        .run(&(readings(), readings(), mine), |(last, seen, mine)| {
            let (got, expected) = runtime.block_on(issued(&cache, last, seen, mine));
            prop_assert_eq!(got, expected);
            prop_assert!(got.get() % 16 == 0 && got.get() > last && got.get() > seen && got.get() >= mine);
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn another_shard_has_its_own_last() {
    let cache = fresh().await;
    let ahead = clock::now_micros() + 3_600_000_000;
    let (ahead_of_all, _) = issued(&cache, ahead, 0, clock::now_micros()).await;
    let other = (0..).map(|n: u32| n.to_string()).find(|id| key(id, "last") != key("1", "last")).unwrap();
    assert!(matches!(cache.write(put(&other)).await, Written::New(version) if version < ahead_of_all));
}
