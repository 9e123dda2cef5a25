//! What stands in the database under an entity's name before a migration. Reads only.

use record::Entity;
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Row};

use crate::TableError;
use crate::ddl::quoted;

const COLUMNS: &str = "SELECT CAST(column_name AS CHAR), CAST(column_type AS CHAR), CAST(character_set_name AS CHAR), \
     CAST(collation_name AS CHAR), is_nullable = 'YES', \
     column_default IS NULL AND is_nullable = 'NO' AND extra NOT LIKE '%auto_increment%', \
     COALESCE(generation_expression, '') <> '' \
     FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = ? ORDER BY ordinal_position";
const PRIMARY_KEY: &str = "SELECT CAST(column_name AS CHAR) FROM information_schema.statistics \
     WHERE table_schema = DATABASE() AND table_name = ? AND index_name = 'PRIMARY' ORDER BY seq_in_index";
const TABLES: &str = "SELECT CAST(table_type AS CHAR), CAST(engine AS CHAR) FROM information_schema.tables \
     WHERE table_schema = DATABASE() AND table_name = ?";

/// A table that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Existing {
    /// `InnoDB`; of a view there is none.
    pub(crate) engine: Option<String>,
    pub(crate) columns: Vec<Found>,
    /// The columns of the primary key, in order.
    pub(crate) key: Vec<String>,
    /// The name of our view is a table's.
    pub(crate) view_is_taken: bool,
}

/// A column as it stands in the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) charset: Option<String>,
    pub(crate) collation: Option<String>,
    pub(crate) nullable: bool,
    /// An insert that does not name it fails.
    pub(crate) demanded: bool,
    /// The database computes it; an insert that names it fails.
    pub(crate) computed: bool,
}

impl Existing {
    /// `None`: there is no such table yet.
    pub(crate) async fn read(connection: &mut MySqlConnection, entity: &Entity) -> Result<Option<Self>, TableError> {
        let name = entity.name();
        let Some(engine) = table(connection, name).await? else { return Ok(None) };
        let view = table(connection, &format!("{name}_live")).await?;
        let key = sqlx::query(PRIMARY_KEY).bind(name).fetch_all(&mut *connection).await?;
        Ok(Some(Self {
            engine,
            columns: columns(connection, name).await?,
            key: key.iter().map(|row| row.try_get_unchecked(0)).collect::<Result<_, _>>()?,
            view_is_taken: view.is_some_and(|engine| engine.is_some()),
        }))
    }

    pub(crate) fn column(&self, name: &str) -> Option<&Found> {
        self.columns.iter().find(|found| found.name.eq_ignore_ascii_case(name))
    }

    /// Whether any row has nothing in this column; where there is no such column, whether there is any row.
    pub(crate) async fn lacks(
        &self,
        connection: &mut MySqlConnection,
        entity: &Entity,
        column: &str,
    ) -> Result<bool, TableError> {
        let which =
            self.column(column).map_or_else(String::new, |found| format!("WHERE {} IS NULL", quoted(&found.name)));
        let sql = format!("SELECT 1 FROM {} {which} LIMIT 1", quoted(entity.name()));
        Ok(sqlx::query(AssertSqlSafe(sql)).fetch_optional(connection).await?.is_some())
    }
}

/// The engine of a table, `None` inside for a view.
async fn table(connection: &mut MySqlConnection, name: &str) -> Result<Option<Option<String>>, TableError> {
    let row = sqlx::query(TABLES).bind(name).fetch_optional(connection).await?;
    row.map(|row| {
        let is_view = row.try_get_unchecked::<String, _>(0)? == "VIEW";
        Ok(if is_view { None } else { row.try_get_unchecked(1)? })
    })
    .transpose()
}

async fn columns(connection: &mut MySqlConnection, table: &str) -> Result<Vec<Found>, TableError> {
    let rows = sqlx::query(COLUMNS).bind(table).fetch_all(connection).await?;
    let found = rows.iter().map(|row| {
        Ok(Found {
            name: row.try_get_unchecked(0)?,
            kind: row.try_get_unchecked(1)?,
            charset: row.try_get_unchecked(2)?,
            collation: row.try_get_unchecked(3)?,
            nullable: row.try_get_unchecked(4)?,
            demanded: row.try_get_unchecked(5)?,
            computed: row.try_get_unchecked(6)?,
        })
    });
    found.collect()
}
