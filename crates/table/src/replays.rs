//! How far a replay has come, noted in the database that it fills: where the database is restored from an older copy, the note
//! goes back with the rows, which a file would not.

use std::collections::BTreeMap;

use sqlx::Row;

use crate::{Database, TableError};

/// One row per partition of a replay that has not ended.
pub(crate) const CREATE_REPLAYS: &str = "CREATE TABLE IF NOT EXISTS `_write_behind_replays` (\
     `topic` VARCHAR(249) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
     `number` INT NOT NULL, \
     `next` BIGINT NOT NULL, \
     `until` BIGINT NOT NULL, \
     PRIMARY KEY (`topic`, `number`)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4";
const SELECT: &str = "SELECT `number`, `next`, `until` FROM `_write_behind_replays` WHERE `topic` = ?";
const UPSERT: &str = "INSERT INTO `_write_behind_replays` (`topic`, `number`, `next`, `until`) VALUES (?, ?, ?, ?) \
     ON DUPLICATE KEY UPDATE `next` = VALUES(`next`), `until` = VALUES(`until`)";
const DELETE: &str = "DELETE FROM `_write_behind_replays` WHERE `topic` = ?";

impl Database {
    /// What an interrupted replay of this topic has still to read: by partition the next offset, and the one behind the last.
    /// Empty where there is none.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn replay(&self, topic: &str) -> Result<BTreeMap<i32, (i64, i64)>, TableError> {
        self.with(async |connection| {
            let rows = sqlx::query(SELECT).bind(topic.to_owned()).fetch_all(&mut **connection).await?;
            let part = |row: &sqlx::mysql::MySqlRow| {
                let span = (row.try_get_unchecked(1)?, row.try_get_unchecked(2)?);
                Ok((row.try_get_unchecked(0)?, span))
            };
            rows.iter().map(part).collect()
        })
        .await
    }

    /// Notes how far it has come, for these partitions.
    ///
    /// # Errors
    /// [`TableError`].
    ///
    /// # Cancellation
    /// Must be awaited to its end.
    pub async fn note_replay(&self, topic: &str, stretch: &BTreeMap<i32, (i64, i64)>) -> Result<(), TableError> {
        self.with(async |connection| {
            for (number, (next, until)) in stretch {
                let query = sqlx::query(UPSERT).bind(topic.to_owned()).bind(number).bind(next).bind(until);
                query.execute(&mut **connection).await?;
            }
            Ok(())
        })
        .await
    }

    /// There is none any more: it has ended, or another begins.
    ///
    /// # Errors
    /// [`TableError`].
    ///
    /// # Cancellation
    /// Must be awaited to its end.
    pub async fn forget_replay(&self, topic: &str) -> Result<(), TableError> {
        self.with(async |connection| {
            sqlx::query(DELETE).bind(topic.to_owned()).execute(&mut **connection).await?;
            Ok(())
        })
        .await
    }
}
