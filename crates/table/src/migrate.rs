//! Creating and widening tables: `persister migrate`. Safe to run twice, and by two replicas at once.

use record::Entity;
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Executor, Row};

use crate::ddl::{self, Column, quoted};
use crate::holds::{self, Verdict};
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
const COLUMNS: &str = "SELECT CAST(column_name AS CHAR), CAST(column_type AS CHAR), CAST(character_set_name AS CHAR), \
     CAST(collation_name AS CHAR), is_nullable = 'YES', \
     column_default IS NULL AND is_nullable = 'NO' AND extra NOT LIKE '%auto_increment%' \
     FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = ?";
const PRIMARY_KEY: &str = "SELECT CAST(column_name AS CHAR) FROM information_schema.statistics \
     WHERE table_schema = DATABASE() AND table_name = ? AND index_name = 'PRIMARY'";

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
        self.altering(async |connection| {
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

/// A column as it stands in the table.
struct Found {
    name: String,
    kind: String,
    charset: Option<String>,
    collation: Option<String>,
    nullable: bool,
    /// An insert that does not name it fails.
    demanded: bool,
}

/// Adds missing columns and widens those that hold less than their fields may have. Nothing is ever dropped or narrowed,
/// and a table that is not fit for our rows is refused before anything is done to it.
async fn complete(connection: &mut MySqlConnection, entity: &Entity) -> Result<Migrated, TableError> {
    let found = columns(connection, entity).await?;
    let of = |name: &str| found.iter().find(|found| found.name.eq_ignore_ascii_case(name));
    check_key(connection, entity, of("id")).await?;
    let mut migrated = Migrated::default();
    let mut changes = Vec::new();
    let fields = ddl::field_columns(entity);
    for column in fields.iter().chain(&ddl::control_columns()) {
        match of(&column.name) {
            None => {
                changes.push(format!("ADD COLUMN {}", column.definition()));
                migrated.added.push(column.name.clone());
            }
            Some(found) => {
                if let Some(definition) = wider(entity, found, column)? {
                    changes.push(format!("MODIFY COLUMN {definition}"));
                    migrated.widened.push(column.name.clone());
                }
            }
        }
    }
    if let Some(Found { name, .. }) = found.iter().find(|found| found.demanded && !is_ours(entity, &found.name)) {
        return Err(refused(entity, name, "is not in the schema and wants a value in every row: give it a default"));
    }
    if !changes.is_empty() {
        let alter = format!("ALTER TABLE {} {}", quoted(entity.name()), changes.join(", "));
        connection.execute(AssertSqlSafe(alter)).await?;
    }
    Ok(migrated)
}

async fn columns(connection: &mut MySqlConnection, entity: &Entity) -> Result<Vec<Found>, TableError> {
    let rows = sqlx::query(COLUMNS).bind(entity.name()).fetch_all(connection).await?;
    let found = rows.iter().map(|row| {
        Ok(Found {
            name: row.try_get_unchecked(0)?,
            kind: row.try_get_unchecked(1)?,
            charset: row.try_get_unchecked(2)?,
            collation: row.try_get_unchecked(3)?,
            nullable: row.try_get_unchecked(4)?,
            demanded: row.try_get_unchecked(5)?,
        })
    });
    found.collect()
}

fn is_ours(entity: &Entity, name: &str) -> bool {
    let fields = ddl::field_columns(entity).into_iter().chain(ddl::control_columns());
    name.eq_ignore_ascii_case("id") || fields.into_iter().any(|column| column.name.eq_ignore_ascii_case(name))
}

/// Two ids must never be one row: neither by case, nor because the column cuts or converts them.
async fn check_key(connection: &mut MySqlConnection, entity: &Entity, id: Option<&Found>) -> Result<(), TableError> {
    let rows = sqlx::query(PRIMARY_KEY).bind(entity.name()).fetch_all(connection).await?;
    let key: Vec<String> = rows.iter().map(|row| row.try_get_unchecked(0)).collect::<Result<_, _>>()?;
    let exact = |collation: &str| collation.ends_with("_bin");
    let fit = id.is_some_and(|id| {
        holds::compare(&id.kind, ddl::ID) == Verdict::Enough && id.collation.as_deref().is_some_and(exact)
    });
    if fit && key.iter().map(String::as_str).eq(["id"]) {
        return Ok(());
    }
    Err(refused(entity, "id", &format!("must be the primary key, and {}", ddl::ID)))
}

/// The definition by which the column must be replaced, if it must.
fn wider(entity: &Entity, found: &Found, column: &Column) -> Result<Option<String>, TableError> {
    let utf8 = found.charset.as_deref().is_none_or(|charset| charset == "utf8mb4");
    let narrow = !utf8 && column.kind.contains(ddl::UTF8);
    let may_be_null = column.kind.ends_with(" NULL") && !column.kind.ends_with("NOT NULL");
    match holds::compare(&found.kind, &column.kind) {
        Verdict::Foreign => {
            let remedy =
                format!("is {}, of which {} cannot be made: rename the one in the table", found.kind, column.kind);
            Err(refused(entity, &column.name, &remedy))
        }
        Verdict::Enough if !narrow && (found.nullable || !may_be_null) => Ok(None),
        // It may hold more than it must, which it keeps.
        Verdict::Enough => {
            let text = match (&found.charset, &found.collation) {
                (Some(charset), Some(collation)) if !narrow => format!("CHARACTER SET {charset} COLLATE {collation}"),
                (Some(_), _) => ddl::UTF8.to_owned(),
                (None, _) => String::new(),
            };
            Ok(Some(format!("{} {} {text} NULL", quoted(&column.name), found.kind)))
        }
        Verdict::Widen => Ok(Some(column.definition())),
    }
}

fn refused(entity: &Entity, column: &str, why: &str) -> TableError {
    TableError::Setup(format!("table {}, column {column}: {why}", entity.name()))
}
