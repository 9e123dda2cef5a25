//! Both services start with any of their stores away, and all that was away heals without a hand.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::{Servers, System};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use reqwest::Method;
use serde_json::json;
use stack::{Lifetime, Process, Server};

/// One topic is missing: its entity waits for it, and nobody else does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_topic_holds_its_own_entity_alone_and_joins_when_it_is_there() -> Result<()> {
    let mut system = System::prepare(Servers::shared())?;
    let paper = r#"{"type": "record", "name": "Paper", "fields": [{"name": "text", "type": "string"}]}"#;
    system.add_schema("papers/v1.avsc", paper)?;
    system.migrate()?;
    let brokers = system.servers.kafka.brokers();
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", &brokers).create()?;
    let papers = format!("{}papers", system.topic_prefix);
    for result in admin.delete_topics(&[&papers], &AdminOptions::new()).await? {
        result.map_err(|(topic, code)| anyhow::anyhow!("{topic}: {code}"))?;
    }
    system.start_persister().await?;
    system.start_ingest().await?;
    let table = system.table().await?;
    let persisted = async |what: &str, of: &'static str| -> Result<()> {
        system
            .eventually(what, async || {
                let found = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT 1 FROM {of} WHERE id = '1'")));
                Ok(!found.fetch_all(&table).await?.is_empty())
            })
            .await
    };
    system.put("users", "1", &json!({ "name": "Jane", "age": 1 })).await?;
    persisted("a user is persisted without the topic of papers", "users").await?;
    system.migrate()?;
    // `cached` until ingest has looked at the topic.
    system.put("papers", "1", &json!({ "text": "late" })).await?;
    persisted("a paper is persisted by the same persister", "papers").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_service_starts_with_any_of_the_stores_away_and_every_combination_heals() -> Result<()> {
    let servers = Servers::own()?;
    let (kafka, redis, database): (&Server, &Server, &Server) = (servers.kafka, servers.redis, servers.database);
    let all = [("kafka", kafka), ("redis", redis), ("database", database)];
    let system = System::prepare(servers)?.with("SESSION_TIMEOUT_MS", "3000");
    system.migrate()?;
    let table = system.table().await?;
    for chosen in 1..8_u32 {
        let away: Vec<_> = (0..).zip(&all).filter(|(bit, _)| chosen & (1 << bit) != 0).map(|(_, it)| it).collect();
        let names = away.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" and ");
        for (_, server) in &away {
            server.pause()?;
        }
        let ingest = Process::spawn(&system.ingest_spec(), Lifetime::Attached)?;
        let persister = Process::spawn(&system.persister_spec(&system.persister_admin_url), Lifetime::Attached)?;
        for (process, url) in [(&ingest, &system.ingest_admin_url), (&persister, &system.persister_admin_url)] {
            system
                .eventually(&format!("{} lives without {names}", process.name()), async || {
                    let answer = system.client.get(format!("{url}/livez")).send().await;
                    Ok(answer.is_ok_and(|answer| answer.status() == 200))
                })
                .await?;
        }
        // Long enough for each to have met what is not there.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        for process in [&ingest, &persister] {
            ensure!(process.is_running(), "{} ended without {names}\n{}", process.name(), process.log_tail(20));
        }
        for (_, server) in &away {
            server.resume()?;
        }
        system.ready(&ingest, &system.ingest_admin_url).await?;
        system.ready(&persister, &system.persister_admin_url).await?;
        let path = format!("/users/{chosen}");
        let answer = system.call(Method::PUT, &path, Some(&json!({ "name": "Jane", "age": 1 }))).await?;
        ensure!(answer.status() == 202, "after {names}: {}", answer.text().await?);
        system
            .eventually(&format!("after {names} a write is persisted"), async || {
                let found = sqlx::query("SELECT 1 FROM users WHERE id = ?").bind(chosen.to_string());
                Ok(!found.fetch_all(&table).await?.is_empty())
            })
            .await?;
        for process in [ingest, persister] {
            let status = process.stop(Duration::from_secs(30))?;
            ensure!(status.is_some_and(|it| it.success()), "after {names}: {status:?}\n{}", process.log_tail(20));
        }
    }
    Ok(())
}
