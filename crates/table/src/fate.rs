//! What the database knows of one write: the row of its record, its dead letter, the purge mark.

use record::{RecordId, Version};
use sqlx::{AssertSqlSafe, Row};

use crate::bind;
use crate::ddl::quoted;
use crate::row::version;
use crate::{EntityTable, Letter, TableError, migrate};

/// The row, the dead letter and the mark.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InTable {
    /// The row, tombstones included.
    pub row: Option<StandingRow>,
    /// The dead letter that the write is.
    pub letter: Option<Letter>,
    /// Up to which version what has no row was purged.
    pub purged: Version,
}

/// A row, but for its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandingRow {
    /// Its version.
    pub version: Version,
    /// When it got that, in microseconds since 1970.
    pub since: u64,
}

impl EntityTable {
    /// What the database knows of this version of a record. Must be asked of the primary, never of a replica.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn fate(&self, id: &RecordId, of: Version) -> Result<InTable, TableError> {
        let statement = format!("SELECT `version`, `updated_at` FROM {} WHERE `id` = ?", quoted(self.entity.name()));
        let (row, mark) = self
            .database
            .with(async |connection| {
                let row = sqlx::query(AssertSqlSafe(statement)).bind(id.as_str().to_owned());
                let row = row.fetch_optional(&mut **connection).await?;
                // After the row: a purge raises the mark before it takes a row away.
                let mark = sqlx::query(migrate::READ_MARK).bind(self.entity.name().to_owned());
                Ok((row, mark.fetch_optional(&mut **connection).await?))
            })
            .await?;
        let row = row.map(|row| {
            let since = bind::micros(row.try_get_unchecked(1)?);
            Ok::<_, TableError>(StandingRow { version: version(row.try_get_unchecked(0)?)?, since })
        });
        let purged = mark.map(|mark| version(mark.try_get_unchecked(0)?)).transpose()?.unwrap_or_default();
        // Nobody asks why a version never came that is there.
        let row = row.transpose()?;
        let letter = if row.is_some_and(|row| row.version == of) { None } else { self.letter(id, of).await? };
        Ok(InTable { row, letter, purged })
    }
}
