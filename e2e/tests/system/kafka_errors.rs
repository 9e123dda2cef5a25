//! A Kafka that is away, slow, restarted, or takes no more: what a client sees, what the persister does, and that all heals.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::journal::Load;
use e2e::system::metric;
use e2e::{Servers, System};
use futures_util::future::try_join_all;
use rand::distr::Alphanumeric;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use stack::{Kafka, KafkaOptions, Place, Tools, shared};

use crate::faults::{prepared, settled, while_acknowledging};

fn own_kafka() -> Result<Servers> {
    let place = Place::attached(shared::scratch("kafka"));
    let kafka = Box::leak(Box::new(Kafka::start(&Tools::find(), &place, KafkaOptions::default())?));
    Ok(Servers { kafka, ..Servers::shared() })
}

/// By itself: ingest publishes, the persister is a member again, the relay brings what waited.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kafka_that_dies_and_comes_back_under_load_costs_the_answer_logged_and_nothing_else() -> Result<()> {
    let system = prepared(own_kafka()?)?.up().await?;
    let load = Load::start(&system.ingest_url, 8, 50, 9);
    for _ in 0..2 {
        while_acknowledging(&load, 200).await?;
        system.servers.kafka.kill()?;
        // `cached`.
        while_acknowledging(&load, 200).await?;
        system.servers.kafka.restart()?;
    }
    system
        .eventually("writes are logged again", async || {
            let answer = system.call(Method::DELETE, "/users/asked", None).await?;
            Ok(answer.json::<Value>().await?["state"] == "logged")
        })
        .await?;
    let journal = load.finish().await?;
    settled(&system, &journal).await?;
    for process in [&system.ingest, &system.persister] {
        let process = process.as_ref().context("a process")?;
        assert!(process.is_running(), "{} has ended\n{}", process.name(), process.log_tail(20));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kafka_that_stands_still_now_and_then_loses_nothing() -> Result<()> {
    let system = prepared(own_kafka()?)?.up().await?;
    let load = Load::start(&system.ingest_url, 8, 50, 9);
    for _ in 0..5 {
        while_acknowledging(&load, 100).await?;
        system.servers.kafka.pause()?;
        tokio::time::sleep(Duration::from_millis(700)).await;
        system.servers.kafka.resume()?;
    }
    let journal = load.finish().await?;
    settled(&system, &journal).await
}

/// R6: the producer's queue is full before Kafka is known to be away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r6_with_a_full_queue_of_the_producer_a_write_is_cached_at_once_and_published_later() -> Result<()> {
    let system = prepared(own_kafka()?)?.with("PRODUCER_EVENTS_MOST", "2").up().await?;
    let body = json!({ "name": "Jane", "age": 1 });
    assert_eq!(system.put("users", "0", &body).await?["state"], "logged");
    system.servers.kafka.pause()?;
    let write = async |id: u32| -> Result<Duration> {
        let begun = Instant::now();
        let answer = system.put("users", &id.to_string(), &body).await?;
        ensure!(answer["state"] == "cached", "Kafka has acknowledged nothing: {answer}");
        Ok(begun.elapsed())
    };
    let took = try_join_all((1..=8).map(write)).await?;
    let waited = took.iter().filter(|took| **took > Duration::from_millis(900)).count();
    let at_once = took.iter().filter(|took| **took < Duration::from_millis(500)).count();
    assert!((1..=2).contains(&waited), "two have room in the queue, and wait for Kafka until the deadline: {took:?}");
    assert!(at_once >= 6, "who has no room is to wait for nothing: {took:?}");
    system.servers.kafka.resume()?;
    let table = system.table().await?;
    system
        .eventually("all are in the table", async || {
            Ok(sqlx::query("SELECT id FROM users").fetch_all(&table).await?.len() == 9)
        })
        .await
}

/// Lowered under us: a start would be refused (R17).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_larger_than_its_topic_takes_by_now_hinders_no_other() -> Result<()> {
    let system = System::start().await?;
    let topic = format!("{}users", system.topic_prefix);
    system.servers.kafka.tool(
        "kafka.admin.ConfigCommand",
        &["--alter", "--entity-type", "topics", "--entity-name", &topic, "--add-config", "max.message.bytes=500"],
    )?;
    let large = json!({ "name": noise(250), "age": 1, "occupation": noise(200) });
    let answer = system.call(Method::PUT, "/users/large", Some(&large)).await?;
    let (status, told) = (answer.status().as_u16(), answer.json::<Value>().await?);
    ensure!(status == 413 || (status == 202 && told["state"] == "cached"), "{status}: {told}");
    for id in 0..20 {
        let small = json!({ "name": "Jane", "age": 1 });
        assert_eq!(system.put("users", &id.to_string(), &small).await?["state"], "logged", "a neighbour has to wait");
    }
    let text = system.metrics(&system.ingest_admin_url).await?;
    assert_eq!(metric(&text, "write_behind_producers_replaced_total"), Some(0.0), "it is the event that is at fault");
    Ok(())
}

/// Text that does not shrink when it is compressed.
fn noise(length: usize) -> String {
    SmallRng::seed_from_u64(length as u64).sample_iter(Alphanumeric).take(length).map(char::from).collect()
}
