//! Kafka's own tool for consumer groups and our lag metrics say the same, while the persister is down, stuck and caught up.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use e2e::System;
use e2e::system::{PATIENCE, metric};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection};

/// Events behind, by partition.
type Lag = BTreeMap<i32, i64>;

/// What `kafka-consumer-groups --describe` says. A partition without a committed offset has no number there: an error.
fn as_kafka_says(system: &System) -> Result<Lag> {
    let described = system.servers.kafka.tool(
        "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        &["--describe", "--offsets", "--group", &system.group],
    )?;
    let rows: Vec<Vec<&str>> = described.lines().map(|line| line.split_whitespace().collect()).collect();
    let header = rows.iter().find(|row| row.first() == Some(&"GROUP")).context(described.clone())?;
    let column = |name: &str| header.iter().position(|column| *column == name).context(described.clone());
    let (partition, lag) = (column("PARTITION")?, column("LAG")?);
    let rows = rows.iter().filter(|row| row.first() == Some(&system.group.as_str()));
    rows.map(|row| Ok((row[partition].parse()?, row[lag].parse().context(described.clone())?))).collect()
}

/// What a service shows, under our name and under the field's.
async fn as_shown(system: &System, admin_url: &str) -> Result<[Lag; 2]> {
    let text = system.metrics(admin_url).await?;
    let (group, topic) = (&system.group, format!("{}users", system.topic_prefix));
    let mut shown = [Lag::new(), Lag::new()];
    for partition in 0..6 {
        let ours = format!("write_behind_lag_events{{entity=\"users\",partition=\"{partition}\"}}");
        let alias =
            format!("kafka_consumergroup_lag{{consumergroup=\"{group}\",partition=\"{partition}\",topic=\"{topic}\"}}");
        for (lag, series) in shown.iter_mut().zip([ours, alias]) {
            if let Some(events) = metric(&text, &series) {
                lag.insert(partition, format!("{events}").parse()?);
            }
        }
    }
    Ok(shown)
}

/// Kafka's tool counts `total` events behind, and every one of these services shows the same, partition by partition.
async fn agree(system: &System, total: i64, services: &[&str]) -> Result<Lag> {
    let mut said = Lag::new();
    system
        .eventually(&format!("Kafka's tool counts {total}"), async || {
            said = as_kafka_says(system)?;
            Ok(said.len() == 6 && said.values().sum::<i64>() == total)
        })
        .await?;
    for service in services {
        let mut shown = [Lag::new(), Lag::new()];
        let agreed = system
            .eventually("the service agrees", async || {
                shown = as_shown(system, service).await?;
                Ok(shown.iter().all(|shown| *shown == said))
            })
            .await;
        agreed.with_context(|| format!("{service} shows {shown:?}, Kafka's tool says {said:?}"))?;
    }
    Ok(said)
}

async fn write(system: &System, ids: std::ops::Range<u32>) -> Result<()> {
    for id in ids {
        system.put("users", &id.to_string(), &json!({ "name": "Jane", "age": 1 })).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_lag_that_both_services_show_is_the_one_that_kafkas_tool_counts() -> Result<()> {
    let mut system = System::start().await?;
    let (ingest, persister) = (system.ingest_admin_url.clone(), system.persister_admin_url.clone());
    write(&system, 0..60).await?;
    agree(&system, 0, &[&ingest, &persister]).await.context("caught up")?;

    system.persister.take().context("persister")?.stop(PATIENCE)?;
    write(&system, 60..101).await?;
    let behind = agree(&system, 41, &[&ingest]).await.context("the persister is down")?;
    assert!(behind.values().filter(|events| **events > 0).count() > 2, "all behind in one place: {behind:?}");

    // It runs and gets nowhere.
    let mut lock = Box::pin(MySqlConnection::connect(&system.accounts.root)).await?;
    lock.execute(AssertSqlSafe("LOCK TABLES users WRITE")).await?;
    system.start_persister().await?;
    write(&system, 101..112).await?;
    agree(&system, 52, &[&ingest, &persister]).await.context("the table is locked")?;

    lock.execute(AssertSqlSafe("UNLOCK TABLES")).await?;
    agree(&system, 0, &[&ingest, &persister]).await.context("caught up again")?;
    Ok(())
}
