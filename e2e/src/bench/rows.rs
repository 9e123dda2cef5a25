//! Looks into a table: the judge of every figure.

use anyhow::{Context, Result};
use record::Entity;
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Connection};

use crate::System;

/// A connection of its own to a system's database, with the account that may read everything.
#[derive(Debug)]
pub struct Rows {
    connection: MySqlConnection,
    table: String,
}

/// A whole table in two numbers: equal tables have equal ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its rows.
    pub rows: u64,
    /// Over id, version, offset and every field of every row, in no order.
    pub checksum: u64,
}

impl Rows {
    /// Connects.
    ///
    /// # Errors
    /// No connection.
    pub async fn of(system: &System, entity: &str) -> Result<Self> {
        Ok(Self { connection: MySqlConnection::connect(&system.accounts.reader).await?, table: entity.to_owned() })
    }

    /// One number that a query answers.
    ///
    /// # Errors
    /// The database does not answer.
    async fn number(&mut self, what: &str, bound: &[&str]) -> Result<u64> {
        let sql = format!("SELECT CAST({what} AS UNSIGNED)");
        let mut query = sqlx::query_scalar(AssertSqlSafe(sql));
        for value in bound {
            query = query.bind(*value);
        }
        let number: Option<u64> = query.fetch_one(&mut self.connection).await?;
        number.context("no number")
    }

    /// Rows in the table.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn count(&mut self) -> Result<u64> {
        let table = self.table.clone();
        self.number(&format!("(SELECT COUNT(*) FROM `{table}`)"), &[]).await
    }

    /// Rows for which `condition` holds.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn count_where(&mut self, condition: &str) -> Result<u64> {
        let table = self.table.clone();
        self.number(&format!("(SELECT COUNT(*) FROM `{table}` WHERE {condition})"), &[]).await
    }

    /// Whether there is any row yet.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn any(&mut self) -> Result<bool> {
        let table = self.table.clone();
        Ok(self.number(&format!("EXISTS (SELECT 1 FROM `{table}`)"), &[]).await? == 1)
    }

    /// Whether all these rows are there.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn has(&mut self, ids: &[&str]) -> Result<bool> {
        let (table, marks) = (self.table.clone(), vec!["?"; ids.len()].join(", "));
        let found = self.number(&format!("(SELECT COUNT(*) FROM `{table}` WHERE `id` IN ({marks}))"), ids).await?;
        Ok(usize::try_from(found)? == ids.len())
    }

    /// The whole content. `updated_at` is left out: it is the time of the batch.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn content(&mut self, entity: &Entity) -> Result<Content> {
        let fields = entity.fields().iter().map(|field| format!(", QUOTE(`{}`)", field.name));
        let row = format!("'|', `id`, `version`, `log_offset`, `deleted`{}", fields.collect::<String>());
        let table = self.table.clone();
        let checksum = format!("(SELECT COALESCE(SUM(CRC32(CONCAT_WS({row}))), 0) FROM `{table}`)");
        Ok(Content { rows: self.count().await?, checksum: self.number(&checksum, &[]).await? })
    }
}
