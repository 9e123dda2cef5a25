//! Which entities may be consumed: those whose table exists, was begun with the partitions that its topic has, and was not
//! emptied by hand. Each for itself: one whose topic or table is missing keeps no other waiting, and joins when it is there.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use record::{Catalog, Entity};
use table::Database;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use topic::KafkaSettings;
use topic::setup::Topics;

use super::{fit_for_letters, same_partitions};

const EVERY: Duration = Duration::from_secs(1);

/// Looks at each entity until it may be consumed.
pub(super) struct Fitting {
    settings: KafkaSettings,
    database: Database,
    topics: Topics,
    waiting: Vec<Waiting>,
    fit: Vec<String>,
}

struct Waiting {
    entity: Arc<Entity>,
    /// For what, as last logged.
    lacks: String,
}

impl Fitting {
    pub(super) fn new(settings: &KafkaSettings, catalog: &Catalog, database: Database) -> anyhow::Result<Self> {
        let waiting = |entity: &Arc<Entity>| Waiting { entity: Arc::clone(entity), lacks: String::new() };
        let waiting = catalog.iter().map(waiting).collect();
        Ok(Self { settings: settings.clone(), database, topics: Topics::new(settings)?, waiting, fit: Vec::new() })
    }

    /// Hands out all topics that may be consumed whenever they have become more, until these are all of them, or until
    /// `stopping`.
    ///
    /// # Errors
    /// A table and its topic do not fit, which no waiting mends: with another number of partitions a delete and the write
    /// before it may lie in different ones, and what comes late to a table that was emptied would all be answered with
    /// tombstones (R18).
    pub(super) async fn tell(
        mut self,
        consumed: &mpsc::Sender<Vec<String>>,
        stopping: &CancellationToken,
    ) -> anyhow::Result<()> {
        while !self.waiting.is_empty() {
            let before = self.fit.len();
            for mut waiting in std::mem::take(&mut self.waiting) {
                match self.lacks(&waiting.entity).await? {
                    None => self.fit.push(self.settings.topic(waiting.entity.name())),
                    Some(lacks) => {
                        waiting.say(lacks);
                        self.waiting.push(waiting);
                    }
                }
            }
            if self.fit.len() > before && consumed.send(self.fit.clone()).await.is_err() {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = stopping.cancelled() => break,
            }
        }
        Ok(())
    }

    /// What an entity waits for; nothing: it fits.
    async fn lacks(&self, entity: &Entity) -> anyhow::Result<Option<String>> {
        let (name, topic) = (entity.name(), self.settings.topic(entity.name()));
        let found = (self.topics.inspect(&topic).await, self.topics.inspect_dead(&topic).await);
        let table = (self.database.partitions(name).await, self.database.is_emptied(name).await);
        match (table, found) {
            ((Ok(Some(begun)), Ok(emptied)), (Ok(Some(found)), Ok(Some(dead)))) => {
                same_partitions(&topic, found.partitions, begun)?;
                fit_for_letters(&topic, &dead, begun)?;
                not_emptied(name, emptied)?;
                Ok(None)
            }
            ((begun, emptied), (found, dead)) => {
                let begun = begun.and_then(|begun| emptied.map(|_| begun.is_some()));
                let lacks = [
                    state("its table", begun.map_err(|error| error.to_string())),
                    state("its topic", found.map(|it| it.is_some()).map_err(|error| error.to_string())),
                    state(
                        "the topic of its dead letters",
                        dead.map(|it| it.is_some()).map_err(|error| error.to_string()),
                    ),
                ];
                Ok(Some(lacks.into_iter().flatten().collect::<Vec<_>>().join("; ")))
            }
        }
    }
}

impl Waiting {
    fn say(&mut self, lacks: String) {
        if self.lacks != lacks {
            let entity = self.entity.name();
            tracing::warn!(entity, lacks, "{entity} is not consumed yet: {lacks}. Was `persister migrate` run?");
            self.lacks = lacks;
        }
    }
}

/// What of an entity there is not.
fn state(what: &str, there: Result<bool, String>) -> Option<String> {
    match there {
        Ok(true) => None,
        Ok(false) => Some(format!("{what} does not exist")),
        Err(error) => Some(format!("{what} cannot be looked at ({error})")),
    }
}

fn not_emptied(name: &str, emptied: bool) -> anyhow::Result<()> {
    ensure!(
        !emptied,
        "table {name} is empty, yet has a purge mark, and a purge never takes the last row: restore it; or, to rebuild it from \
         the topic, `persister replay --all --reset-purge-mark --entity {name}`"
    );
    Ok(())
}
