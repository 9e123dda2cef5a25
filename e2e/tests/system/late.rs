//! R18: writes that come after their record's tombstone was purged.

use anyhow::{Context, Result};
use e2e::system::PATIENCE;
use e2e::topic_reader::read_all;
use reqwest::Method;

use crate::dead::{alter, counted, holds, prepared, put, rows, topic, until_behind};

/// R18, `k16`, `k16b`: a write that is older than the mark makes no row, and a rebuild is told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r18_a_late_write_is_answered_with_a_tombstone_at_the_mark_and_the_tombstone_with_nothing() -> Result<()> {
    let mut system = prepared(&[]).await?;
    let late = put(&system, "late", "late").await?;
    put(&system, "there", "there").await?;
    system.call(Method::DELETE, "/users/gone", None).await?;
    alter(&system, "INSERT INTO users (id, name, version, log_offset) VALUES ('old', 'old', 16, 0)").await?;
    alter(&system, &format!("UPDATE _write_behind_entities SET purged = {}", late | 15)).await?;
    system.start_persister().await?;
    until_behind(&system, 3).await?;
    until_behind(&system, 4).await.context("k16: the late write is the tail of its key, and no tombstone follows")?;
    let events = read_all(&system.servers.kafka.brokers(), &topic(&system))?;
    assert_eq!(events.len(), 4, "one answer, and none to the answer: {events:?}");
    let answer = events.last().context("the answer")?;
    assert_eq!((&*answer.key, &answer.value, answer.header("origin")), ("late", &None, Some("reassert")));
    assert_eq!(answer.header("version"), Some(&*(late | 15).to_string()));
    assert!(!rows(&system).await?.contains_key("late"), "a purged record came back");
    assert_eq!(counted(&system, "late_tombstones_total{entity=\"users\"}").await?, Some(1.0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r18_too_many_late_writes_stop_the_lane_and_an_emptied_table_does_not_start() -> Result<()> {
    let mut system = prepared(&[("BRAKE_PROBE_MS", "200")]).await?;
    let mut last = 0;
    for id in 0..25 {
        last = put(&system, &id.to_string(), "Jane").await?;
    }
    alter(&system, &format!("UPDATE _write_behind_entities SET purged = {}", last | 15)).await?;
    let refused =
        stack::Process::spawn(&system.persister_spec(&system.persister_admin_url), stack::Lifetime::Attached)?;
    let ended = refused.wait(PATIENCE)?;
    assert!(matches!(ended, stack::Ended::Yes(Some(status)) if !status.success()), "{ended:?}");
    assert!(refused.log_tail(20).contains("has a purge mark"), "{}", refused.log_tail(20));

    alter(&system, "INSERT INTO users (id, name, version, log_offset) VALUES ('left', 'left', 16, 0)").await?;
    system.start_persister().await?;
    system.eventually("the lane is braked", async || holds(&system, "brake").await).await?;
    let tombstones = || -> Result<usize> {
        let events = read_all(&system.servers.kafka.brokers(), &topic(&system))?;
        Ok(events.iter().filter(|event| event.value.is_none()).count())
    };
    assert_eq!(tombstones()?, 10, "the topic must not be emptied with the table");
    // As after a restore.
    alter(&system, "UPDATE _write_behind_entities SET purged = 0").await?;
    until_behind(&system, 35).await?;
    assert_eq!(tombstones()?, 10);
    Ok(())
}
