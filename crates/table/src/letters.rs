//! Which events of a topic were moved to the dead letters, as the lanes have noted it: whoever reads the topic once more knows
//! them by their coordinates, the sweep (PROTOCOL R11) by record and version.

use std::collections::{HashMap, HashSet};

use record::{RecordId, Version};
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, Row};

use crate::bind;
use crate::row::version;
use crate::{Database, EntityTable, TableError};

const SELECT: &str =
    "SELECT `partition`, `offset`, `version` FROM `_write_behind_dead_letters` WHERE `topic` = ? LIMIT ?";

/// By the index `fate`. A row constructor would not use all of it on MariaDB.
const FATES: &str = "SELECT `id`, `version` FROM `_write_behind_dead_letters` WHERE `entity` = ? AND ";
const FATE: &str = "(`id` = ? AND `version` = ?)";

/// Of several with one version, the first.
const LETTER: &str = "SELECT `reason`, `topic`, `partition`, `offset`, `noted_at` FROM `_write_behind_dead_letters` \
     WHERE `entity` = ? AND `id` = ? AND `version` = ? ORDER BY `noted_at` LIMIT 1";

/// A write that is a dead letter: why, and where its event stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// As [`record::Reason`] names it.
    pub reason: String,
    /// The topic that its event came from.
    pub topic: String,
    /// In the topic.
    pub partition: i32,
    /// In the partition.
    pub offset: i64,
    /// When it was noted, in microseconds since 1970.
    pub at: u64,
}

/// The dead letters of one topic.
#[derive(Clone, Debug, Default)]
pub struct Letters(HashMap<(i32, i64), Option<Version>>);

impl Letters {
    /// Was the event at these coordinates moved? A topic that was made anew counts from 0 again: the note must be of this event,
    /// of one without a version where it has none.
    #[must_use]
    pub fn has(&self, partition: i32, offset: i64, of: Option<Version>) -> bool {
        self.0.get(&(partition, offset)).is_some_and(|noted| *noted == of)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Database {
    /// The dead letters of a topic, none where nothing was ever noted. They are held in memory, of which `most` is the bound.
    ///
    /// # Errors
    /// [`TableError::Setup`] where there are more than `most`; or the database cannot be asked.
    pub async fn letters(&self, topic: &str, most: usize) -> Result<Letters, TableError> {
        let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        let asked = self
            .with(async |connection| {
                let query = sqlx::query(SELECT).bind(topic.to_owned()).bind(limit);
                Ok(query.fetch_all(&mut **connection).await?)
            })
            .await;
        let rows = noted(asked)?;
        if rows.len() > most {
            return Err(TableError::Setup(format!("topic {topic} has more than {most} dead letters")));
        }
        let mut letters = HashMap::with_capacity(rows.len());
        for row in rows {
            let noted: Option<u64> = row.try_get_unchecked(2)?;
            let place = (row.try_get_unchecked(0)?, row.try_get_unchecked(1)?);
            letters.insert(place, noted.map(version).transpose()?);
        }
        Ok(Letters(letters))
    }
}

impl EntityTable {
    /// Which of these versions are dead letters, in their order. A lane notes them before the group passes them. All are asked in
    /// one statement: for some dozens, not for thousands.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn dead(&self, of: &[(RecordId, Version)]) -> Result<Vec<bool>, TableError> {
        if of.is_empty() {
            return Ok(Vec::new());
        }
        let statement = format!("{FATES}({})", vec![FATE; of.len()].join(" OR "));
        let asked = self
            .database
            .with(async |connection| {
                let mut query = sqlx::query(AssertSqlSafe(statement.clone())).bind(self.entity.name().to_owned());
                for (id, version) in of {
                    query = query.bind(id.as_str().to_owned()).bind(version.get());
                }
                Ok(query.fetch_all(&mut **connection).await?)
            })
            .await;
        let mut dead = HashSet::new();
        for row in noted(asked)? {
            dead.insert((row.try_get_unchecked::<String, _>(0)?, version(row.try_get_unchecked(1)?)?));
        }
        Ok(of.iter().map(|(id, version)| dead.contains(&(id.as_str().to_owned(), *version))).collect())
    }
}

impl EntityTable {
    /// The dead letter that this version is, if it is one.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn letter(&self, id: &RecordId, of: Version) -> Result<Option<Letter>, TableError> {
        let asked = self
            .database
            .with(async |connection| {
                let query = sqlx::query(LETTER).bind(self.entity.name().to_owned()).bind(id.as_str().to_owned());
                Ok(query.bind(of.get()).fetch_all(&mut **connection).await?)
            })
            .await;
        let Some(row) = noted(asked)?.into_iter().next() else { return Ok(None) };
        Ok(Some(Letter {
            reason: row.try_get_unchecked(0)?,
            topic: row.try_get_unchecked(1)?,
            partition: row.try_get_unchecked(2)?,
            offset: row.try_get_unchecked(3)?,
            at: bind::micros(row.try_get_unchecked(4)?),
        }))
    }
}

/// No rows where the table is not there: it came with a later `persister migrate`.
fn noted(asked: Result<Vec<MySqlRow>, TableError>) -> Result<Vec<MySqlRow>, TableError> {
    match asked {
        Err(TableError::Refused { number: 1146, .. }) => Ok(Vec::new()),
        answer => answer,
    }
}
