//! Creating and widening tables: `persister migrate`. Safe to run twice, and by two replicas at once.

use record::Entity;
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Executor, Row};

use crate::ddl::{self, Column, quoted};
use crate::{Database, TableError};

/// One row per entity. A leading underscore keeps it apart from every entity's table.
const CREATE_MARKS: &str = "CREATE TABLE IF NOT EXISTS `_write_behind_entities` (\
     `entity` VARCHAR(48) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY, \
     `purged` BIGINT UNSIGNED NOT NULL DEFAULT 0, \
     `partitions` INT NOT NULL) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4";
const INSERT_MARK: &str = "INSERT IGNORE INTO `_write_behind_entities` (`entity`, `partitions`) VALUES (?, ?)";
const SELECT_PARTITIONS: &str = "SELECT `partitions` FROM `_write_behind_entities` WHERE `entity` = ?";
pub(crate) const SELECT_MARK: &str =
    "SELECT `purged` FROM `_write_behind_entities` WHERE `entity` = ? LOCK IN SHARE MODE";
const COLUMNS: &str = "SELECT CAST(column_name AS CHAR), CAST(column_type AS CHAR) FROM information_schema.columns \
     WHERE table_schema = DATABASE() AND table_name = ?";

/// What a migration did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Migrated {
    /// Columns that were added, of a new table none.
    pub added: Vec<String>,
    /// Columns that hold more than before.
    pub widened: Vec<String>,
}

impl Database {
    /// Runs `work` while no other migration of this database runs.
    ///
    /// # Errors
    /// Another migration does not end, or what `work` met.
    pub async fn migrating<T>(&self, work: impl AsyncFnOnce() -> Result<T, TableError>) -> Result<T, TableError> {
        // A named lock belongs to its connection, which therefore is held outside of the pool's timeout.
        self.with_lock("write_behind.migrate", work).await
    }

    /// Creates the table of `entity` and its view, or adds what they lack. `partitions` is noted at the first time.
    ///
    /// # Errors
    /// [`TableError`]; what was done until then stays, and running it again goes on.
    pub async fn migrate(&self, entity: &Entity, partitions: i32) -> Result<Migrated, TableError> {
        self.with(async |connection| {
            connection.execute(CREATE_MARKS).await?;
            connection.execute(AssertSqlSafe(ddl::create_table(entity))).await?;
            let migrated = complete(connection, entity).await?;
            connection.execute(AssertSqlSafe(ddl::create_view(entity))).await?;
            sqlx::query(INSERT_MARK).bind(entity.name()).bind(partitions).execute(&mut **connection).await?;
            Ok(migrated)
        })
        .await
    }

    /// The number of partitions with which the table was begun; `None` before `persister migrate`.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn partitions(&self, entity: &str) -> Result<Option<i32>, TableError> {
        self.with(async |connection| {
            let row = sqlx::query(SELECT_PARTITIONS).bind(entity).fetch_optional(&mut **connection).await?;
            Ok(row.map(|row| row.try_get_unchecked(0)).transpose()?)
        })
        .await
    }
}

/// Adds missing columns and widens text that may be longer now. Nothing is ever dropped or narrowed.
async fn complete(connection: &mut MySqlConnection, entity: &Entity) -> Result<Migrated, TableError> {
    let rows = sqlx::query(COLUMNS).bind(entity.name()).fetch_all(&mut *connection).await?;
    let mut found = Vec::new();
    for row in rows {
        let (name, kind): (String, String) = (row.try_get_unchecked(0)?, row.try_get_unchecked(1)?);
        found.push((name.to_ascii_lowercase(), kind.to_ascii_lowercase()));
    }
    let mut migrated = Migrated::default();
    for column in ddl::field_columns(entity).into_iter().chain(ddl::control_columns()) {
        let has = found.iter().find(|(name, _)| *name == column.name.to_ascii_lowercase());
        let (verb, done) = match has {
            None => ("ADD", &mut migrated.added),
            Some((_, kind)) if holds_less(kind, &column) => ("MODIFY", &mut migrated.widened),
            Some(_) => continue,
        };
        let alter = format!("ALTER TABLE {} {verb} COLUMN {}", quoted(entity.name()), column.definition());
        connection.execute(AssertSqlSafe(alter)).await?;
        done.push(column.name);
    }
    Ok(migrated)
}

/// Only text and bytes grow: `varchar(10)` holds less than `varchar(20)`, and every varchar less than a mediumtext.
fn holds_less(found: &str, wanted: &Column) -> bool {
    let length = |kind: &str, prefix: &str| -> Option<u64> {
        kind.to_ascii_lowercase().strip_prefix(prefix)?.split(')').next()?.parse().ok()
    };
    [("varchar(", "mediumtext"), ("varbinary(", "mediumblob")].iter().any(|(inline, beside)| {
        let Some(has) = length(found, inline) else { return false };
        length(&wanted.kind, inline).map_or_else(|| wanted.kind.to_ascii_lowercase().starts_with(beside), |n| has < n)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_may_grow_and_nothing_else_is_changed() {
        let wanted = |kind: &str| Column { name: "f".to_owned(), kind: kind.to_owned() };
        assert!(holds_less("varchar(10)", &wanted("VARCHAR(20) NULL")));
        assert!(holds_less("varchar(10)", &wanted("MEDIUMTEXT NULL")));
        assert!(holds_less("varbinary(10)", &wanted("MEDIUMBLOB NULL")));
        for (found, kind) in [
            ("varchar(20)", "VARCHAR(20) NULL"),
            ("varchar(30)", "VARCHAR(20) NULL"),
            ("mediumtext", "VARCHAR(9) NULL"),
            ("int(11)", "BIGINT NULL"),
        ] {
            assert!(!holds_less(found, &wanted(kind)), "{found} must stay beside {kind}");
        }
    }
}
