//! Creating and widening tables: `persister migrate`. Safe to run twice, and by two replicas at once.

use record::Entity;
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Executor, Row};

use crate::ddl::{self, quoted};
use crate::existing::Existing;
use crate::notes::{ACCEPTED_IS_WIDE, CREATE_ACCEPTED, CREATE_DEAD_LETTERS, WIDEN_ACCEPTED};
use crate::plan::{Plan, plan, refused};
use crate::replays::{CREATE_REPLAYS, REPLAYS_ARE_WIDE, WIDEN_REPLAYS};
use crate::{Database, TableError};

/// One row per entity. A leading underscore keeps it apart from every entity's table.
const CREATE_MARKS: &str = "CREATE TABLE IF NOT EXISTS `_write_behind_entities` (\
     `entity` VARCHAR(48) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY, \
     `purged` BIGINT UNSIGNED NOT NULL DEFAULT 0, \
     `partitions` INT NOT NULL) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4";
const INSERT_MARK: &str = "INSERT IGNORE INTO `_write_behind_entities` (`entity`, `partitions`) VALUES (?, ?)";
/// A table that was emptied by hand: its mark says that there were rows.
const EMPTIED: &str = "SELECT `purged` > 0 FROM `_write_behind_entities` WHERE `entity` = ?";
const SELECT_PARTITIONS: &str = "SELECT `partitions` FROM `_write_behind_entities` WHERE `entity` = ?";
pub(crate) const SELECT_MARK: &str =
    "SELECT `purged` FROM `_write_behind_entities` WHERE `entity` = ? LOCK IN SHARE MODE";
/// The same by an account that may only read.
pub(crate) const READ_MARK: &str = "SELECT `purged` FROM `_write_behind_entities` WHERE `entity` = ?";
pub(crate) const ENTITIES: &str = "SELECT `entity` FROM `_write_behind_entities`";
/// Where a migration is tried out before it is done.
const REHEARSAL: &str = "_write_behind_rehearsal";

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

    /// Tries out what [`Database::migrate`] would do on a table that is made for it and dropped again: what is refused is
    /// refused before anything is done.
    ///
    /// # Errors
    /// [`TableError::Setup`] with the column and the remedy; or the database cannot be asked.
    pub async fn rehearse(&self, entity: &Entity) -> Result<(), TableError> {
        self.altering(async |connection| {
            connection.execute(CREATE_MARKS).await?;
            let plan = fitting(connection, entity).await?;
            let drop = format!("DROP TABLE IF EXISTS {}", quoted(REHEARSAL));
            connection.execute(AssertSqlSafe(drop.clone())).await?;
            let outcome = try_out(connection, entity, plan).await;
            connection.execute(AssertSqlSafe(drop)).await?;
            outcome.map_err(|error| too_wide(entity, error))
        })
        .await
    }

    /// Creates the table of `entity` and its view, or adds what they lack. `partitions` is noted at the first time.
    ///
    /// # Errors
    /// [`TableError`]; what was done until then stays, and running it again goes on.
    pub async fn migrate(&self, entity: &Entity, partitions: i32) -> Result<Migrated, TableError> {
        self.altering(async |connection| {
            connection.execute(CREATE_MARKS).await?;
            connection.execute(CREATE_REPLAYS).await?;
            connection.execute(CREATE_DEAD_LETTERS).await?;
            connection.execute(CREATE_ACCEPTED).await?;
            for (is_wide, widen) in [(REPLAYS_ARE_WIDE, WIDEN_REPLAYS), (ACCEPTED_IS_WIDE, WIDEN_ACCEPTED)] {
                if connection.fetch_optional(is_wide).await?.is_none() {
                    connection.execute(widen).await?;
                }
            }
            connection.execute(AssertSqlSafe(ddl::create_table(entity.name(), entity))).await?;
            let Plan { changes, migrated, .. } = fitting(connection, entity).await?.unwrap_or_default();
            alter(connection, entity.name(), &changes).await?;
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

impl Database {
    /// R18: whether the table of an entity is empty although its purge mark says that there were rows. What comes to such a
    /// table late would all be answered with tombstones.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn is_emptied(&self, entity: &str) -> Result<bool, TableError> {
        let any = format!("SELECT 1 FROM {} LIMIT 1", quoted(entity));
        self.with(async |connection| {
            let marked = sqlx::query(EMPTIED).bind(entity.to_owned()).fetch_optional(&mut **connection).await?;
            let marked = marked.map(|row| row.try_get_unchecked::<bool, _>(0)).transpose()?.unwrap_or(false);
            if !marked {
                // The usual case asks nothing of a table that may be locked.
                return Ok(false);
            }
            let row = sqlx::query(AssertSqlSafe(any)).fetch_optional(&mut **connection).await?;
            Ok(row.is_none())
        })
        .await
    }
}

/// How the table is to be completed, once it is clear that our rows fit into it and its rows into our records; `None`
/// where there is no table yet.
async fn fitting(connection: &mut MySqlConnection, entity: &Entity) -> Result<Option<Plan>, TableError> {
    let Some(existing) = Existing::read(connection, entity).await? else { return Ok(None) };
    let plan = plan(entity, &existing)?;
    for field in &plan.demanded {
        if existing.lacks(connection, entity, field).await? {
            let why = "has no value in a row that is there, and the schema demands one: fill it in, or give the field a \
                       default or null";
            return Err(refused(entity, field, why));
        }
    }
    Ok(Some(plan))
}

async fn try_out(connection: &mut MySqlConnection, entity: &Entity, plan: Option<Plan>) -> Result<(), TableError> {
    let Some(Plan { changes, .. }) = plan else {
        connection.execute(AssertSqlSafe(ddl::create_table(REHEARSAL, entity))).await?;
        return Ok(());
    };
    let like = format!("CREATE TABLE {} LIKE {}", quoted(REHEARSAL), quoted(entity.name()));
    connection.execute(AssertSqlSafe(like)).await?;
    alter(connection, REHEARSAL, &changes).await
}

async fn alter(connection: &mut MySqlConnection, table: &str, changes: &[String]) -> Result<(), TableError> {
    if !changes.is_empty() {
        let alter = format!("ALTER TABLE {} {}", quoted(table), changes.join(", "));
        connection.execute(AssertSqlSafe(alter)).await?;
    }
    Ok(())
}

/// What a row may take is the server's own arithmetic, of column types, character sets and pages.
fn too_wide(entity: &Entity, error: TableError) -> TableError {
    match error {
        TableError::Refused { number: 1118, .. } => TableError::Setup(format!(
            "table {}: its columns together are wider than a row may be (error 1118): give the longest fields a \
             `maxLength` above {}, or none; what they hold then stands beside the row",
            entity.name(),
            ddl::INLINE
        )),
        other => other,
    }
}
