//! Reading the whole table in the order of its primary key, and single rows of it, as `persister verify` compares them:
//! also rows that are no records of ours any more.

use std::fmt::Write as _;

use record::{Record, Version};
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, Row};

use crate::ddl::quoted;
use crate::row::version;
use crate::{EntityTable, TableError};

/// Ids in one statement of [`EntityTable::rows`].
const AT_ONCE: usize = 100;

/// A row as it stands in the table.
#[derive(Clone, Debug, PartialEq)]
pub struct ScannedRow {
    /// Its key. In a table that was there before us it need not be a record's id.
    pub id: String,
    /// The newest version that the table has of the record; 0 for a row that was there before us.
    pub version: Version,
    /// The record, `None` for a tombstone; or why what stands there is none.
    pub content: Result<Option<Record<'static>>, String>,
}

impl EntityTable {
    /// The next rows by primary key, at most `most`, behind the id `behind`; from the first one where that is empty. Takes
    /// no locks.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn page(&self, behind: &str, most: u32) -> Result<Vec<ScannedRow>, TableError> {
        let sql = format!("{} FORCE INDEX (PRIMARY) WHERE `id` > ? ORDER BY `id` LIMIT ?", self.select_rows());
        let rows = self.database.with(async |connection| {
            let query = sqlx::query(AssertSqlSafe(sql)).bind(behind.to_owned()).bind(most);
            Ok(query.fetch_all(&mut **connection).await?)
        });
        rows.await?.iter().map(|row| self.scanned(row)).collect()
    }

    /// The rows of these ids, in no order; those that there are.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn rows(&self, ids: &[&str]) -> Result<Vec<ScannedRow>, TableError> {
        let mut found = Vec::with_capacity(ids.len());
        for some in ids.chunks(AT_ONCE) {
            // The last id stands for those that are missing: each number of ids would be a statement of its own.
            let last = some.last().copied().unwrap_or_default();
            let padded = some.iter().copied().chain(std::iter::repeat(last)).take(AT_ONCE);
            let marks = vec!["?"; AT_ONCE].join(", ");
            let sql = format!("{} WHERE `id` IN ({marks})", self.select_rows());
            let rows = self.database.with(async |connection| {
                let query = padded.fold(sqlx::query(AssertSqlSafe(sql)), |query, id| query.bind(id.to_owned()));
                Ok(query.fetch_all(&mut **connection).await?)
            });
            for row in rows.await? {
                found.push(self.scanned(&row)?);
            }
        }
        Ok(found)
    }

    fn select_rows(&self) -> String {
        let mut sql = "SELECT ".to_owned();
        for field in self.entity.fields() {
            // Into a String this cannot fail.
            write!(sql, "{}, ", quoted(&field.name)).ok();
        }
        sql + "`version`, `deleted`, `id` FROM " + &quoted(self.entity.name())
    }

    fn scanned(&self, row: &MySqlRow) -> Result<ScannedRow, TableError> {
        let fields = self.entity.fields().len();
        let (version, id) = (version(row.try_get_unchecked(fields)?)?, row.try_get_unchecked(fields + 2)?);
        let content = match self.stored(row) {
            Ok(stored) => Ok(stored.record),
            Err(TableError::Unreadable(why)) => Err(why),
            Err(error) => return Err(error),
        };
        Ok(ScannedRow { id, version, content })
    }
}
