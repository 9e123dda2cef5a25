//! `persister migrate` may run at any time and as often as anybody likes; what does not fit is refused by name.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use e2e::{Servers, System};
use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use sqlx::Row;
use stack::{Ended, Lifetime, Process};

use crate::every_type::refusal;

type Admin = AdminClient<DefaultClientContext>;

fn admin(system: &System) -> Result<Admin> {
    Ok(ClientConfig::new().set("bootstrap.servers", system.servers.kafka.brokers()).create()?)
}

fn users(system: &System) -> String {
    format!("{}users", system.topic_prefix)
}

/// The settings that were made for a topic, and its partitions.
async fn topic(system: &System) -> Result<BTreeMap<String, String>> {
    let (admin, name) = (admin(system)?, users(system));
    let mut described = admin.describe_configs(&[ResourceSpecifier::Topic(&name)], &AdminOptions::new()).await?;
    let config = described.pop().context("a topic")?.map_err(|code| anyhow::anyhow!("{code}"))?;
    let made = config.entries.into_iter().filter(|entry| !entry.is_default);
    let mut settings: BTreeMap<_, _> = made.map(|entry| (entry.name, entry.value.unwrap_or_default())).collect();
    let metadata = admin.inner().fetch_metadata(Some(&name), Duration::from_secs(10))?;
    settings.insert("partitions".to_owned(), metadata.topics()[0].partitions().len().to_string());
    Ok(settings)
}

/// Every column and view of the database.
async fn tables(system: &System) -> Result<Vec<String>> {
    let sql = "SELECT CAST(CONCAT_WS(' ', table_name, column_name, column_type, is_nullable) AS CHAR) \
               FROM information_schema.columns WHERE table_schema = DATABASE() ORDER BY table_name, ordinal_position";
    let mut found: Vec<String> = sqlx::query_scalar(sql).fetch_all(&system.table().await?).await?;
    let marks = "SELECT entity, partitions, purged FROM _write_behind_entities";
    let row = sqlx::query(marks).fetch_one(&system.table().await?).await?;
    found.push(format!("{} {} {}", row.get::<String, _>(0), row.get::<i32, _>(1), row.get::<u64, _>(2)));
    Ok(found)
}

/// Everything that a migration makes.
async fn made(system: &System) -> Result<(BTreeMap<String, String>, Vec<String>, String)> {
    Ok((topic(system).await?, tables(system).await?, std::fs::read_to_string(system.schemas.join("ids.json"))?))
}

#[tokio::test]
async fn a_second_migration_changes_nothing() -> Result<()> {
    let system = System::prepare(Servers::shared())?;
    system.migrate()?;
    let once = made(&system).await?;
    assert_eq!(once.0["cleanup.policy"], "compact");
    system.migrate()?;
    assert_eq!(made(&system).await?, once);
    Ok(())
}

#[tokio::test]
async fn two_migrations_at_once_both_end_well_and_make_what_one_makes() -> Result<()> {
    let (alone, system) = (System::prepare(Servers::shared())?, System::prepare(Servers::shared())?);
    for system in [&alone, &system] {
        // As before the first publication.
        std::fs::remove_file(system.schemas.join("ids.json"))?;
    }
    alone.migrate()?;
    let spec = |log: &str| system.spec("persister", log, &system.accounts.migrate).arg("migrate");
    let both = ["one", "two"].map(|log| Process::spawn(&spec(log), Lifetime::Attached));
    for process in both {
        let process = process?;
        match process.wait(Duration::from_secs(60))? {
            Ended::Yes(Some(status)) if status.success() => {}
            ended => bail!("{}: {ended:?}\n{}", process.name(), process.log_tail(20)),
        }
    }
    assert_eq!(made(&system).await?, made(&alone).await?);
    Ok(())
}

#[tokio::test]
async fn a_topic_that_was_there_with_a_setting_that_loses_writes_is_refused_by_name() -> Result<()> {
    let system = System::prepare(Servers::shared())?;
    let name = users(&system);
    let new = NewTopic::new(&name, 6, TopicReplication::Fixed(1)).set("cleanup.policy", "delete");
    admin(&system)?.create_topics(&[new], &AdminOptions::new()).await?;
    let said = refusal(&system.spec("persister", "migrate", &system.accounts.migrate).arg("migrate"))?;
    let faults = ["cleanup.policy is delete", "min.compaction.lag.ms is 0", "message.timestamp.type is CreateTime"];
    for fault in faults {
        assert!(said.contains(&format!("topic {name}: {fault}, must be")), "no {fault:?} in: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn a_topic_that_was_changed_later_stops_ingest_and_persister_by_name() -> Result<()> {
    let system = System::prepare(Servers::shared())?;
    system.migrate()?;
    let name = users(&system);
    let settings = topic(&system).await?;
    // Altering names them all.
    let config = settings.iter().filter(|(name, _)| *name != "partitions" && *name != "min.compaction.lag.ms");
    let config =
        config.fold(AlterConfig::new(ResourceSpecifier::Topic(&name)), |all, (name, value)| all.set(name, value));
    let config = config.set("min.compaction.lag.ms", "60000");
    let altered = admin(&system)?.alter_configs(&[config], &AdminOptions::new()).await?;
    assert!(altered.iter().all(Result::is_ok), "{altered:?}");
    let migrate = system.spec("persister", "migrate-again", &system.accounts.migrate).arg("migrate");
    for spec in [migrate, system.ingest_spec(), system.persister_spec(&system.persister_admin_url)] {
        let said = refusal(&spec)?;
        let fault = format!("topic {name}: min.compaction.lag.ms is 60000, must be at least");
        assert!(said.contains(&fault), "no {fault:?} in: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn a_topic_that_has_grown_stops_migrate_and_persister_by_name() -> Result<()> {
    let system = System::prepare(Servers::shared())?;
    system.migrate()?;
    let name = users(&system);
    let grown = admin(&system)?.create_partitions(&[NewPartitions::new(&name, 7)], &AdminOptions::new()).await?;
    assert!(grown.iter().all(Result::is_ok), "{grown:?}");
    let migrate = system.spec("persister", "migrate-again", &system.accounts.migrate).arg("migrate");
    for spec in [migrate, system.persister_spec(&system.persister_admin_url)] {
        let said = refusal(&spec)?;
        let fault = format!("topic {name} has 7 partitions, its table was begun with 6");
        assert!(said.contains(&fault), "no {fault:?} in: {said}");
    }
    Ok(())
}
