//! One member of a body or of a stored text, straight from the parser into its field's value.
//!
//! Flat fields build no tree; nested ones do and are normalised. Must never stop at a value that does not fit: it is
//! drained, so that the faults behind it are found as well.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Faults, Pointer};
use crate::field::{Field, Kind};
use crate::nested::{Mode, Nested, Normaliser, Tree};
use crate::scalar::{Given, Refusal, accept, within};
use crate::value::Value;

const NO_NULL: &str = "must not be null; give a value";

/// Reads the value of a member; `None` when it did not fit and the faults say why.
pub(super) struct FieldSeed<'s> {
    pub(super) field: &'s Field,
    pub(super) mode: Mode,
    pub(super) faults: &'s mut Faults,
}

impl FieldSeed<'_> {
    fn flat<'de>(self, given: Given<'de>) -> Option<Value<'de>> {
        let value = flat(self.field, self.mode, given);
        value.map_err(|refusal| self.faults.push(Pointer::of(&self.field.name).to_string(), refusal)).ok()
    }

    fn nested<'de>(self, nested: &Nested, tree: &Tree<'_>) -> Option<Value<'de>> {
        match normal(self.field, nested, self.mode, tree) {
            Ok(value) => Some(value),
            Err(faults) => {
                self.faults.append(faults);
                None
            }
        }
    }
}

fn flat<'de>(field: &Field, mode: Mode, given: Given<'de>) -> Result<Value<'de>, Refusal> {
    if given == Given::Null && field.nullable {
        return Ok(Value::Null);
    }
    if given == Given::Null {
        return Err(Refusal::new(crate::FaultCode::Type, NO_NULL));
    }
    let value = accept(&field.kind, given)?;
    if mode == Mode::Strict {
        within(&field.limits, &value)?;
    }
    Ok(value)
}

fn normal<'de>(field: &Field, nested: &Nested, mode: Mode, tree: &Tree<'_>) -> Result<Value<'de>, Faults> {
    if tree.is_null() && field.nullable {
        return Ok(Value::Null);
    }
    let mut text = String::new();
    let mut normaliser = Normaliser::new(&nested.records, mode, Pointer::of(&field.name));
    normaliser.value(&nested.shape, &field.limits, tree, 0, &mut text);
    if normaliser.faults.is_empty() { Ok(Value::Json(Cow::Owned(text))) } else { Err(normaliser.faults) }
}

/// The field's value for a tree that is ours already (an older version's, a default, a column).
pub(crate) fn settle(field: &Field, mode: Mode, tree: &Tree<'_>) -> Result<Value<'static>, Faults> {
    match &field.kind {
        Kind::Json(nested) => normal(field, nested, mode, tree),
        _ => flat(field, mode, tree.given()).map(Value::into_owned).map_err(|refusal| {
            let mut faults = Faults::default();
            faults.push(Pointer::of(&field.name).to_string(), refusal);
            faults
        }),
    }
}

impl<'de> DeserializeSeed<'de> for FieldSeed<'_> {
    type Value = Option<Value<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        match &self.field.kind {
            Kind::Json(nested) => {
                let tree = Tree::deserialize(deserializer)?;
                Ok(self.nested(nested, &tree))
            }
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for FieldSeed<'_> {
    type Value = Option<Value<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(self.flat(Given::Null))
    }

    fn visit_bool<E>(self, b: bool) -> Result<Self::Value, E> {
        Ok(self.flat(Given::Bool(b)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(self.flat(Given::Int(number)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(self.flat(i64::try_from(number).map_or(Given::Huge(number), Given::Int)))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(self.flat(Given::Double(number)))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(self.flat(Given::Text(Cow::Borrowed(text))))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.flat(Given::Text(Cow::Owned(text.to_owned()))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self.flat(Given::Array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(self.flat(Given::Object))
    }
}
