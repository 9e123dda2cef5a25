//! The statements of one entity, written once. Batches go out in a few fixed sizes, since each number of rows is a
//! prepared statement of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use record::Entity;
use service::fail_points;

use crate::Database;
use crate::ddl::quoted;

/// Rows per statement, largest first. A batch is cut into these.
pub(crate) const SIZES: [usize; 5] = [500, 100, 25, 5, 1];

/// Most bytes of values in one statement, one row more at most: a server takes 16 MiB by default (`max_allowed_packet`),
/// and what it does not take would fail for ever.
const BYTES: usize = 4 << 20;

/// Most placeholders in one statement of MySQL.
const MOST_PLACEHOLDERS: usize = 65_535;

/// The table of one entity: its statements, its database.
#[derive(Clone, Debug)]
pub struct EntityTable {
    pub(crate) database: Database,
    pub(crate) entity: Arc<Entity>,
    pub(crate) statements: Arc<Statements>,
}

#[derive(Debug)]
pub(crate) struct Statements {
    /// By number of rows.
    pub(crate) upsert: BTreeMap<usize, Arc<str>>,
    pub(crate) read_back: BTreeMap<usize, Arc<str>>,
    pub(crate) held: BTreeMap<usize, Arc<str>>,
    /// For an event that is not newer than the purge mark: it may change a row, never make one (R18).
    pub(crate) guarded_update: Arc<str>,
    /// For the same event where the row has its version already.
    pub(crate) raise_offset: Arc<str>,
    pub(crate) select: Arc<str>,
}

impl EntityTable {
    /// Writes the statements of `entity`.
    #[must_use]
    pub fn new(database: Database, entity: Arc<Entity>) -> Self {
        let statements = Arc::new(Statements::new(&entity));
        Self { database, entity, statements }
    }

    /// Where the table lies.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The entity whose table this is.
    #[must_use]
    pub fn entity(&self) -> &Arc<Entity> {
        &self.entity
    }
}

impl Statements {
    fn new(entity: &Entity) -> Self {
        let table = quoted(entity.name());
        let fields: Vec<_> = entity.fields().iter().map(|field| quoted(&field.name)).collect();
        let width = fields.len() + 5;
        let sizes = SIZES.into_iter().filter(|size| size * width <= MOST_PLACEHOLDERS);
        let select = format!("SELECT {}, `version`, `deleted` FROM {table} WHERE `id` = ?", fields.join(", "));
        Self {
            upsert: sizes.clone().map(|size| (size, upsert(&table, &fields, size).into())).collect(),
            read_back: sizes.clone().map(|size| (size, read_back(&table, size).into())).collect(),
            held: sizes.map(|size| (size, held(&table, size).into())).collect(),
            guarded_update: guarded_update(&table, &fields).into(),
            raise_offset: raise_offset(&table).into(),
            select: select.into(),
        }
    }

    /// Cuts rows into runs of the sizes for which there are statements, none much larger than [`BYTES`]; `weigh` tells a
    /// row's bytes.
    pub(crate) fn chunks<'r, T>(&self, mut rows: &'r [T], weigh: impl Fn(&T) -> usize) -> Vec<&'r [T]> {
        let mut chunks = Vec::new();
        while !rows.is_empty() {
            let mut bytes = 0;
            let light = rows.iter().take_while(|row| {
                bytes += weigh(row);
                bytes <= BYTES
            });
            let size = self.size(light.count().max(1));
            let (chunk, rest) = rows.split_at(size.min(rows.len()));
            chunks.push(chunk);
            rows = rest;
        }
        chunks
    }

    /// The largest size that `rows` rows fill.
    fn size(&self, rows: usize) -> usize {
        self.upsert.range(..=rows).next_back().map_or(1, |(size, _)| *size)
    }
}

fn list(of: &str, times: usize) -> String {
    vec![of; times].join(", ")
}

/// R13. `version` is assigned last: MySQL assigns from left to right, and a version that moved first would make every
/// comparison after it false. `VALUES(id) = id` keeps another id's row untouched where a second unique key is hit.
fn upsert(table: &str, fields: &[String], rows: usize) -> String {
    let newer = "VALUES(`id`) = `id` AND VALUES(`version`) > `version`";
    let version = format!("`version` = IF({newer}, VALUES(`version`), `version`)");
    let first = if fail_points::told(fail_points::BUG_VERSION_FIRST) { format!("{version}, ") } else { String::new() };
    let moved: Vec<_> = fields
        .iter()
        .map(String::as_str)
        .chain(["`deleted`", "`updated_at`"])
        .map(|column| format!("{column} = IF({newer}, VALUES({column}), {column})"))
        .collect();
    format!(
        "INSERT INTO {table} (`id`, {}, `deleted`, `updated_at`, `log_offset`, `version`) VALUES {} \
         ON DUPLICATE KEY UPDATE {first}{}, \
         `log_offset` = IF({newer}, VALUES(`log_offset`), IF(VALUES(`id`) = `id` AND VALUES(`version`) = `version`, \
         GREATEST(`log_offset`, VALUES(`log_offset`)), `log_offset`)), \
         {version}",
        fields.join(", "),
        list(&format!("({})", list("?", fields.len() + 5)), rows),
        moved.join(", ")
    )
}

/// By primary key even where a scan would be cheaper: a scan locks rows that are not the batch's, and out of its order.
fn read_back(table: &str, rows: usize) -> String {
    format!(
        "SELECT `id`, `version`, `log_offset`, `updated_at` FROM {table} FORCE INDEX (PRIMARY) WHERE `id` IN ({}) FOR UPDATE",
        list("?", rows)
    )
}

fn held(table: &str, rows: usize) -> String {
    format!("SELECT `id`, `version` FROM {table} WHERE `id` IN ({})", list("?", rows))
}

fn guarded_update(table: &str, fields: &[String]) -> String {
    let columns = fields.iter().map(String::as_str).chain(["`deleted`", "`updated_at`", "`log_offset`", "`version`"]);
    let assigned: Vec<_> = columns.map(|column| format!("{column} = ?")).collect();
    format!("UPDATE {table} SET {} WHERE `id` = ? AND `version` < ?", assigned.join(", "))
}

fn raise_offset(table: &str) -> String {
    format!("UPDATE {table} SET `log_offset` = GREATEST(`log_offset`, ?) WHERE `id` = ? AND `version` = ?")
}

#[cfg(test)]
mod tests {
    use record::Catalog;

    use super::*;

    #[test]
    fn a_statement_has_one_of_the_sizes_and_never_much_more_than_its_bytes() {
        let schema = r#"{"type":"record","name":"T","fields":[{"name":"a","type":"int"}]}"#;
        let ids = record::pin([("t/v1.avsc", schema)], "").unwrap().text;
        let catalog = Catalog::compile([("t/v1.avsc", schema)], &ids).unwrap();
        let statements = Statements::new(catalog.get("t").unwrap());
        let lengths = |rows: &[usize]| -> Vec<usize> {
            let chunks = statements.chunks(rows, |bytes| *bytes);
            assert_eq!(chunks.concat(), rows, "rows were lost or turned around");
            chunks.iter().map(|chunk| chunk.len()).collect()
        };
        assert_eq!(lengths(&[0; 631]), [500, 100, 25, 5, 1]);
        assert_eq!(
            lengths(&[1 << 20; 12]),
            [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
            "four fit, of which there is no statement"
        );
        assert_eq!(lengths(&[800 << 10; 10]), [5, 5]);
        assert_eq!(lengths(&[5 << 20, 0, 0]), [1, 1, 1]);
    }
}
