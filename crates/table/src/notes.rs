//! What is noted of the lanes beside the rows: dead letters, so that the fate of a write can be answered (PROTOCOL R14), and
//! up to where an operator lets a lane that is braked go on.

use std::collections::HashMap;

use record::{Reason, RecordId, Version};
use sqlx::Row;

use crate::bind;
use crate::row::version;
use crate::{Database, TableError};

/// By coordinates, so that an event that comes again is noted once. The letter itself stands in the topic of dead letters.
pub(crate) const CREATE_DEAD_LETTERS: &str = "CREATE TABLE IF NOT EXISTS `_write_behind_dead_letters` (\
     `topic` VARCHAR(249) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
     `partition` INT NOT NULL, \
     `offset` BIGINT NOT NULL, \
     `entity` VARCHAR(48) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
     `id` VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NULL, \
     `version` BIGINT UNSIGNED NULL, \
     `reason` VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
     `detail` VARCHAR(1000) CHARACTER SET utf8mb4 NOT NULL, \
     `noted_at` DATETIME(6) NOT NULL, \
     PRIMARY KEY (`topic`, `partition`, `offset`), \
     KEY `fate` (`entity`, `id`, `version`)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4";
pub(crate) const CREATE_ACCEPTED: &str = "CREATE TABLE IF NOT EXISTS `_write_behind_accepted` (\
     `topic` VARCHAR(249) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
     `partition` INT NOT NULL, \
     `until` BIGINT NOT NULL, \
     `said_at` BIGINT UNSIGNED NOT NULL DEFAULT 0, \
     PRIMARY KEY (`topic`, `partition`)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4";
/// For a table from before it was noted when: what was said then is not known to be of this topic.
pub(crate) const WIDEN_ACCEPTED: &str =
    "ALTER TABLE `_write_behind_accepted` ADD COLUMN `said_at` BIGINT UNSIGNED NOT NULL DEFAULT 0";
pub(crate) const ACCEPTED_IS_WIDE: &str = "SELECT 1 FROM information_schema.columns \
     WHERE table_schema = DATABASE() AND table_name = '_write_behind_accepted' AND column_name = 'said_at'";

/// A topic that was made anew counts from 0 again: then the newer letter stands, else the first note of the time.
const NOTE: &str = "INSERT INTO `_write_behind_dead_letters` \
     (`topic`, `partition`, `offset`, `entity`, `id`, `version`, `reason`, `detail`, `noted_at`) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON DUPLICATE KEY UPDATE \
     `noted_at` = IF(`id` <=> VALUES(`id`) AND `version` <=> VALUES(`version`), `noted_at`, VALUES(`noted_at`)), \
     `entity` = VALUES(`entity`), `id` = VALUES(`id`), `version` = VALUES(`version`), \
     `reason` = VALUES(`reason`), `detail` = VALUES(`detail`)";
const NOTED: &str = "SELECT `offset`, `id`, `version` FROM `_write_behind_dead_letters` \
     WHERE `topic` = ? AND `partition` = ? AND `offset` BETWEEN ? AND ?";
const ACCEPT: &str = "INSERT INTO `_write_behind_accepted` (`topic`, `partition`, `until`, `said_at`) VALUES (?, ?, ?, ?) \
     ON DUPLICATE KEY UPDATE `until` = VALUES(`until`), `said_at` = VALUES(`said_at`)";
const ACCEPTED: &str = "SELECT `until`, `said_at` FROM `_write_behind_accepted` WHERE `topic` = ? AND `partition` = ?";

/// Most characters of a detail that are noted.
const DETAIL: usize = 1000;

/// What an operator lets go as dead letters: what stood in a partition when he said it. A topic that was made anew has the same
/// offsets, and other events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The last offset.
    pub until: i64,
    /// When it was said, in microseconds by the database's clock.
    pub said_at: u64,
}

impl Accepted {
    /// Whether it speaks of the event at this offset, which the broker took at `appended`, in milliseconds by its clock.
    #[must_use]
    pub fn covers(self, offset: i64, appended: i64) -> bool {
        offset <= self.until && u64::try_from(appended).is_ok_and(|appended| appended <= self.said_at / 1000)
    }
}

/// A dead letter, as it is noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note<'a> {
    /// Where the event stands.
    pub offset: i64,
    /// Whose it is, where it says.
    pub id: Option<&'a RecordId>,
    /// Its version, where it has one.
    pub version: Option<Version>,
    /// Why it can never be applied.
    pub reason: Reason,
    /// The same for a human, without values.
    pub detail: &'a str,
}

impl Database {
    /// Notes dead letters of one partition, in one transaction. To note one again changes nothing.
    ///
    /// # Errors
    /// [`TableError`]; to call again is harmless.
    ///
    /// # Cancellation
    /// Must be awaited to its end.
    pub async fn note_dead(
        &self,
        entity: &str,
        topic: &str,
        partition: i32,
        notes: &[Note<'_>],
        now: u64,
    ) -> Result<(), TableError> {
        let stamp = i64::try_from(now).ok().and_then(bind::stamp);
        self.with(async |connection| {
            use sqlx::Executor;
            connection.execute("START TRANSACTION").await?;
            for note in notes {
                let detail: String = note.detail.chars().take(DETAIL).collect();
                let query = sqlx::query(NOTE).bind(topic.to_owned()).bind(partition).bind(note.offset);
                let query = query.bind(entity.to_owned()).bind(note.id.map(|id| id.as_str().to_owned()));
                let query = query.bind(note.version.map(Version::get)).bind(note.reason.as_str()).bind(detail);
                query.bind(stamp).execute(&mut **connection).await?;
            }
            connection.execute("COMMIT").await?;
            Ok(())
        })
        .await
    }

    /// Whose the dead letters are that were noted between two offsets, both included: by offset, id and version.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn noted_dead(
        &self,
        topic: &str,
        partition: i32,
        between: (i64, i64),
    ) -> Result<HashMap<i64, (Option<String>, Option<Version>)>, TableError> {
        self.with(async |connection| {
            let query = sqlx::query(NOTED).bind(topic.to_owned()).bind(partition).bind(between.0).bind(between.1);
            let mut noted = HashMap::new();
            for row in query.fetch_all(&mut **connection).await? {
                let of: Option<u64> = row.try_get_unchecked(2)?;
                noted.insert(row.try_get_unchecked(0)?, (row.try_get_unchecked(1)?, of.map(version).transpose()?));
            }
            Ok(noted)
        })
        .await
    }

    /// Lets a lane that is braked go on with its dead letters.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn accept_dead(&self, topic: &str, partition: i32, accepted: Accepted) -> Result<(), TableError> {
        let Accepted { until, said_at } = accepted;
        self.with(async |connection| {
            let query = sqlx::query(ACCEPT).bind(topic.to_owned()).bind(partition).bind(until).bind(said_at);
            query.execute(&mut **connection).await?;
            Ok(())
        })
        .await
    }

    /// What was said last.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn accepted_dead(&self, topic: &str, partition: i32) -> Result<Option<Accepted>, TableError> {
        self.with(async |connection| {
            let query = sqlx::query(ACCEPTED).bind(topic.to_owned()).bind(partition);
            let row = query.fetch_optional(&mut **connection).await?;
            let read = |row: sqlx::mysql::MySqlRow| {
                Ok::<_, sqlx::Error>(Accepted { until: row.try_get_unchecked(0)?, said_at: row.try_get_unchecked(1)? })
            };
            Ok(row.map(read).transpose()?)
        })
        .await
    }
}
