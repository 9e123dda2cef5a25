//! R14: a dead letter takes its version out of the cache, and not the memory of what that had overwritten: no reader and no
//! precondition is answered by an older row as if nothing were missing.

use anyhow::{Context, Result};
use e2e::system::FAIL_POINTS;
use e2e::{Servers, System};
use record::{Change, Event, Origin, RecordId, Version};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use stack::{Lifetime, Process};
use topic::Outgoing;

use crate::dead::{POISON, SHORT, alter, letters, named, notes, position, prepared, put, rows, topic, until_behind};
use crate::order::publisher;

/// A row; a delete that was answered `cached` and is not in the topic; and over that a write that the table has refused. The
/// versions of row and delete.
async fn uncovered(sweep_after_ms: &str) -> Result<(System, u64, u64)> {
    let mut system =
        System::prepare(Servers::shared())?.with("TOPIC_PARTITIONS", "1").with("ANSWER_DEADLINE_MS", "1000");
    let bounds = [("PRODUCE_DEADLINE_MS", "1500"), ("RELAY_AFTER_MS", "1600"), ("SWEEP_AFTER_MS", sweep_after_ms)];
    for (name, value) in bounds {
        system = system.with(name, value);
    }
    system.migrate()?;
    alter(&system, SHORT).await?;
    system.start_ingest().await?;
    system.start_persister().await?;
    system.nothing_was_lost().await?;
    let row = put(&system, "1", "Ada").await?;
    system.eventually("the row is there", async || Ok(rows(&system).await?.len() == 1)).await?;
    system.ingest.take().context("ingest")?.kill()?;

    // Kafka is away.
    let cut_off = Process::spawn(&system.ingest_spec().env("KAFKA_BROKERS", "127.0.0.1:9"), Lifetime::Attached)?;
    let answers =
        async || Ok(system.call(Method::GET, "/users/1", None).await.is_ok_and(|answer| answer.status() == 200));
    system.eventually("ingest answers", answers).await?;
    let deleted: Value = system.call(Method::DELETE, "/users/1", None).await?.json().await?;
    assert_eq!(deleted["state"], "cached", "{deleted}");
    put(&system, "1", POISON).await?;
    cut_off.kill()?;
    // The relay brings the newest alone.
    system.start_ingest().await?;
    system.eventually("it is a dead letter", async || Ok(notes(&system).await?.len() == 1)).await?;
    system.eventually("the cache has let go of it", async || Ok(shown(&system).await?.1 != "cache")).await?;
    Ok((system, row, deleted["version"].as_u64().context("version")?))
}

/// The campaign's seed 1017: a letter that was acknowledged and not noted when the persister died; and its event came again in one
/// batch with a newer write of its record.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g7_an_event_that_was_superseded_before_its_letter_was_noted_is_no_dead_letter_and_is_passed() -> Result<()> {
    let mut system = prepared(&[(FAIL_POINTS, "letters.acknowledged=return")]).await?;
    put(&system, "1", "Ada").await?;
    put(&system, "1", POISON).await?;
    system.start_persister().await?;
    let alive = |system: &System| system.persister.as_ref().is_some_and(Process::is_running);
    system.eventually("the persister dies", async || Ok(!alive(&system))).await?;
    assert!(position(&system)? < 2, "the offset has passed a letter that is not noted");
    let newest = put(&system, "1", "Eve").await?;

    system.settings.retain(|(name, _)| name != FAIL_POINTS);
    system.start_persister().await?;
    until_behind(&system, 3).await?;
    assert_eq!(rows(&system).await?, [("1".to_owned(), "Eve".to_owned())].into());
    assert_eq!(letters(&system)?.len(), 1, "it was sent before the crash, and is not sent again");
    assert_eq!(notes(&system).await?, [], "it is superseded, and its fate is no dead letter's");
    system
        .eventually("the cache is settled", async || {
            Ok(shown(&system).await? == (StatusCode::OK, "cache".into(), json!("Eve")))
        })
        .await?;
    let answer = system.call(Method::GET, "/users/1", None).await?;
    assert_eq!(answer.headers()["etag"].to_str()?, format!("\"{newest}\""));
    Ok(())
}

/// Status, source and name.
async fn shown(system: &System) -> Result<(StatusCode, String, Value)> {
    let answer = system.call(Method::GET, "/users/1", None).await?;
    let source = answer.headers().get("write-behind-source").context("source")?.to_str()?.to_owned();
    Ok((answer.status(), source, answer.json::<Value>().await?["name"].clone()))
}

async fn put_if(system: &System, version: u64) -> Result<StatusCode> {
    let request = system.client.put(format!("{}/users/1", system.ingest_url));
    let request = request.header("If-Match", format!("\"{version}\"")).json(&named("Eve"));
    Ok(request.send().await?.status())
}

/// `k53`: the reader was told that there is nothing newer than the row, and the If-Match overwrote the delete unseen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_until_the_table_has_what_a_dead_letter_had_overwritten_its_row_is_not_vouched_for() -> Result<()> {
    let (system, row, deleted) = uncovered("60000").await?;
    let (status, source, name) = shown(&system).await?;
    assert_eq!(
        (status, &*source),
        (StatusCode::OK, "table-unchecked"),
        "{name} is deleted, and the answer does not say so"
    );
    assert_eq!(put_if(&system, row).await?, StatusCode::SERVICE_UNAVAILABLE, "it would overwrite the delete unseen");

    // The delete's event comes late, from a handler that nobody waits for any more.
    let late = Event {
        id: RecordId::parse("1")?,
        version: Version::new(deleted)?,
        origin: Origin::Write,
        change: Change::Tombstone,
    };
    publisher(&system)?.publish(Outgoing { topic: &topic(&system), event: &late, trace: None }).await?;
    system.eventually("the answer is certain again", async || Ok(shown(&system).await?.1 != "table-unchecked")).await?;
    assert_eq!(shown(&system).await?.0, StatusCode::NOT_FOUND);
    assert_eq!(put_if(&system, row).await?, StatusCode::PRECONDITION_FAILED);
    Ok(())
}

/// `x08`: the write was only `cached`, and the relay sends no more than the newest. So nobody waits for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_the_sweep_lets_go_of_what_nobody_brings_any_more() -> Result<()> {
    let (system, row, _) = uncovered("2000").await?;
    system
        .eventually("the row is vouched for again", async || Ok(shown(&system).await?.1 != "table-unchecked"))
        .await?;
    let heads = async |index: &str| -> Result<u64> {
        let mut entries = 0;
        for shard in 0..16 {
            entries += system.redis::<u64>(&["ZCARD"], &[format!("wb:{{{shard:02}}}:{index}")]).await?;
        }
        Ok(entries)
    };
    assert_eq!((heads("outbox").await?, heads("unsettled").await?), (0, 0), "something is left waiting");
    assert_eq!(shown(&system).await?.2, "Ada");
    assert_eq!(put_if(&system, row).await?, StatusCode::ACCEPTED);
    Ok(())
}
