//! PROTOCOL R13: one transaction brings a batch into the table and reads back what the table holds then.

use std::sync::Arc;

use std::collections::HashMap;

use chrono::NaiveDateTime;
use record::{Record, RecordId, Version};
use service::{FailureClass, fail_points};
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Executor, Row};

use crate::bind::{self, Bound};
use crate::ddl::quoted;
use crate::row::version;
use crate::{EntityTable, TableError, migrate};

/// The newest event of one record in a batch.
#[derive(Clone, Debug)]
pub struct Incoming<'a> {
    /// Whose.
    pub id: RecordId,
    /// The event's version.
    pub version: Version,
    /// The highest offset in the batch that carried this version.
    pub offset: i64,
    /// The record; `None` is a delete.
    pub record: Option<Record<'a>>,
}

/// What the table holds of a record after the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// h, the row's version; where there is no row, the purge mark (R14).
    pub version: Version,
    /// The highest offset at which that version was seen.
    pub offset: i64,
    /// This very batch brought the version in: it was not there before.
    pub fresh: bool,
}

impl Held {
    /// There is no row, and an event at or below the purge mark makes none (R18): `version` is the mark.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.offset < 0 && self.version.is_mark()
    }
}

/// Bytes that any server takes in one statement.
const SMALL: usize = 1 << 18;

impl EntityTable {
    /// Applies `rows`, which name each record once, and returns what is held of each, in their order; `None` where
    /// another record's row stands in the way of a second unique key. `stamp` (microseconds) becomes `updated_at` of
    /// what changes and tells fresh rows from those that were there.
    ///
    /// # Errors
    /// [`TableError`]: nothing was applied; or, after [`TableError::Unanswered`] and [`TableError::Away`], all may have
    /// been. To apply again is harmless.
    ///
    /// # Cancellation
    /// Must be awaited to its end.
    pub async fn apply(&self, rows: &[Incoming<'_>], stamp: u64) -> Result<Vec<Option<Held>>, TableError> {
        let stamp = bind::stamp(i64::try_from(stamp).unwrap_or(i64::MAX))
            .ok_or_else(|| TableError::Setup("the clock is out of the calendar".to_owned()))?;
        // By primary key, or two batches deadlock.
        let mut sorted: Vec<&Incoming<'_>> = rows.iter().collect();
        sorted.sort_by(|a, b| a.id.cmp(&b.id));
        let (held, purged) = match self.transacted(&sorted, stamp).await {
            // A server closes the connection on what is too large, and its answer is lost as often as not.
            Err(TableError::Away(_)) if self.exceeds(&sorted).await? => Err(TableError::TooLarge),
            ended => ended,
        }?;
        let of = |row: &Incoming<'_>| match held.get(row.id.as_str()) {
            Some(held) => Some(*held),
            None if row.version <= purged => Some(Held { version: purged, offset: -1, fresh: false }),
            None => None,
        };
        Ok(rows.iter().map(of).collect())
    }

    /// What the server refuses for a row's content is rolled back, and the connection goes on: whoever looks for the row
    /// among many is refused often.
    async fn transacted(
        &self,
        sorted: &[&Incoming<'_>],
        stamp: NaiveDateTime,
    ) -> Result<(HashMap<String, Held>, Version), TableError> {
        self.database
            .with(async |connection| match self.transact(connection, sorted, stamp).await {
                Err(refused @ TableError::Refused { .. }) if refused.class() == FailureClass::Poison => {
                    connection.execute("ROLLBACK").await?;
                    Ok(Err(refused))
                }
                ended => ended.map(Ok),
            })
            .await?
    }

    /// Whether a statement of these rows is certainly larger than the server takes. It is not asked, and nothing waits for it
    /// to be there again, where no server that is set up with sense could find them too large.
    async fn exceeds(&self, sorted: &[&Incoming<'_>]) -> Result<bool, TableError> {
        let largest = self.statements.chunks(sorted, |row| row.bytes()).into_iter();
        let largest: usize = largest.map(|rows| rows.iter().map(|row| row.bytes()).sum()).max().unwrap_or(0);
        if largest < SMALL {
            return Ok(false);
        }
        self.database
            .with(async |connection| {
                let row = sqlx::query("SELECT @@max_allowed_packet").fetch_one(&mut **connection).await?;
                Ok(largest as u64 > row.try_get_unchecked::<u64, _>(0)?)
            })
            .await
    }

    async fn transact(
        &self,
        connection: &mut MySqlConnection,
        sorted: &[&Incoming<'_>],
        stamp: NaiveDateTime,
    ) -> Result<(HashMap<String, Held>, Version), TableError> {
        connection.execute("START TRANSACTION").await?;
        let purged = self.purge_mark(connection).await?;
        // Rows are locked in the order of their ids, late ones among the others: two batches that lock in any other deadlock.
        for run in sorted.chunk_by(|one, next| (one.version <= purged) == (next.version <= purged)) {
            if run.first().is_some_and(|row| row.version <= purged) {
                self.update_late(connection, run, stamp).await?;
            } else {
                for rows in self.statements.chunks(run, |row| row.bytes()) {
                    self.upsert(connection, rows, stamp).await?;
                }
            }
        }
        let mut held = HashMap::with_capacity(sorted.len());
        for rows in self.statements.chunks(sorted, |_| 0) {
            self.read_back(connection, rows, stamp, &mut held).await?;
        }
        if fail_points::told(fail_points::BUG_PHYSICAL_DELETE) {
            let table = quoted(self.entity.name());
            connection.execute(AssertSqlSafe(format!("DELETE FROM {table} WHERE `deleted`"))).await?;
        }
        fail_points::reached(fail_points::TABLE_WRITTEN);
        connection.execute("COMMIT").await?;
        Ok((held, purged))
    }

    /// R18: locked against a purge that is about to raise it.
    async fn purge_mark(&self, connection: &mut MySqlConnection) -> Result<Version, TableError> {
        let row = sqlx::query(migrate::SELECT_MARK).bind(self.entity.name()).fetch_optional(connection).await?;
        let row = row.ok_or_else(|| {
            TableError::Setup(format!("no marks for entity {}: run `persister migrate`", self.entity.name()))
        })?;
        version(row.try_get_unchecked(0)?)
    }

    async fn upsert(
        &self,
        connection: &mut MySqlConnection,
        rows: &[&Incoming<'_>],
        stamp: NaiveDateTime,
    ) -> Result<(), TableError> {
        let statement = self.statements.upsert.get(&rows.len()).cloned().unwrap_or_default();
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for row in rows {
            query = self.bind_row(query.bind(row.id.as_str().to_owned()), row, stamp);
        }
        query.execute(connection).await?;
        Ok(())
    }

    /// R18: changes rows that are there and makes none. Read first: of a row that an update does not change the lock is let go,
    /// and would be taken again out of order.
    async fn update_late(
        &self,
        connection: &mut MySqlConnection,
        run: &[&Incoming<'_>],
        stamp: NaiveDateTime,
    ) -> Result<(), TableError> {
        let mut there = HashMap::new();
        for rows in self.statements.chunks(run, |_| 0) {
            self.read_back(connection, rows, stamp, &mut there).await?;
        }
        for row in run.iter().filter(|row| there.contains_key(row.id.as_str())) {
            self.update(connection, row, stamp).await?;
        }
        Ok(())
    }

    async fn update(
        &self,
        connection: &mut MySqlConnection,
        row: &Incoming<'_>,
        stamp: NaiveDateTime,
    ) -> Result<(), TableError> {
        let query = sqlx::query(AssertSqlSafe(Arc::clone(&self.statements.guarded_update)));
        let query = self.bind_row(query, row, stamp).bind(row.id.as_str().to_owned()).bind(row.version.get());
        query.execute(&mut *connection).await?;
        let query = sqlx::query(AssertSqlSafe(Arc::clone(&self.statements.raise_offset))).bind(row.offset);
        query.bind(row.id.as_str().to_owned()).bind(row.version.get()).execute(connection).await?;
        Ok(())
    }

    /// Fields, deleted, `updated_at`, `log_offset`, version: the order of the statements.
    fn bind_row<'q>(&self, mut query: Bound<'q>, row: &Incoming<'_>, stamp: NaiveDateTime) -> Bound<'q> {
        match &row.record {
            Some(record) => {
                for (field, value) in self.entity.fields().iter().zip(record.values()) {
                    query = bind::bind(query, &field.kind, value);
                }
            }
            None => {
                for _ in self.entity.fields() {
                    query = bind::null(query);
                }
            }
        }
        query.bind(row.record.is_none()).bind(stamp).bind(row.offset).bind(row.version.get())
    }

    async fn read_back(
        &self,
        connection: &mut MySqlConnection,
        rows: &[&Incoming<'_>],
        stamp: NaiveDateTime,
        held: &mut HashMap<String, Held>,
    ) -> Result<(), TableError> {
        let statement = self.statements.read_back.get(&rows.len()).cloned().unwrap_or_default();
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for row in rows {
            query = query.bind(row.id.as_str().to_owned());
        }
        for row in query.fetch_all(connection).await? {
            let fresh = row.try_get_unchecked::<NaiveDateTime, _>(3)? == stamp;
            let found = Held { version: version(row.try_get_unchecked(1)?)?, offset: row.try_get_unchecked(2)?, fresh };
            held.insert(row.try_get_unchecked(0)?, found);
        }
        Ok(())
    }
}

impl Incoming<'_> {
    /// Bytes that its values take in a statement, roughly.
    fn bytes(&self) -> usize {
        self.record.iter().flat_map(|record| record.values()).map(record::Value::bytes).sum()
    }
}
