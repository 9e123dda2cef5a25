//! How far a replay has come, noted in the database that it fills: where the database is restored from an older copy, the note
//! goes back with the rows, which a file would not.

use std::collections::BTreeMap;

use sqlx::{Executor, Row};

use crate::{Database, TableError};

/// One row per partition of a replay that has not ended. `run`: whose note it is; `poison`: events so far, of the whole topic,
/// that could not be applied.
pub(crate) const CREATE_REPLAYS: &str = "CREATE TABLE IF NOT EXISTS `_write_behind_replays` (\
     `topic` VARCHAR(249) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
     `number` INT NOT NULL, \
     `next` BIGINT NOT NULL, \
     `until` BIGINT NOT NULL, \
     `run` BIGINT UNSIGNED NOT NULL DEFAULT 0, \
     `poison` BIGINT UNSIGNED NOT NULL DEFAULT 0, \
     PRIMARY KEY (`topic`, `number`)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4";
/// For a table from before these were noted.
pub(crate) const WIDEN_REPLAYS: &str = "ALTER TABLE `_write_behind_replays` \
     ADD COLUMN `run` BIGINT UNSIGNED NOT NULL DEFAULT 0, ADD COLUMN `poison` BIGINT UNSIGNED NOT NULL DEFAULT 0";
pub(crate) const REPLAYS_ARE_WIDE: &str = "SELECT 1 FROM information_schema.columns \
     WHERE table_schema = DATABASE() AND table_name = '_write_behind_replays' AND column_name = 'poison'";
const SELECT: &str = "SELECT `number`, `next`, `until`, `poison` FROM `_write_behind_replays` WHERE `topic` = ?";
const INSERT: &str = "INSERT INTO `_write_behind_replays` (`topic`, `number`, `next`, `until`, `run`, `poison`) VALUES (?, ?, ?, ?, ?, ?)";
const UPDATE: &str =
    "UPDATE `_write_behind_replays` SET `next` = ?, `poison` = ? WHERE `topic` = ? AND `number` = ? AND `run` = ?";
const DELETE: &str = "DELETE FROM `_write_behind_replays` WHERE `topic` = ?";

/// What a replay has still to read, and what it has met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayNote {
    /// By partition the next offset, and the one behind the last.
    pub left: BTreeMap<i32, (i64, i64)>,
    /// Events that could not be applied.
    pub poison: u64,
}

impl Database {
    /// What is noted of an interrupted replay of this topic; nothing is left where there is none.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn replay(&self, topic: &str) -> Result<ReplayNote, TableError> {
        self.with(async |connection| {
            let mut note = ReplayNote::default();
            for row in sqlx::query(SELECT).bind(topic.to_owned()).fetch_all(&mut **connection).await? {
                let span = (row.try_get_unchecked(1)?, row.try_get_unchecked(2)?);
                note.left.insert(row.try_get_unchecked(0)?, span);
                note.poison = note.poison.max(row.try_get_unchecked(3)?);
            }
            Ok(note)
        })
        .await
    }

    /// The note is that of `run` from now on, and says this: whoever had it before learns of it at its next.
    ///
    /// # Errors
    /// [`TableError`].
    ///
    /// # Cancellation
    /// Must be awaited to its end.
    pub async fn begin_replay(&self, topic: &str, run: u64, note: &ReplayNote) -> Result<(), TableError> {
        self.with(async |connection| {
            connection.execute("START TRANSACTION").await?;
            sqlx::query(DELETE).bind(topic.to_owned()).execute(&mut **connection).await?;
            for (number, (next, until)) in &note.left {
                let query = sqlx::query(INSERT).bind(topic.to_owned()).bind(number).bind(next).bind(until);
                query.bind(run).bind(note.poison).execute(&mut **connection).await?;
            }
            connection.execute("COMMIT").await?;
            Ok(())
        })
        .await
    }

    /// Notes how far `run` has come.
    ///
    /// # Errors
    /// [`TableError`]; of its kinds [`TableError::Setup`] where another replay of this topic has begun meanwhile, or ended.
    ///
    /// # Cancellation
    /// Must be awaited to its end.
    pub async fn note_replay(&self, topic: &str, run: u64, note: &ReplayNote) -> Result<(), TableError> {
        self.with(async |connection| {
            connection.execute("START TRANSACTION").await?;
            for (number, (next, _)) in &note.left {
                let query =
                    sqlx::query(UPDATE).bind(next).bind(note.poison).bind(topic.to_owned()).bind(number).bind(run);
                if query.execute(&mut **connection).await?.rows_affected() == 0 {
                    let why = format!("another replay of topic {topic} has begun since: only one can be resumed");
                    return Err(TableError::Setup(why));
                }
            }
            connection.execute("COMMIT").await?;
            Ok(())
        })
        .await
    }

    /// There is none any more: it has ended.
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
