//! Whose row stands in the way of another's, in a unique key that somebody has added to the table.

use std::collections::BTreeMap;

use record::RecordId;
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Row};

use crate::bind;
use crate::ddl::quoted;
use crate::{EntityTable, Incoming, TableError};

const UNIQUE_KEYS: &str = "SELECT CAST(index_name AS CHAR), CAST(column_name AS CHAR) FROM information_schema.statistics \
     WHERE table_schema = DATABASE() AND table_name = ? AND non_unique = 0 AND index_name <> 'PRIMARY' \
     ORDER BY index_name, seq_in_index";

impl EntityTable {
    /// The id whose row has the values of `row` in a unique key. `None`: there is none (any more), or the key is not one of
    /// plain fields.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn rival(&self, row: &Incoming<'_>) -> Result<Option<RecordId>, TableError> {
        self.database
            .with(async |connection| {
                for (_, columns) in self.unique_keys(connection).await? {
                    let found = self.holder(connection, row, &columns).await?;
                    if let Some(id) = found.and_then(|id| RecordId::parse(&id).ok()) {
                        return Ok(Some(id));
                    }
                }
                Ok(None)
            })
            .await
    }

    async fn unique_keys(&self, connection: &mut MySqlConnection) -> Result<BTreeMap<String, Vec<String>>, TableError> {
        let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in sqlx::query(UNIQUE_KEYS).bind(self.entity.name().to_owned()).fetch_all(connection).await? {
            // A key over an expression has no column.
            let column: Option<String> = row.try_get_unchecked(1)?;
            keys.entry(row.try_get_unchecked(0)?).or_default().push(column.unwrap_or_default());
        }
        Ok(keys)
    }

    async fn holder(
        &self,
        connection: &mut MySqlConnection,
        row: &Incoming<'_>,
        columns: &[String],
    ) -> Result<Option<String>, TableError> {
        let Some(record) = &row.record else { return Ok(None) };
        let fields = self.entity.fields().iter().zip(record.values());
        let of = |column: &String| fields.clone().find(|(field, _)| field.name.eq_ignore_ascii_case(column));
        let Some(values) = columns.iter().map(of).collect::<Option<Vec<_>>>() else { return Ok(None) };
        let same: Vec<_> = columns.iter().map(|column| format!("{} = ?", quoted(column))).collect();
        let table = quoted(self.entity.name());
        let sql = format!("SELECT `id` FROM {table} WHERE {} AND `id` <> ? LIMIT 1", same.join(" AND "));
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for (field, value) in values {
            query = bind::bind(query, &field.kind, value);
        }
        let found = query.bind(row.id.as_str().to_owned()).fetch_optional(connection).await?;
        Ok(found.map(|row| row.try_get_unchecked(0)).transpose()?)
    }
}
