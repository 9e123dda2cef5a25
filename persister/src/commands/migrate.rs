//! `persister migrate`: schemas are published (their ids pinned), topics created as PROTOCOL R17 demands, tables created or
//! widened. One at a time, under a lock of the database.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use record::{Catalog, Entity, Pinned};
use service::schemas::{self, SchemaFiles, SchemasError};
use service::settings::{Findings, seconds};
use table::{Database, TableError};
use topic::setup::{Found, Topics};
use topic::{TopicError, dead};

use super::{BaseSettings, fit_for_letters, same_partitions};

/// Settings of `persister migrate`. The database account needs DDL rights, the Kafka account may create topics.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Migrate")]
pub struct MigrateSettings {
    /// Partitions of a topic that does not exist yet. A topic cannot grow later.
    #[arg(long, env = "TOPIC_PARTITIONS", default_value = "6")]
    pub topic_partitions: i32,

    /// Replicas of a topic that does not exist yet; with --allow-single-broker it is 1, whatever stands here.
    #[arg(long, env = "TOPIC_REPLICAS", default_value = "3")]
    pub topic_replicas: i32,

    /// How long a topic of dead letters that does not exist yet keeps them; for ever if it is not said.
    #[arg(long, env = "DEAD_LETTERS_KEPT_S", value_parser = seconds)]
    pub dead_letters_kept_s: Option<Duration>,

    // Groups stand last, since each goes on under its own heading.
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub base: BaseSettings,
}

impl MigrateSettings {
    /// Everything that is wrong, each naming its flag.
    #[must_use]
    pub fn findings(&self) -> Findings {
        let mut found = self.base.findings();
        found.demand(self.topic_partitions >= 1, || "--topic-partitions must be at least 1".to_owned());
        found.demand(self.topic_replicas >= 3 || self.base.kafka.allow_single_broker, || {
            "--topic-replicas must be at least 3, or --allow-single-broker be given".to_owned()
        });
        if let Err(error) = compiled(&self.base.process.schemas_dir) {
            found.faults.extend(error.faults());
        }
        found
    }
}

/// The schemas as they will be once the new ones have their ids; the ids are not written yet.
fn compiled(dir: &Path) -> Result<(Pinned, Catalog), SchemasError> {
    let SchemaFiles { files, ids } = schemas::read(dir)?;
    let pinned = record::pin(files.iter().map(|(path, text)| (path, text)), &ids).map_err(SchemasError::Refused)?;
    let catalog = Catalog::compile(files, &pinned.text).map_err(SchemasError::Refused)?;
    Ok((pinned, catalog))
}

pub(crate) async fn migrate(settings: MigrateSettings) -> anyhow::Result<()> {
    let database = Database::new(&settings.base.database)?;
    let topics = Topics::new(&settings.base.kafka)?;
    // The lock's connection stays out of the pool while the work uses others: at least two are needed.
    let outcome = database
        .migrating(async || {
            Ok::<_, TableError>(
                async {
                    let dir = &settings.base.process.schemas_dir;
                    let (pinned, catalog) = compiled(dir)?;
                    for entity in catalog.iter() {
                        check_entity(&settings, &database, &topics, entity).await?;
                    }
                    publish(dir, &pinned)?;
                    for entity in catalog.iter() {
                        migrate_entity(&settings, &database, &topics, entity).await?;
                    }
                    anyhow::Ok(())
                }
                .await,
            )
        })
        .await?;
    database.close().await;
    outcome
}

/// Everything that could be refused, before anything is done: an id that is published once can never be taken back.
async fn check_entity(
    settings: &MigrateSettings,
    database: &Database,
    topics: &Topics,
    entity: &Arc<Entity>,
) -> anyhow::Result<()> {
    database.rehearse(entity).await.map_err(|error| of_table(entity, error))?;
    let topic = settings.base.kafka.topic(entity.name());
    let Some(found) = topics.inspect(&topic).await.with_context(|| format!("topic {topic}"))? else { return Ok(()) };
    anyhow::ensure!(found.faults.is_empty(), "{}", found.faults.join("\n"));
    let begun = database.partitions(entity.name()).await.map_err(|error| of_table(entity, error))?;
    begun.map_or(Ok(()), |begun| same_partitions(&topic, found.partitions, begun))?;
    let dead = topics.inspect_dead(&topic).await.with_context(|| format!("topic {}", dead::topic_of(&topic)))?;
    dead.map_or(Ok(()), |dead| fit_for_letters(&topic, &dead, found.partitions))
}

/// Pins the ids.
fn publish(dir: &Path, pinned: &Pinned) -> anyhow::Result<()> {
    if pinned.added.is_empty() {
        return Ok(());
    }
    let (path, new) = (dir.join("ids.json"), dir.join("ids.json.new"));
    std::fs::write(&new, &pinned.text)
        .and_then(|()| std::fs::rename(&new, &path))
        .with_context(|| format!("cannot write {}, where new schemas get their ids", path.display()))?;
    for added in &pinned.added {
        tracing::info!(file = added.file, id = added.id.get(), "published {}: commit ids.json", added.file);
    }
    Ok(())
}

/// A refusal names its table itself.
fn of_table(entity: &Entity, error: TableError) -> anyhow::Error {
    match error {
        TableError::Setup(_) => error.into(),
        other => anyhow::Error::from(other).context(format!("table {}", entity.name())),
    }
}

async fn migrate_entity(
    settings: &MigrateSettings,
    database: &Database,
    topics: &Topics,
    entity: &Arc<Entity>,
) -> anyhow::Result<()> {
    let topic = settings.base.kafka.topic(entity.name());
    let replicas = if settings.base.kafka.allow_single_broker { 1 } else { settings.topic_replicas };
    if topics.create(&topic, settings.topic_partitions, replicas).await.with_context(|| format!("topic {topic}"))? {
        tracing::info!(topic, partitions = settings.topic_partitions, replicas, "created topic {topic}");
    }
    let found = known(&topic, async || topics.inspect(&topic).await).await?;
    anyhow::ensure!(found.faults.is_empty(), "{}", found.faults.join("\n"));
    let (letters, kept) = (dead::topic_of(&topic), settings.dead_letters_kept_s);
    let created = topics.create_dead(&topic, found.partitions, replicas, kept).await;
    if created.with_context(|| format!("topic {letters}"))? {
        tracing::info!(topic = letters, partitions = found.partitions, replicas, "created topic {letters}");
    }
    let dead = known(&letters, async || topics.inspect_dead(&topic).await).await?;
    fit_for_letters(&topic, &dead, found.partitions)?;
    let migrated = database.migrate(entity, found.partitions).await.map_err(|error| of_table(entity, error))?;
    let table::Migrated { added, widened } = migrated;
    tracing::info!(entity = entity.name(), ?added, ?widened, "table {} is as its schema has it", entity.name());
    Ok(())
}

/// A topic that was just created is not known to every broker at once.
async fn known(topic: &str, look: impl AsyncFn() -> Result<Option<Found>, TopicError>) -> anyhow::Result<Found> {
    for _ in 0..100 {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("topic {topic} was created, but no broker knows it after 10 s: run it again")
}
