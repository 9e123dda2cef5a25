//! Which version the table holds of some records, asked at once and without a lock: what the sweep wants to know (PROTOCOL R11).

use std::collections::HashMap;

use record::{RecordId, Version};
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Row};

use crate::row::version;
use crate::{Database, EntityTable, TableError, migrate};

impl EntityTable {
    /// h of R14 for each of `ids`, in their order: the row's version, tombstones included; where there is no row, the purge
    /// mark. Must be asked of the primary, never of a replica.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn held(&self, ids: &[RecordId]) -> Result<Vec<Version>, TableError> {
        let (rows, purged) = self.database.with(async |connection| self.ask(connection, ids).await).await?;
        Ok(ids.iter().map(|id| rows.get(id.as_str()).copied().unwrap_or(purged)).collect())
    }

    async fn ask(
        &self,
        connection: &mut MySqlConnection,
        ids: &[RecordId],
    ) -> Result<(HashMap<String, Version>, Version), TableError> {
        let mut rows = HashMap::with_capacity(ids.len());
        for ids in self.statements.chunks(ids, |_| 0) {
            let statement = self.statements.held.get(&ids.len()).cloned().unwrap_or_default();
            let mut query = sqlx::query(AssertSqlSafe(statement));
            for id in ids {
                query = query.bind(id.as_str().to_owned());
            }
            for row in query.fetch_all(&mut *connection).await? {
                rows.insert(row.try_get_unchecked(0)?, version(row.try_get_unchecked(1)?)?);
            }
        }
        // After the rows: a purge raises the mark before it takes a row away.
        let mark = sqlx::query(migrate::READ_MARK).bind(self.entity.name());
        let mark = mark.fetch_optional(connection).await?;
        let purged = mark.map(|row| version(row.try_get_unchecked(0)?)).transpose()?.unwrap_or(Version::ZERO);
        Ok((rows, purged))
    }
}

impl Database {
    /// The entities that were ever migrated, by this build or another.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn entities(&self) -> Result<Vec<String>, TableError> {
        let rows = self
            .with(async |connection| Ok(sqlx::query(migrate::ENTITIES).fetch_all(&mut **connection).await?))
            .await?;
        rows.iter().map(|row| Ok(row.try_get_unchecked(0)?)).collect()
    }
}
