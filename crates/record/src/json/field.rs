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
use crate::scalar::{Given, Refusal, accept, length_within, text_within, within};
use crate::value::Value;

const NO_NULL: &str = "must not be null; give a value";

/// What became of a field so far.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Slot<'a> {
    Absent,
    /// Given, but it did not fit: the faults say why, and nothing may stand in for it.
    Refused,
    Given(Value<'a>),
}

/// Reads the value of a member straight into its slot: handed back through the parser it would be moved five times.
pub(super) struct FieldSeed<'s, 'a> {
    pub(super) field: &'s Field,
    pub(super) mode: Mode,
    pub(super) slot: &'s mut Slot<'a>,
    pub(super) faults: &'s mut Faults,
}

impl<'a> FieldSeed<'_, 'a> {
    #[inline(always)]
    fn flat(self, given: Given<'a>) {
        match flat(self.field, self.mode, given) {
            Ok(value) => *self.slot = Slot::Given(value),
            Err(refusal) => self.refuse(refusal),
        }
    }

    /// Most members are strings, and most strings have neither type nor bounds to be asked about.
    #[inline]
    fn text(self, text: Cow<'a, str>) {
        if !matches!(self.field.kind, Kind::String) {
            return self.flat(Given::Text(text));
        }
        let limits = &self.field.limits;
        let fits = match &text {
            _ if self.mode == Mode::Lenient => Ok(()),
            // As it stands in the body: the parser lets no control character stand there, U+0000 among them.
            Cow::Borrowed(text) => length_within(limits, text),
            Cow::Owned(text) => text_within(limits, text),
        };
        match fits {
            Ok(()) => *self.slot = Slot::Given(Value::Text(text)),
            Err(refusal) => self.refuse(refusal),
        }
    }

    #[cold]
    fn refuse(self, refusal: Refusal) {
        *self.slot = Slot::Refused;
        self.faults.push(Pointer::of(&self.field.name).to_string(), refusal);
    }

    fn nested(self, nested: &Nested, tree: &Tree<'_>) {
        match normal(self.field, nested, self.mode, tree) {
            Ok(value) => *self.slot = Slot::Given(value),
            Err(faults) => {
                *self.slot = Slot::Refused;
                self.faults.append(faults);
            }
        }
    }
}

#[inline(always)]
fn flat<'de>(field: &Field, mode: Mode, given: Given<'de>) -> Result<Value<'de>, Refusal> {
    let value = match given {
        Given::Null if field.nullable => return Ok(Value::Null),
        Given::Null => return Err(Refusal::new(crate::FaultCode::Type, NO_NULL)),
        given => accept(&field.kind, given)?,
    };
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

impl<'de> DeserializeSeed<'de> for FieldSeed<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match &self.field.kind {
            Kind::Json(nested) => {
                let tree = Tree::deserialize(deserializer)?;
                self.nested(nested, &tree);
                Ok(())
            }
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for FieldSeed<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.flat(Given::Null);
        Ok(())
    }

    fn visit_bool<E>(self, b: bool) -> Result<(), E> {
        self.flat(Given::Bool(b));
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.flat(Given::Int(number));
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.flat(i64::try_from(number).map_or(Given::Huge(number), Given::Int));
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.flat(Given::Double(number));
        Ok(())
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<(), E> {
        self.text(Cow::Borrowed(text));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.text(Cow::Owned(text.to_owned()));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        self.flat(Given::Array);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        self.flat(Given::Object);
        Ok(())
    }
}
