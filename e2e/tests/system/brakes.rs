//! The brake counts what it is to count, whoever has the partition and however often its events come (G8).

use anyhow::{Context, Result};
use e2e::system::{PATIENCE, metric};
use e2e::topic_reader::read_all;
use rdkafka::admin::AdminOptions;
use sqlx::Row;
use stack::{Lifetime, Process};

use crate::dead::{
    POISON, SHORT, accept, alter, counted, holds, letters, named, notes, position, prepared, put, rows, topic,
    until_behind,
};
use crate::letters::admin;

/// Members that take a partition from each other must not empty it by and by.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g8_a_partition_that_comes_back_to_a_process_finds_its_brake_as_it_was() -> Result<()> {
    let mut system =
        prepared(&[("SESSION_TIMEOUT_MS", "3000"), ("POLL_INTERVAL_MOST_MS", "4000"), ("DRAIN_DEADLINE_MS", "500")])
            .await?;
    for id in 0..40 {
        put(&system, &id.to_string(), POISON).await?;
    }
    system.start_persister().await?;
    system.eventually("the lane is braked", async || holds(&system, "brake").await).await?;
    until_behind(&system, 10).await?;
    let first = system.persister.as_ref().context("persister")?;
    first.pause()?;
    let other = Process::spawn(
        &system.persister_spec(&format!("http://127.0.0.1:{}", stack::port::free()?)),
        Lifetime::Attached,
    )?;
    system.eventually("another has a brake of its own", async || Ok(letters(&system)?.len() == 20)).await?;
    until_behind(&system, 20).await?;
    other.kill()?;
    first.resume()?;
    system
        .eventually("the partition is back, and the lane is braked", async || {
            let Ok(text) = system.metrics(&system.persister_admin_url).await else { return Ok(false) };
            let assigned = metric(&text, "write_behind_rebalances_total{kind=\"assigned\"}") >= Some(2.0);
            Ok(assigned && holds(&system, "brake").await?)
        })
        .await?;
    assert_eq!((letters(&system)?.len(), position(&system)?), (20, 20), "the brake has forgotten what it let pass");
    Ok(())
}

/// As after a group was rewound: a letter that was brought to its end says nothing new.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g8_letters_that_were_noted_before_are_neither_counted_nor_brought_again() -> Result<()> {
    let mut system = prepared(&[("BRAKE_LEAST", "2"), ("BRAKE_PROBE_MS", "200")]).await?;
    for id in 0..8 {
        put(&system, &id.to_string(), if id % 2 == 0 { POISON } else { "Jane" }).await?;
    }
    accept(&system, "7")?;
    system.start_persister().await?;
    until_behind(&system, 8).await?;
    assert_eq!((notes(&system).await?.len(), letters(&system)?.len()), (4, 4));
    system.persister.take().context("persister")?.stop(PATIENCE)?;
    alter(&system, "DELETE FROM _write_behind_accepted").await?;
    // Another group has never read anything.
    "anew".clone_into(&mut system.group);
    let ids = put(&system, "last", "Jane").await.map(|_| 9)?;
    system.start_persister().await?;
    until_behind(&system, ids).await?;
    assert_eq!(letters(&system)?.len(), 4, "a letter was brought again");
    assert_eq!(counted(&system, "dead_letters_total{entity=\"users\",reason=\"refused\"}").await?, Some(0.0));
    assert_eq!(rows(&system).await?.len(), 5);
    Ok(())
}

/// What an operator accepts is what stood there when he said it: a topic that is made anew has the same offsets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g8_what_was_accepted_of_a_topic_lets_nothing_go_of_another_of_its_name() -> Result<()> {
    let mut system = prepared(&[("BRAKE_PROBE_MS", "200")]).await?;
    put(&system, "old", POISON).await?;
    accept(&system, "1000")?;
    admin(&system)?.delete_topics(&[&topic(&system)], &AdminOptions::new()).await?;
    let gone = || read_all(&system.servers.kafka.brokers(), &topic(&system)).is_ok_and(|events| events.is_empty());
    system.eventually("the topic is gone", async || Ok(gone())).await?;
    system.eventually("the topic is made again", async || Ok(system.migrate().is_ok())).await?;
    // Which has mended the table, too.
    alter(&system, SHORT).await?;
    system
        .eventually("the producer has found the new topic", async || {
            let answer = system.put("users", "first", &named(POISON)).await?;
            Ok(answer["state"] == "logged" && !gone())
        })
        .await?;
    for id in 0..30 {
        put(&system, &id.to_string(), POISON).await?;
    }
    system.start_persister().await?;
    system.eventually("the lane is braked", async || holds(&system, "brake").await).await?;
    assert_eq!(letters(&system)?.len(), 10, "what was said of the old topic let go letters of the new one");
    // And what is said now is of this one.
    accept(&system, "1000")?;
    system.eventually("they are let go", async || Ok(letters(&system)?.len() > 30)).await
}

/// 1 in a hundred of the last thousand, and ten at least: with the defaults.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g8_with_the_defaults_ten_of_a_thousand_pass_and_the_eleventh_is_held() -> Result<()> {
    let mut system = prepared(&[]).await?;
    let table = system.table().await?;
    for id in 0..220 {
        put(&system, &id.to_string(), if id % 20 == 19 { POISON } else { "Jane" }).await?;
    }
    system.start_persister().await?;
    system.eventually("the lane is braked", async || holds(&system, "brake").await).await?;
    assert_eq!(letters(&system)?.len(), 10, "of {}", topic(&system));
    let row = sqlx::query("SELECT COUNT(*) FROM users").fetch_one(&table).await?;
    assert_eq!(row.get::<i64, _>(0), 209, "what is before the eleventh is applied, and what is behind it waits");
    Ok(())
}

/// 0.1 % goes through, 10 % and 100 % stop; the event that is probed comes through once the cause is mended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g8_the_brake_stops_a_lane_of_poison_and_it_goes_on_by_itself_when_the_cause_is_mended() -> Result<()> {
    let mut system = prepared(&[("BRAKE_PROBE_MS", "200")]).await?;
    for id in 0..40 {
        put(&system, &id.to_string(), POISON).await?;
    }
    system.start_persister().await?;
    system.eventually("the lane is braked", async || holds(&system, "brake").await).await?;
    assert_eq!((notes(&system).await?.len(), letters(&system)?.len()), (10, 10), "the least number, and not one more");
    until_behind(&system, 10).await?;
    // Several probes later it still is.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!((position(&system)?, letters(&system)?.len()), (10, 10), "a probe is no dead letter");
    alter(&system, "ALTER TABLE users MODIFY name VARCHAR(100)").await?;
    until_behind(&system, 40).await?;
    assert_eq!((rows(&system).await?.len(), letters(&system)?.len()), (30, 10));
    assert!(!holds(&system, "brake").await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g8_an_operator_lets_dead_letters_go_up_to_an_offset_and_a_restart_forgets_nothing() -> Result<()> {
    let mut system = prepared(&[("BRAKE_PROBE_MS", "200")]).await?;
    for id in 0..45 {
        put(&system, &id.to_string(), POISON).await?;
    }
    put(&system, "good", "Jane").await?;
    system.start_persister().await?;
    system.eventually("the lane is braked", async || holds(&system, "brake").await).await?;
    accept(&system, "19")?;
    // Up to 19 by what was accepted, and then as many as the brake allows of those that nobody has accepted: none of the ten
    // that went before is forgotten.
    system.eventually("what was accepted has gone", async || Ok(position(&system)? >= 20)).await?;
    system.eventually("the lane is braked again", async || holds(&system, "brake").await).await?;
    let gone = position(&system)?;
    assert!((20..=30).contains(&gone), "{gone}");
    system.persister.take().context("persister")?.kill()?;
    accept(&system, "44")?;
    system.start_persister().await?;
    until_behind(&system, 46).await?;
    assert_eq!((letters(&system)?.len(), notes(&system).await?.len()), (45, 45));
    assert_eq!(rows(&system).await?, [("good".to_owned(), "Jane".to_owned())].into());
    Ok(())
}
