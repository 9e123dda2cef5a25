//! R7 beside a dead letter: what overwrote a write says nothing about it.

use anyhow::Result;
use e2e::{Servers, System};
use serde_json::{Value, json};
use stack::{Lifetime, Process};

use crate::dead::{POISON, SHORT, alter, letters, named, notes, put, rows};

/// `k50`: what overwrote a write is no word about it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r7_a_retry_of_a_write_that_a_dead_letter_has_overwritten_brings_it_to_the_table_or_says_that_nobody_knows()
-> Result<()> {
    let mut system =
        System::prepare(Servers::shared())?.with("TOPIC_PARTITIONS", "1").with("ANSWER_DEADLINE_MS", "1000");
    for (name, value) in [("PRODUCE_DEADLINE_MS", "1500"), ("RELAY_AFTER_MS", "1600"), ("SWEEP_AFTER_MS", "2000")] {
        system = system.with(name, value);
    }
    system.migrate()?;
    alter(&system, SHORT).await?;
    let keyed = async |system: &System| -> Result<(u16, Value)> {
        let request = system.client.put(format!("{}/users/1", system.ingest_url)).header("Idempotency-Key", "a");
        let answer = request.json(&named("Ada")).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    };
    // Kafka is away, and a second write overwrites the first in the cache.
    let cut_off = Process::spawn(&system.ingest_spec().env("KAFKA_BROKERS", "127.0.0.1:9"), Lifetime::Attached)?;
    system
        .eventually("the first write is cached", async || {
            Ok(keyed(&system).await.is_ok_and(|(_, answer)| answer["state"] == "cached"))
        })
        .await?;
    let (_, first) = keyed(&system).await?;
    let second = put(&system, "1", POISON).await?;
    let (status, unknown) = keyed(&system).await?;
    assert_eq!(
        (status, &unknown["version"]),
        (504, &first["version"]),
        "nothing would bring it to the topic: {unknown}"
    );
    cut_off.kill()?;
    // The relay brings the newest alone, which becomes a dead letter.
    system.start_ingest().await?;
    system.start_persister().await?;
    system.eventually("it is a dead letter", async || Ok(notes(&system).await?.len() == 1)).await?;
    assert_eq!(letters(&system)?[0].header("version"), Some(&*second.to_string()));
    let (status, again) = keyed(&system).await?;
    assert_eq!((status, &again["state"]), (202, &json!("logged")), "{again}");
    assert_eq!(again["version"], first["version"], "G9: one key, one version");
    let there = [("1".to_owned(), "Ada".to_owned())].into();
    system.eventually("what was answered logged is in the table", async || Ok(rows(&system).await? == there)).await
}
