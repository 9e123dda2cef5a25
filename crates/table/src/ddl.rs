//! From an entity's fields to columns. Pure text.

use record::{Entity, Field, Kind};

/// A column: its name and the type that it must at least have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: String,
}

impl Column {
    fn new(name: &str, kind: impl Into<String>) -> Self {
        Self { name: name.to_owned(), kind: kind.into() }
    }

    pub(crate) fn definition(&self) -> String {
        format!("{} {}", quoted(&self.name), self.kind)
    }
}

/// Names come from schemas, whose names cannot contain a quote.
pub(crate) fn quoted(name: &str) -> String {
    format!("`{name}`")
}

pub(crate) const ID: &str = "VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL";

/// Said of every text: a table that was there before us may have another default.
pub(crate) const UTF8: &str = "CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci";

/// What the protocol needs beside the fields. Added to a table that exists already, its rows have version 0.
pub(crate) fn control_columns() -> Vec<Column> {
    vec![
        Column::new("version", "BIGINT UNSIGNED NOT NULL DEFAULT 0"),
        Column::new("deleted", "BOOLEAN NOT NULL DEFAULT FALSE"),
        Column::new("log_offset", "BIGINT NOT NULL DEFAULT -1"),
        Column::new("updated_at", "DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)"),
    ]
}

pub(crate) fn field_columns(entity: &Entity) -> Vec<Column> {
    entity.fields().iter().map(|field| Column::new(&field.name, format!("{} NULL", column_type(field)))).collect()
}

/// All fields are nullable: a tombstone has none.
pub(crate) fn create_table(table: &str, entity: &Entity) -> String {
    let columns: Vec<_> =
        field_columns(entity).into_iter().chain(control_columns()).map(|column| column.definition()).collect();
    format!(
        "CREATE TABLE IF NOT EXISTS {} (`id` {ID} PRIMARY KEY, {}) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 \
         COLLATE=utf8mb4_unicode_ci",
        quoted(table),
        columns.join(", ")
    )
}

/// What readers use: the rows that are not deleted.
pub(crate) fn create_view(entity: &Entity) -> String {
    let fields: Vec<_> = entity.fields().iter().map(|field| quoted(&field.name)).collect();
    format!(
        "CREATE OR REPLACE SQL SECURITY INVOKER VIEW {} AS SELECT `id`, {}, `version`, `updated_at` FROM {} \
         WHERE NOT `deleted`",
        quoted(&format!("{}_live", entity.name())),
        fields.join(", "),
        quoted(entity.name())
    )
}

/// Longest text or bytes that stand in the row itself; longer ones stand beside it.
pub(crate) const INLINE: u32 = 1024;

fn column_type(field: &Field) -> String {
    let most = field.limits.max_length.filter(|&most| most <= INLINE);
    match &field.kind {
        Kind::Boolean => "BOOLEAN".to_owned(),
        Kind::Int => "INT".to_owned(),
        Kind::Long | Kind::TimestampNanos | Kind::LocalTimestampNanos => "BIGINT".to_owned(),
        Kind::Float => "FLOAT".to_owned(),
        Kind::Double => "DOUBLE".to_owned(),
        Kind::String => {
            let text = most.map_or_else(|| "MEDIUMTEXT".to_owned(), |most| format!("VARCHAR({most})"));
            format!("{text} {UTF8}")
        }
        Kind::Bytes => most.map_or_else(|| "MEDIUMBLOB".to_owned(), |most| format!("VARBINARY({most})")),
        Kind::Fixed { size } if *size <= 255 => format!("BINARY({size})"),
        Kind::Fixed { .. } => "MEDIUMBLOB".to_owned(),
        Kind::Enum { .. } => "VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin".to_owned(),
        Kind::Uuid { .. } => "CHAR(36) CHARACTER SET ascii COLLATE ascii_bin".to_owned(),
        Kind::Decimal { precision, scale, .. } => format!("DECIMAL({precision},{scale})"),
        Kind::BigDecimal => "TEXT CHARACTER SET ascii COLLATE ascii_bin".to_owned(),
        Kind::Date => "DATE".to_owned(),
        Kind::TimeMillis => "TIME(3)".to_owned(),
        Kind::TimeMicros => "TIME(6)".to_owned(),
        Kind::TimestampMillis | Kind::LocalTimestampMillis => "DATETIME(3)".to_owned(),
        Kind::TimestampMicros | Kind::LocalTimestampMicros => "DATETIME(6)".to_owned(),
        Kind::Json(_) => "JSON".to_owned(),
    }
}
