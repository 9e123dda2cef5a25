//! PROTOCOL R18: the purge mark, and deleting the tombstones at or below it.
//!
//! The mark rises in its own transaction and exclusively, so that every batch either has been committed before or sees the
//! new mark. Only then do rows go: a row that a batch counts on (a guard against an older put) never vanishes under it,
//! because from then on the mark guards in its place.

use record::Version;
use sqlx::{AssertSqlSafe, Executor, Row};

use crate::ddl::quoted;
use crate::row::version;
use crate::{EntityTable, TableError};

const LOCK_MARK: &str = "SELECT `purged` FROM `_write_behind_entities` WHERE `entity` = ? FOR UPDATE";
const READ_MARK: &str = "SELECT `purged` FROM `_write_behind_entities` WHERE `entity` = ?";
const RAISE_MARK: &str = "UPDATE `_write_behind_entities` SET `purged` = GREATEST(`purged`, ?) WHERE `entity` = ?";
const RESET_MARK: &str = "UPDATE `_write_behind_entities` SET `purged` = 0 WHERE `entity` = ?";

/// What one step of a purge did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PurgedChunk {
    /// Rows that were deleted.
    pub deleted: u64,
    /// The last id that was looked at: where the next step begins. `None`: there was none left.
    pub last: Option<String>,
}

impl EntityTable {
    /// The mark now, without a lock.
    ///
    /// # Errors
    /// [`TableError::Setup`] before `persister migrate`; else what the database answers.
    pub async fn purged(&self) -> Result<Version, TableError> {
        self.mark(READ_MARK, None).await
    }

    /// Raises the mark to `to`, never lowers it, and waits for the batches that have read the old one. Answers the mark that
    /// is in force then.
    ///
    /// # Errors
    /// [`TableError`]; the mark may have risen all the same, which is harmless.
    ///
    /// # Cancellation
    /// Must be awaited to its end.
    pub async fn raise_mark(&self, to: Version) -> Result<Version, TableError> {
        self.mark(LOCK_MARK, Some((RAISE_MARK, to))).await
    }

    /// Puts the mark back to 0: for a table that was emptied to be filled again from the topic, and with the group stopped.
    ///
    /// # Errors
    /// [`TableError`].
    ///
    /// # Cancellation
    /// Must be awaited to its end.
    pub async fn reset_mark(&self) -> Result<(), TableError> {
        let entity = self.entity.name().to_owned();
        self.database
            .with(async |connection| {
                sqlx::query(RESET_MARK).bind(entity).execute(&mut **connection).await?;
                Ok(())
            })
            .await
    }

    async fn mark(&self, read: &'static str, raise: Option<(&'static str, Version)>) -> Result<Version, TableError> {
        let entity = self.entity.name();
        let unknown = || TableError::Setup(format!("no marks for entity {entity}: run `persister migrate`"));
        self.database
            .with(async |connection| {
                connection.execute("START TRANSACTION").await?;
                let row = sqlx::query(read).bind(entity.to_owned()).fetch_optional(&mut **connection).await?;
                let mut mark = version(row.ok_or_else(unknown)?.try_get_unchecked(0)?)?;
                if let Some((statement, to)) = raise {
                    let query = sqlx::query(statement).bind(to.get()).bind(entity.to_owned());
                    query.execute(&mut **connection).await?;
                    mark = mark.max(to);
                }
                connection.execute("COMMIT").await?;
                Ok(mark)
            })
            .await
    }

    /// Deletes the tombstones at or below `mark` among the next `most` rows behind the id `behind`. The look takes no locks;
    /// the delete locks tombstones alone, by primary key as the batches of a lane do, so that neither is the other's deadlock.
    ///
    /// The row of the greatest id always stays, a tombstone too: a table without any row, yet with a mark, is one that somebody
    /// emptied ([`Database::is_emptied`](crate::Database::is_emptied)), never one that was purged.
    ///
    /// # Errors
    /// [`TableError`]; to call again is harmless.
    ///
    /// # Cancellation
    /// Must be awaited to its end.
    pub async fn purge_chunk(&self, behind: &str, mark: Version, most: u32) -> Result<PurgedChunk, TableError> {
        self.chunk(behind, mark, most, true).await
    }

    /// The same, but for the deleting: says how many there are.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn count_chunk(&self, behind: &str, mark: Version, most: u32) -> Result<PurgedChunk, TableError> {
        self.chunk(behind, mark, most, false).await
    }

    async fn chunk(&self, behind: &str, mark: Version, most: u32, delete: bool) -> Result<PurgedChunk, TableError> {
        let table = quoted(self.entity.name());
        let look = format!(
            "SELECT `id`, `deleted`, `version` FROM {table} FORCE INDEX (PRIMARY) WHERE `id` > ? ORDER BY `id` LIMIT ?"
        );
        self.database
            .with(async |connection| {
                // One more than asked for: whatever has a row behind it is not the greatest.
                let query = sqlx::query(AssertSqlSafe(look)).bind(behind.to_owned()).bind(u64::from(most) + 1);
                let (mut doomed, mut last) = (Vec::new(), None);
                let rows = query.fetch_all(&mut **connection).await?;
                for row in rows.split_last().map_or(&[][..], |(_, before)| before) {
                    let id: String = row.try_get_unchecked(0)?;
                    if row.try_get_unchecked::<bool, _>(1)? && row.try_get_unchecked::<u64, _>(2)? <= mark.get() {
                        doomed.push(id.clone());
                    }
                    last = Some(id);
                }
                let mut deleted = doomed.len() as u64;
                if delete && !doomed.is_empty() {
                    // The row may have been written again since the look.
                    let marks = vec!["?"; doomed.len()].join(", ");
                    let statement =
                        format!("DELETE FROM {table} WHERE `id` IN ({marks}) AND `deleted` AND `version` <= ?");
                    // Each number of ids is a statement of its own, which nobody needs twice.
                    let query = sqlx::query(AssertSqlSafe(statement)).persistent(false);
                    let query = doomed.into_iter().fold(query, |query, id| query.bind(id)).bind(mark.get());
                    deleted = query.execute(&mut **connection).await?.rows_affected();
                }
                Ok(PurgedChunk { deleted, last })
            })
            .await
    }

    /// Whether the table has no row at all.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn is_empty(&self) -> Result<bool, TableError> {
        let sql = format!("SELECT 1 FROM {} LIMIT 1", quoted(self.entity.name()));
        let row = self.database.with(async |connection| {
            let row = sqlx::query(AssertSqlSafe(sql)).fetch_optional(&mut **connection).await?;
            Ok(row)
        });
        Ok(row.await?.is_none())
    }
}
