//! Avro's binary encoding, one pass each way over compiled plans.
//!
//! The encoding is simple enough to be ours; apache-avro is the oracle in the tests. Must never allocate by a length that
//! a datum claims: everything is a slice of what is there.

mod cursor;
mod flat;
mod nested;
mod plan;
mod put;

pub(crate) use plan::{ReadPlan, read};

use std::borrow::Cow;

use crate::field::{Field, Kind};
use crate::nested::Tree;
use crate::value::Value;

/// Appends a datum of the newest schema.
pub(crate) fn write(fields: &[Field], values: &[Value<'_>], out: &mut Vec<u8>) {
    for (field, value) in fields.iter().zip(values) {
        match &field.kind {
            Kind::Json(nested) => {
                let tree = match value {
                    Value::Json(Cow::Borrowed(text)) => parsed(text),
                    Value::Json(Cow::Owned(text)) => parsed(text),
                    _ => Tree::NULL,
                };
                nested::write(&nested.records, &nested.shape, &tree, out);
            }
            kind if field.nullable => {
                put::long(i64::from(field.null_first != value.is_null()), out);
                flat::write(kind, value, out);
            }
            kind => flat::write(kind, value, out),
        }
    }
}

/// The text was normalised by us, so it parses.
fn parsed(text: &str) -> Tree<'_> {
    let tree = serde_json::from_str(text);
    debug_assert!(tree.is_ok(), "a record holds normalised JSON only");
    tree.unwrap_or(Tree::NULL)
}
