//! What a table that is there lacks, or why it is not fit for our rows. Pure: nothing is asked, nothing is done.
//!
//! No column is ever dropped or narrowed; one that must be changed loses its DEFAULT, ON UPDATE and comment. A table that somebody had before us is adopted: it gets the control columns, and
//! its rows have version 0. What cannot be adopted is refused with the column and the remedy.

use record::Entity;

use crate::capacity::{self, Verdict};
use crate::ddl::{self, Column, quoted};
use crate::existing::{Existing, Found};
use crate::{Migrated, TableError};

/// How a table is completed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The parts of one ALTER TABLE.
    pub(crate) changes: Vec<String>,
    pub(crate) migrated: Migrated,
    /// Fields without which a record cannot be read, in rows that none of our events made: each must have a value.
    pub(crate) demanded: Vec<String>,
}

/// Plans how `existing` becomes the table of `entity`.
///
/// # Errors
/// It is not fit for our rows.
pub(crate) fn plan(entity: &Entity, existing: &Existing) -> Result<Plan, TableError> {
    check_table(entity, existing)?;
    check_key(entity, existing)?;
    let adopted = existing.column(OURS_ALONE).is_none();
    let mut plan = Plan::default();
    for column in &ddl::control_columns() {
        match existing.column(&column.name) {
            None => plan.add(column),
            Some(found) if adopted => {
                return Err(refused(
                    entity,
                    &found.name,
                    "is there already, and our own would overwrite it: rename it",
                ));
            }
            Some(_) => {}
        }
    }
    for column in &ddl::field_columns(entity) {
        match existing.column(&column.name) {
            None => plan.add(column),
            Some(found) if found.computed => {
                let why = "is computed by the database, so that nothing can be written to it: rename it";
                return Err(refused(entity, &found.name, why));
            }
            Some(found) => plan.changes.extend(plan.migrated.widen(column, wider(entity, found, column)?)),
        }
    }
    if let Some(Found { name, .. }) =
        existing.columns.iter().find(|found| found.demanded && !found.computed && !is_ours(entity, &found.name))
    {
        return Err(refused(entity, name, "is not in the schema and wants a value in every row: give it a default"));
    }
    if adopted {
        let required = entity.fields().iter().filter(|field| !field.nullable && field.default.is_none());
        plan.demanded = required.map(|field| field.name.clone()).collect();
    }
    Ok(plan)
}

/// A control column that nobody else has: where it is missing, the table is not ours yet.
const OURS_ALONE: &str = "log_offset";

impl Plan {
    fn add(&mut self, column: &Column) {
        self.changes.push(format!("ADD COLUMN {}", column.definition()));
        self.migrated.added.push(column.name.clone());
    }
}

impl Migrated {
    fn widen(&mut self, column: &Column, definition: Option<String>) -> Option<String> {
        let definition = definition?;
        self.widened.push(column.name.clone());
        Some(format!("MODIFY COLUMN {definition}"))
    }
}

fn is_ours(entity: &Entity, name: &str) -> bool {
    let fields = ddl::field_columns(entity).into_iter().chain(ddl::control_columns());
    name.eq_ignore_ascii_case("id") || fields.into_iter().any(|column| column.name.eq_ignore_ascii_case(name))
}

fn check_table(entity: &Entity, existing: &Existing) -> Result<(), TableError> {
    let name = entity.name();
    let refused = |why: String| Err(TableError::Setup(format!("table {name}: {why}")));
    match existing.engine.as_deref() {
        Some("InnoDB") if existing.view_is_taken => {
            refused(format!("a table {name}_live is there, whose name is that of our view: rename it"))
        }
        Some("InnoDB") => Ok(()),
        Some(engine) => refused(format!("is of {engine}, which has no transactions: ALTER TABLE {name} ENGINE=InnoDB")),
        None => refused("is a view: rename it".to_owned()),
    }
}

/// Two ids must never be one row: neither by case, nor because the column cuts or converts them.
fn check_key(entity: &Entity, existing: &Existing) -> Result<(), TableError> {
    let (table, id) = (quoted(entity.name()), ddl::ID);
    let Some(found) = existing.column("id") else {
        return Err(refused(entity, "id", &format!("is missing; it must be the primary key, and {id}")));
    };
    let exact = found.collation.as_deref().is_some_and(|collation| collation.ends_with("_bin"));
    if found.computed || capacity::compare(&found.kind, id) != Verdict::Enough || !exact {
        let collation =
            found.collation.as_deref().map_or_else(String::new, |collation| format!(" COLLATE {collation}"));
        let why = format!("is {}{collation}, must be {id}: ALTER TABLE {table} MODIFY `id` {id}", found.kind);
        return Err(refused(entity, "id", &why));
    }
    match existing.key.as_slice() {
        [only] if only.eq_ignore_ascii_case("id") => Ok(()),
        [] => {
            Err(refused(entity, "id", &format!("must be the primary key: ALTER TABLE {table} ADD PRIMARY KEY (`id`)")))
        }
        _ => {
            let remedy = format!("ALTER TABLE {table} DROP PRIMARY KEY, ADD PRIMARY KEY (`id`)");
            Err(refused(entity, "id", &format!("must be the whole primary key: {remedy}")))
        }
    }
}

/// The definition by which the column must be replaced, if it must.
fn wider(entity: &Entity, found: &Found, column: &Column) -> Result<Option<String>, TableError> {
    let utf8 = found.charset.as_deref().is_none_or(|charset| charset == "utf8mb4");
    let narrow = !utf8 && column.kind.contains(ddl::UTF8);
    match capacity::compare(&found.kind, &column.kind) {
        Verdict::Foreign => {
            let remedy =
                format!("is {}, of which {} cannot be made: rename the one in the table", found.kind, column.kind);
            Err(refused(entity, &column.name, &remedy))
        }
        Verdict::Enough if !narrow && found.nullable => Ok(None),
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

/// Why a table cannot be used, and what to do about it.
pub(crate) fn refused(entity: &Entity, column: &str, why: &str) -> TableError {
    TableError::Setup(format!("table {}, column {column}: {why}", entity.name()))
}
