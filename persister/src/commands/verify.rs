//! `persister verify`: do cache, topic and table agree? Only reads, beside running services.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use cache::{Inspector, RedisSettings};
use service::process::Ended;
use service::schemas;
use service::settings::{Findings, millis, seconds};
use table::{Database, EntityTable};
use topic::Reader;

use super::{BaseSettings, chosen, say, unknown_entities};
use crate::verify::{Comparison, Limits};

/// The sources differ.
const DIFFER: u8 = 1;
/// It could not be found out.
const NOT_COMPARED: u8 = 2;

/// Settings of `persister verify`. Accounts that may only read are enough: SELECT on the tables, in Redis the commands that
/// read, in Kafka to read the topics and to describe the group.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Verify")]
pub struct VerifySettings {
    /// Only these entities; may be given several times, or with commas. Left out: all.
    #[arg(long, env = "ENTITY", value_delimiter = ',')]
    pub entity: Vec<String>,

    /// Print one JSON object an entity instead of text.
    #[arg(long)]
    pub json: bool,

    /// Most ids that are named; of more only the number is told.
    #[arg(long, env = "IDS_MOST", default_value = "100")]
    pub ids_most: usize,

    /// Most ids in memory at a time, about 400 bytes each with everything; what does not fit goes to files.
    #[arg(long, env = "IDS_IN_MEMORY_MOST", default_value = "200000")]
    pub ids_in_memory_most: usize,

    /// Where these files lie, which no other process sees: about 60 bytes an event, a row and a cached record. Left out: the
    /// system's folder for temporary files.
    #[arg(long, env = "SCRATCH_DIR")]
    pub scratch_dir: Option<PathBuf>,

    /// How long the group may take to pass a fixed point.
    #[arg(long, env = "DRAIN_MOST_S", default_value = "60", value_parser = seconds)]
    pub drain_most_s: Duration,

    /// What differs is looked at again after so long; only what has not moved meanwhile counts.
    #[arg(long, env = "AGAIN_AFTER_MS", default_value = "5000", value_parser = millis)]
    pub again_after_ms: Duration,

    /// How often it is looked at, at least twice.
    #[arg(long, env = "LOOKS_MOST", default_value = "6")]
    pub looks_most: usize,

    // Groups stand last, since each goes on under its own heading.
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub redis: RedisSettings,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub base: BaseSettings,
}

impl VerifySettings {
    /// Everything that is wrong, each naming its flag.
    #[must_use]
    pub fn findings(&self) -> Findings {
        let mut found = self.redis.findings().and(self.base.kafka.findings(None)).and(self.base.database.findings());
        found.at_least_one([("--ids-in-memory-most", self.ids_in_memory_most)]);
        found.demand(self.looks_most >= 2, || "--looks-most must be at least 2".to_owned());
        unknown_entities(&self.base.process, &self.entity, &mut found);
        found
    }
}

/// # Errors
/// [`Ended`] with 1 where the sources differ, and with 2 where they could not be compared.
pub(crate) async fn verify(settings: VerifySettings) -> anyhow::Result<()> {
    let ended = |code: u8, why: String| Err(Ended { code, why }.into());
    match compare(&settings).await {
        Ok((false, true)) => Ok(()),
        Ok((false, false)) => ended(NOT_COMPARED, "not every id could be judged".to_owned()),
        Ok((true, _)) => ended(DIFFER, "cache, topic and table differ".to_owned()),
        Err(error) => ended(NOT_COMPARED, format!("not compared: {error:#}")),
    }
}

/// Whether anything differs, and whether everything could be judged.
async fn compare(settings: &VerifySettings) -> anyhow::Result<(bool, bool)> {
    let catalog = schemas::load(&settings.base.process.schemas_dir)?;
    let database = Database::new(&settings.base.database)?;
    let cache = Inspector::connect(&settings.redis).await.context("the cache cannot be read")?;
    let limits = Limits {
        ids_most: settings.ids_in_memory_most,
        folder: settings.scratch_dir.clone().unwrap_or_else(std::env::temp_dir),
        drain: settings.drain_most_s,
        again_after: settings.again_after_ms,
        looks_most: settings.looks_most,
    };
    let (mut differs, mut whole) = (false, true);
    for entity in chosen(&catalog, &settings.entity) {
        let topic = settings.base.kafka.topic(entity.name());
        let comparison = Comparison {
            table: EntityTable::new(database.clone(), Arc::clone(entity)),
            database: database.clone(),
            cache: cache.clone(),
            reader: Arc::new(Mutex::new(Reader::new(&settings.base.kafka, "verify", &topic)?)),
            topic,
            limits: limits.clone(),
        };
        let compared = Box::pin(comparison.run()).await.with_context(|| format!("entity {}", entity.name()))?;
        let most = settings.ids_most;
        say(&if settings.json { format!("{}\n", compared.json(most)) } else { compared.text(most) });
        (differs, whole) = (differs || compared.differs(), whole && compared.is_whole());
    }
    Ok((differs, whole))
}
