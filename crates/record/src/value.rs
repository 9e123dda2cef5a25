//! The flat record that everything pivots around.
//!
//! A [`Record`] is made by an `Entity` only, so that its values fit the entity's newest schema by construction. Must never
//! learn what JSON, Avro or a column looks like.

use std::borrow::Cow;

use crate::version::SchemaId;

/// One field's value. The field's `Kind` says what it means and how it shows.
// The tag is a whole word, so that every payload begins at the second one: with a bool and an f32 in the tag's own word a
// value is moved in odd pieces, which cost read_avro a sixth of its time.
#[derive(Debug, Clone, PartialEq)]
#[repr(u64)]
pub enum Value<'a> {
    /// No value; only where the field is nullable.
    Null,
    /// `boolean`.
    Boolean(bool),
    /// `int`, `long`, and every date, time and timestamp in Avro's own unit (days, milli-, micro-, nanoseconds).
    Integer(i64),
    /// `float`, finite.
    Float(f32),
    /// `double`, finite.
    Double(f64),
    /// `string`; enum symbol; uuid (lower case, hyphenated); decimal in plain notation with exactly `scale` digits.
    Text(Cow<'a, str>),
    /// `bytes` and `fixed`.
    Bytes(Cow<'a, [u8]>),
    /// Records, arrays, maps, unions of several types, durations: plain JSON text, normalised.
    Json(Cow<'a, str>),
}

impl Value<'_> {
    /// The value without borrows.
    #[must_use]
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Value::Null => Value::Null,
            Value::Boolean(b) => Value::Boolean(b),
            Value::Integer(i) => Value::Integer(i),
            Value::Float(f) => Value::Float(f),
            Value::Double(d) => Value::Double(d),
            Value::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Value::Bytes(bytes) => Value::Bytes(Cow::Owned(bytes.into_owned())),
            Value::Json(json) => Value::Json(Cow::Owned(json.into_owned())),
        }
    }

    /// Bytes that it takes, roughly, where it is written out.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Value::Text(text) | Value::Json(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            _ => 8,
        }
    }

    /// Whether it is [`Value::Null`].
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }
}

/// A record in the shape of its entity's newest schema: one value per field, in the fields' order.
///
/// Made by `Entity::parse_json`, `parse_stored`, `read_avro` and `assemble`.
#[derive(Debug, Clone, PartialEq)]
pub struct Record<'a> {
    /// The schema whose fields these are: writing a record as another entity's is caught by it.
    schema: SchemaId,
    values: Vec<Value<'a>>,
}

impl<'a> Record<'a> {
    pub(crate) fn new(schema: SchemaId, values: Vec<Value<'a>>) -> Record<'a> {
        Record { schema, values }
    }

    /// The newest schema of its entity.
    #[must_use]
    pub fn schema(&self) -> SchemaId {
        self.schema
    }

    /// One value per field of the entity, in its order.
    #[must_use]
    pub fn values(&self) -> &[Value<'a>] {
        &self.values
    }

    /// The values themselves.
    #[must_use]
    pub fn into_values(self) -> Vec<Value<'a>> {
        self.values
    }

    /// The record without borrows.
    #[must_use]
    pub fn into_owned(self) -> Record<'static> {
        Record { schema: self.schema, values: self.values.into_iter().map(Value::into_owned).collect() }
    }
}
