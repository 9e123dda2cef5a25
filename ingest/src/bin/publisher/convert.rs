//! A text from a flag or a cell as the JSON value of its field.

use record::Kind;
use serde_json::Value;

/// Numbers, truth values and nested JSON as such; text, and whatever is none of these, as text.
pub(crate) fn value(kind: &Kind, text: &str) -> Value {
    match kind {
        Kind::Boolean | Kind::Int | Kind::Long | Kind::Float | Kind::Double | Kind::Json(_) => {
            serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
        }
        _ => Value::from(text),
    }
}
