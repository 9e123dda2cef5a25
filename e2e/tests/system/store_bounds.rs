//! DESIGN G10 where the stores are: Redis, Kafka, the database, and what waits for them in ingest and in the persister. At each
//! edge: exactly the bound passes, what is past it is refused or waits as the setting says, and it opens again.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::system::{Servers, System, metric};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::answers::shown;
use crate::front_bounds::{put, refused};

/// What Jane's event weighs in a lane at most: key, value, headers, and what carries them.
const EVENT_BYTES: f64 = 400.0;

/// Timings with which what was left in the outbox is soon in the topic.
fn hasty(servers: Servers) -> Result<System> {
    crate::faults::prepared(servers)
}

/// Writes new records until each shard is full, and says how many were accepted. Every refusal is one for want of room.
async fn fill(system: &System, mut accepted: impl AsyncFnMut(u32) -> Result<()>) -> Result<u32> {
    let mut count = 0;
    for id in 0..300 {
        let answer = put(system, id).await?;
        if answer.status() == StatusCode::ACCEPTED {
            count += 1;
            accepted(id).await?;
        } else {
            refused(answer, "full").await?;
        }
    }
    Ok(count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_the_outbox_takes_exactly_its_bound_then_503_and_opens_again() -> Result<()> {
    let system = hasty(Servers::own()?)?.with("OUTBOX_MOST", "32").up().await?;
    system.servers.kafka.pause()?;
    system
        .eventually("Kafka is known to be away", async || {
            Ok(shown(&system, r#"write_behind_dependency_up{dependency="kafka"}"#).await? == 0.0)
        })
        .await?;
    ensure!(fill(&system, async |_| Ok(())).await? == 32, "300 records over 16 shards fill 32 places exactly");
    system
        .eventually("the outbox is shown to be full", async || {
            Ok(shown(&system, "write_behind_outbox_entries").await? == 32.0)
        })
        .await?;
    system.servers.kafka.resume()?;
    system.eventually("it opens again", async || Ok(put(&system, 299).await?.status() == 202)).await?;
    system
        .eventually("what waited is in the topic, and persisted", async || {
            let waiting = ["write_behind_outbox_entries", "write_behind_unsettled_entries"];
            let text = system.metrics(&system.ingest_admin_url).await?;
            Ok(waiting.iter().all(|name| metric(&text, name) == Some(0.0)))
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_the_unsettled_take_exactly_their_bound_then_503_and_open_again() -> Result<()> {
    let mut system = hasty(Servers::shared())?.with("UNSETTLED_MOST", "32");
    system.migrate()?;
    system.start_ingest().await?;
    let logged = async |id: u32| {
        system
            .eventually("the cache knows that the topic has it", async || {
                let shown = system.call(Method::GET, &format!("/users/{id}"), None).await?;
                Ok(shown.headers()["write-behind-state"] == "logged")
            })
            .await
    };
    ensure!(fill(&system, logged).await? == 32, "300 records over 16 shards fill 32 places exactly");
    system
        .eventually("the unsettled are shown to be full", async || {
            Ok(shown(&system, "write_behind_unsettled_entries").await? == 32.0)
        })
        .await?;
    system.start_persister().await?;
    system.eventually("it opens again", async || Ok(put(&system, 299).await?.status() == 202)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_a_full_producer_is_answered_cached_at_once_and_nothing_is_lost() -> Result<()> {
    let system = hasty(Servers::own()?)?.with("PRODUCER_EVENTS_MOST", "2").up().await?;
    ensure!(put(&system, 0).await?.status() == 202);
    let held = async || shown(&system, "write_behind_producer_events").await;
    system.servers.kafka.pause()?;
    let third = async {
        system.eventually("the producer holds two events", async || Ok(held().await? == 2.0)).await?;
        let bytes = shown(&system, "write_behind_producer_bytes").await?;
        ensure!(bytes > 20.0, "two events in {bytes} bytes");
        let begun = Instant::now();
        let answer = put(&system, 3).await?;
        ensure!(held().await? <= 2.0, "the producer has taken more than its bound");
        ensure!(begun.elapsed() < Duration::from_millis(900), "it waits for a producer that has not taken it");
        ensure!(answer.json::<Value>().await?["state"] == "cached", "nobody but Redis has it");
        Ok(())
    };
    let (one, two, ()) = tokio::try_join!(put(&system, 1), put(&system, 2), third)?;
    ensure!(one.status() == 202 && two.status() == 202, "{one:?} {two:?}");
    system.servers.kafka.resume()?;
    for id in 1..=3 {
        crate::every_type::until_persisted(&system, &format!("/users/{id}")).await?;
    }
    let bytes = async || shown(&system, "write_behind_producer_bytes").await;
    system.eventually("the producer is empty", async || Ok(held().await? == 0.0 && bytes().await? == 0.0)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_acknowledgements_past_their_bound_are_dropped_counted_and_made_good_by_the_relay() -> Result<()> {
    let system = hasty(Servers::own()?)?.with("ACKNOWLEDGEMENTS_MOST", "1").up().await?;
    let begun = Instant::now();
    let text = json!({ "name": "Jane", "age": 1 });
    system.servers.kafka.pause()?;
    let mut puts = JoinSet::new();
    for id in 0..20 {
        puts.spawn(system.client.put(format!("{}/users/{id}", system.ingest_url)).json(&text).send());
    }
    let writes = async {
        while let Some(answer) = puts.join_next().await {
            ensure!(answer??.status() == 202);
        }
        Ok(())
    };
    let held = async || shown(&system, "write_behind_producer_events").await;
    let acknowledged = async {
        system.eventually("the producer holds them", async || Ok(held().await? == 20.0)).await?;
        system.servers.kafka.resume()
    };
    tokio::try_join!(writes, acknowledged)?;
    let waiting = shown(&system, "write_behind_acknowledgements_waiting").await?;
    ensure!(waiting <= 1.0, "{waiting} acknowledgements wait");
    let series = "write_behind_acknowledgements_dropped_total";
    let dropped = shown(&system, series).await?;
    ensure!(dropped > 0.0, "twenty acknowledgements at once found room for one");
    for id in 0..20 {
        crate::every_type::until_persisted(&system, &format!("/users/{id}")).await?;
    }
    ensure!(begun.elapsed() < Duration::from_secs(60), "too slow");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_a_batch_takes_exactly_its_events_and_ends_at_its_bytes() -> Result<()> {
    for (name, most, bucket) in [("BATCH_ROWS_MOST", "5", "5"), ("BATCH_BYTES_MOST", "1", "1")] {
        let mut system = System::prepare(Servers::shared())?.with(name, most);
        system.migrate()?;
        system.start_ingest().await?;
        for id in 0..60 {
            ensure!(put(&system, id).await?.status() == 202);
        }
        system.start_persister().await?;
        system
            .eventually("all is applied", async || {
                let series = r#"write_behind_fates_total{entity="users",fate="applied"}"#;
                Ok(metric(&system.metrics(&system.persister_admin_url).await?, series) == Some(60.0))
            })
            .await?;
        let within = |bucket: &str| format!("write_behind_batch_rows_bucket{{le=\"{bucket}\"}}");
        let text = system.metrics(&system.persister_admin_url).await?;
        let batches = metric(&text, "write_behind_batch_rows_count").context("batches")?;
        ensure!(metric(&text, &within(bucket)) == Some(batches), "{name}={most}: a batch is larger\n{text}");
        ensure!(
            bucket == "1" || metric(&text, &within("2")) < Some(batches),
            "{name}={most}: no batch is full\n{text}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_a_lane_takes_exactly_its_events_and_its_bytes_and_one_event_more_and_goes_on() -> Result<()> {
    let servers = Servers::own()?;
    for (name, most, series) in
        [("LANE_EVENTS_MOST", 3.0, "write_behind_lane_events"), ("LANE_BYTES_MOST", 400.0, "write_behind_lane_bytes")]
    {
        let mut system = hasty(servers)?.with(name, &most.to_string()).with("BATCH_ROWS_MOST", "1");
        system.migrate()?;
        system.start_persister().await?;
        system.start_ingest().await?;
        servers.database.pause()?;
        for id in 0..200 {
            ensure!(put(&system, id).await?.status() == 202);
        }
        let fullest = async || -> Result<f64> {
            let text = system.metrics(&system.persister_admin_url).await?;
            let depths = text.lines().filter(|line| line.starts_with(&format!("{series}{{")));
            let depths = depths.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
            depths.reduce(f64::max).context("no lane is shown")
        };
        system.eventually("a lane is full", async || Ok(fullest().await? >= most)).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (fullest, more) = (fullest().await?, if series.ends_with("bytes") { EVENT_BYTES } else { 0.0 });
        ensure!(fullest <= most + more, "{name}={most}: a lane holds {fullest}");
        servers.database.resume()?;
        system
            .eventually("what waited is applied", async || {
                let series = r#"write_behind_fates_total{entity="users",fate="applied"}"#;
                Ok(metric(&system.metrics(&system.persister_admin_url).await?, series) == Some(200.0))
            })
            .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_reads_share_the_connections_to_the_database_and_are_503_when_all_stay_in_use() -> Result<()> {
    let system =
        hasty(Servers::own()?)?.with("DATABASE_CONNECTIONS", "2").with("DATABASE_TIMEOUT_MS", "3000").up().await?;
    let read = async |id: u32| system.call(Method::GET, &format!("/users/{id}"), None).await;
    ensure!(read(0).await?.status() == 404);
    system.servers.database.pause()?;
    let in_use = async {
        let series = "write_behind_database_connections_in_use";
        system.eventually("both are in use", async || Ok(shown(&system, series).await? == 2.0)).await
    };
    let (one, two, three, four, ()) = tokio::try_join!(read(1), read(2), read(3), read(4), in_use)?;
    for answer in [one, two, three, four] {
        refused(answer, "database-away").await?;
    }
    system.servers.database.resume()?;
    system.eventually("reads are answered again", async || Ok(read(1).await?.status() == 404)).await
}
