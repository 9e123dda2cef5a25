//! Reading one row as it stands in the table: for a read that missed the cache, and for a re-assert.

use std::sync::Arc;

use record::{Record, RecordId, Version};
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, Row};

use crate::bind;
use crate::ddl::quoted;
use crate::{EntityTable, Held, TableError};

/// A row: its version, and its fields unless it is a tombstone.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRow {
    /// The newest version that the table has of the record; 0 for a row that was there before us.
    pub version: Version,
    /// The record; `None` for a tombstone.
    pub record: Option<Record<'static>>,
}

impl EntityTable {
    /// The row of `id`, `None` where there is none. Must be asked of the primary, never of a replica (R12).
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn select(&self, id: &RecordId) -> Result<Option<StoredRow>, TableError> {
        let statement = Arc::clone(&self.statements.select);
        let row = self
            .database
            .with(async |connection| {
                let query = sqlx::query(AssertSqlSafe(statement)).bind(id.as_str());
                Ok(query.fetch_optional(&mut **connection).await?)
            })
            .await?;
        row.map(|row| self.stored(&row)).transpose()
    }

    /// Version and offset of the row of `id`, `None` where there is none.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn held_row(&self, id: &RecordId) -> Result<Option<Held>, TableError> {
        let statement = format!("SELECT `version`, `log_offset` FROM {} WHERE `id` = ?", quoted(self.entity.name()));
        let row = self
            .database
            .with(async |connection| {
                let query = sqlx::query(AssertSqlSafe(statement)).bind(id.as_str().to_owned());
                Ok(query.fetch_optional(&mut **connection).await?)
            })
            .await?;
        let held = |row: MySqlRow| {
            let version = version(row.try_get_unchecked(0)?)?;
            Ok(Held { version, offset: row.try_get_unchecked(1)?, fresh: false })
        };
        row.map(held).transpose()
    }

    pub(crate) fn stored(&self, row: &MySqlRow) -> Result<StoredRow, TableError> {
        let fields = self.entity.fields();
        let version = version(row.try_get_unchecked(fields.len())?)?;
        if row.try_get_unchecked::<bool, _>(fields.len() + 1)? {
            return Ok(StoredRow { version, record: None });
        }
        let values = fields.iter().enumerate().map(|(index, field)| bind::read(row, index, &field.kind));
        let record = self
            .entity
            .assemble(values.collect::<Result<_, _>>()?)
            .map_err(|misfit| TableError::Unreadable(misfit.to_string()))?;
        Ok(StoredRow { version, record: Some(record) })
    }
}

pub(crate) fn version(number: u64) -> Result<Version, TableError> {
    Version::new(number).map_err(|fault| TableError::Unreadable(fault.to_string()))
}
