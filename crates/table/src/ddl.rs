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

/// Longest text that stands in the row itself; longer ones stand beside it.
pub(crate) const INLINE: u32 = 1024;

fn column_type(field: &Field) -> String {
    match &field.kind {
        Kind::Boolean => "BOOLEAN".to_owned(),
        Kind::Int => "INT".to_owned(),
        Kind::Long | Kind::TimestampNanos | Kind::LocalTimestampNanos => "BIGINT".to_owned(),
        Kind::Float => "FLOAT".to_owned(),
        Kind::Double => "DOUBLE".to_owned(),
        Kind::String => {
            let most = field.limits.max_length.filter(|&most| most <= INLINE);
            let text = most.map_or_else(|| "MEDIUMTEXT".to_owned(), |most| format!("VARCHAR({most})"));
            format!("{text} {UTF8}")
        }
        Kind::Fixed { size } if *size <= 255 => format!("BINARY({size})"),
        Kind::Bytes | Kind::Fixed { .. } => "MEDIUMBLOB".to_owned(),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use record::Catalog;

    use super::*;

    /// Without a wildcard: whoever adds a kind is sent here, and from here to the page.
    fn name(kind: &Kind) -> &'static str {
        match kind {
            Kind::Boolean => "boolean",
            Kind::Int => "int",
            Kind::Long => "long",
            Kind::Float => "float",
            Kind::Double => "double",
            Kind::String => "string",
            Kind::Bytes => "bytes",
            Kind::Fixed { .. } => "fixed",
            Kind::Enum { .. } => "enum",
            Kind::Uuid { .. } => "uuid",
            Kind::Decimal { .. } => "decimal",
            Kind::BigDecimal => "big-decimal",
            Kind::Date => "date",
            Kind::TimeMillis => "time-millis",
            Kind::TimeMicros => "time-micros",
            Kind::TimestampMillis => "timestamp-millis",
            Kind::TimestampMicros => "timestamp-micros",
            Kind::TimestampNanos => "timestamp-nanos",
            Kind::LocalTimestampMillis => "local-timestamp-millis",
            Kind::LocalTimestampMicros => "local-timestamp-micros",
            Kind::LocalTimestampNanos => "local-timestamp-nanos",
            Kind::Json(_) => "json",
        }
    }

    const KINDS: usize = 22;

    /// Type, JSON and column of every row of the page's first table.
    fn rows() -> Vec<[String; 3]> {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/TYPES.md");
        let text = std::fs::read_to_string(page).unwrap();
        let table = text.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
        let rows = table.take_while(|line| line.starts_with('|')).map(|line| {
            let cell = |at| line.split('`').nth(at).unwrap_or_else(|| panic!("too few cells: {line}")).to_owned();
            [cell(1), cell(3), cell(5)]
        });
        rows.collect()
    }

    #[test]
    fn the_page_of_types_has_every_kind_with_its_json_and_its_column() {
        let mut named = BTreeSet::new();
        for [of, json, column] in rows() {
            let schema = format!(r#"{{"type": "record", "name": "T", "fields": [{{"name": "a", "type": {of}}}]}}"#);
            let ids =
                record::pin([("t/v1.avsc", &schema)], "").unwrap_or_else(|faults| panic!("{of}: {faults:?}")).text;
            let catalog = Catalog::compile([("t/v1.avsc", &schema)], &ids).unwrap();
            let entity = catalog.get("t").unwrap();
            let [field] = entity.fields() else { panic!("{of}") };
            assert_eq!(column_type(field).split(" CHARACTER SET ").next(), Some(column.as_str()), "{of}");
            named.insert(name(&field.kind));
            if json.contains('…') {
                continue;
            }
            let body = format!(r#"{{"a": {json}}}"#);
            let input = entity.parse_json(body.as_bytes()).unwrap_or_else(|faults| panic!("{of}: {faults:?}"));
            let mut shown = String::new();
            entity.write_json(&input.record, &mut shown);
            assert_eq!(shown, body.replace(": ", ":").replace(", ", ","), "{of}");
        }
        assert_eq!(named.len(), KINDS, "docs/TYPES.md has only {named:?}");
    }
}
