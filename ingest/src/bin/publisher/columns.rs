//! CSV: the header against the entity's fields, and a row as the JSON of a record.

use anyhow::{bail, ensure};
use csv::{ReaderBuilder, StringRecord, Terminator};
use record::{Entity, Kind};
use serde_json::{Map, Value};

use crate::convert::value;

/// The columns of a file, in its order: name, and kind of the field.
#[derive(Debug)]
pub(crate) struct Columns(Vec<(String, Kind)>);

impl Columns {
    /// Each cell of the header is `id` or a field.
    ///
    /// # Errors
    /// Names the first column at fault, and the fields that there are.
    pub(crate) fn of_header(entity: &Entity, header: &[u8]) -> anyhow::Result<Self> {
        let cells = cells(header).map_err(anyhow::Error::msg)?;
        let mut columns: Vec<(String, Kind)> = Vec::new();
        for name in cells.iter().map(str::trim) {
            let kind = match entity.fields().iter().find(|field| field.name == name) {
                Some(field) => field.kind.clone(),
                None if name == "id" => Kind::String,
                None => bail!(
                    "the header names a column {name:?}, which {} does not have; known are id, {} (with commas between)",
                    entity.name(),
                    entity.fields().iter().map(|field| field.name.as_str()).collect::<Vec<_>>().join(", ")
                ),
            };
            ensure!(columns.iter().all(|(known, _)| known != name), "the header names the column {name:?} twice");
            columns.push((name.to_owned(), kind));
        }
        Ok(Self(columns))
    }

    /// The row as a JSON object; an empty cell is left out.
    ///
    /// # Errors
    /// Why the row cannot be read.
    pub(crate) fn record(&self, row: &[u8]) -> Result<Vec<u8>, String> {
        let cells = cells(row)?;
        if cells.len() != self.0.len() {
            return Err(format!("the row has {} cells, the header {}", cells.len(), self.0.len()));
        }
        let filled = self.0.iter().zip(cells.iter()).filter(|(_, cell)| !cell.is_empty());
        let members: Map<String, Value> =
            filled.map(|((name, kind), cell)| (name.clone(), value(kind, cell))).collect();
        serde_json::to_vec(&members).map_err(|error| error.to_string())
    }
}

/// The cells of one row.
fn cells(row: &[u8]) -> Result<StringRecord, String> {
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .terminator(Terminator::Any(b'\n'))
        .buffer_capacity(row.len().max(1))
        .from_reader(row);
    let mut cells = StringRecord::new();
    match reader.read_record(&mut cells) {
        Ok(_) => Ok(cells),
        Err(error) if matches!(error.kind(), csv::ErrorKind::Utf8 { .. }) => Err("the row is not UTF-8".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use record::{Catalog, pin};

    use super::*;

    const SCHEMA: &str = r#"{"type": "record", "name": "Thing", "fields": [
        {"name": "title", "type": "string"},
        {"name": "pieces", "type": ["null", "int"], "default": null},
        {"name": "big", "type": ["null", "long"], "default": null},
        {"name": "sold", "type": ["null", "boolean"], "default": null},
        {"name": "price", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}],
         "default": null},
        {"name": "tags", "type": {"type": "array", "items": "string"}, "default": []}]}"#;

    fn columns(header: &str) -> anyhow::Result<Columns> {
        let files = [("things/v1.avsc", SCHEMA)];
        let ids = pin(files, "").unwrap().text;
        let catalog = Catalog::compile(files, &ids).unwrap();
        Columns::of_header(catalog.get("things").unwrap(), header.as_bytes())
    }

    fn record(header: &str, row: &str) -> Result<Value, String> {
        let text = columns(header).unwrap().record(row.as_bytes())?;
        Ok(serde_json::from_slice(&text).unwrap())
    }

    #[test]
    fn a_cell_becomes_what_its_field_holds_and_an_empty_one_nothing() {
        let row = "12,\"a \"\"b\"\"\nc\",3,9007199254740993,true,1.50,\"[\"\"x\"\",\"\"y\"\"]\"";
        let expected = serde_json::json!({
            "id": "12", "title": "a \"b\"\nc", "pieces": 3, "big": 9_007_199_254_740_993_i64, "sold": true,
            "price": "1.50", "tags": ["x", "y"]
        });
        assert_eq!(record("id,title,pieces,big,sold,price,tags", row), Ok(expected));
        assert_eq!(record("pieces, title ", ",x"), Ok(serde_json::json!({"title": "x"})));
    }

    #[test]
    fn what_does_not_fit_its_field_is_handed_over_as_it_is() {
        assert_eq!(record("pieces", "three"), Ok(serde_json::json!({"pieces": "three"})));
    }

    #[test]
    fn a_header_is_refused_with_the_column_and_the_known_ones() {
        let unknown = columns("id,titel").unwrap_err().to_string();
        assert!(unknown.contains("\"titel\"") && unknown.contains("id, title, pieces, big"), "{unknown}");
        assert!(columns("id,title,id").unwrap_err().to_string().contains("\"id\" twice"));
    }

    #[test]
    fn a_row_with_other_cells_than_the_header_or_other_bytes_than_text_says_so() {
        assert_eq!(record("id,title", "1,2,3"), Err("the row has 3 cells, the header 2".to_owned()));
        let not_text = columns("title").unwrap().record(b"\xff");
        assert_eq!(not_text, Err("the row is not UTF-8".to_owned()));
    }
}
