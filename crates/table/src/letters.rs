//! Which events of a topic were moved to the dead letters, as the lanes have noted it: whoever reads the topic once more knows
//! them by their coordinates.

use std::collections::HashMap;

use record::Version;
use sqlx::Row;

use crate::row::version;
use crate::{Database, TableError};

const SELECT: &str =
    "SELECT `partition`, `offset`, `version` FROM `_write_behind_dead_letters` WHERE `topic` = ? LIMIT ?";

/// The dead letters of one topic.
#[derive(Clone, Debug, Default)]
pub struct Letters(HashMap<(i32, i64), Option<Version>>);

impl Letters {
    /// Was the event at these coordinates moved? A topic that was made anew counts from 0 again: where the note has a version,
    /// it must be the event's.
    #[must_use]
    pub fn has(&self, partition: i32, offset: i64, of: Option<Version>) -> bool {
        self.0.get(&(partition, offset)).is_some_and(|noted| noted.is_none() || *noted == of)
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
        let rows = match asked {
            // The table came with a later `persister migrate`.
            Err(TableError::Refused { number: 1146, .. }) => Vec::new(),
            answer => answer?,
        };
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
