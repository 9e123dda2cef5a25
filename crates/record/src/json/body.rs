//! A client's body: one streaming pass that finds every fault.
//!
//! Member names are looked up only when they come in another order than the schema's. Must never answer malformed JSON
//! with anything but the one fault that says where it breaks.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::field::{FieldSeed, Slot};
use super::{Faults, Pointer, beyond, template};
use crate::entity::{Entity, Input};
use crate::fault::{Fault, FaultCode};
use crate::field::{Field, Kind};
use crate::id::RecordId;
use crate::nested::{Mode, Name, Tree};
use crate::scalar::{Given, Refusal, accept};
use crate::value::{Record, Value};

/// What a pass over an object collects.
pub(super) struct Members<'e, 'a> {
    pub(super) entity: &'e Entity,
    pub(super) mode: Mode,
    pub(super) slots: Vec<Slot<'a>>,
    pub(super) faults: Faults,
    pub(super) id: Option<Result<RecordId, ()>>,
}

impl<'e, 'a> Members<'e, 'a> {
    pub(super) fn new(entity: &'e Entity, mode: Mode) -> Members<'e, 'a> {
        let slots = entity.fields.iter().map(|_| Slot::Absent).collect();
        Members { entity, mode, slots, faults: Faults::default(), id: None }
    }

    pub(super) fn refuse(&mut self, member: &str, refusal: Refusal) {
        self.faults.push(Pointer::of(member).to_string(), refusal);
    }

    /// Every field's value: given, made by its template, its default, or null.
    pub(super) fn complete(mut self) -> Result<(Option<RecordId>, Vec<Value<'a>>), Vec<Fault>> {
        template::fill(&mut self);
        let slots = std::mem::take(&mut self.slots);
        let values = slots
            .into_iter()
            .zip(&self.entity.fields)
            .map(|(slot, field)| match slot {
                Slot::Given(value) => value,
                Slot::Refused => Value::Null,
                Slot::Absent => absent(field).unwrap_or_else(|| {
                    self.faults.push(Pointer::of(&field.name).to_string(), missing(self.entity, field));
                    Value::Null
                }),
            })
            .collect();
        if self.faults.is_empty() { Ok((self.id.and_then(Result::ok), values)) } else { Err(self.faults.into_vec()) }
    }
}

fn absent<'a>(field: &Field) -> Option<Value<'a>> {
    field.default.clone().or_else(|| field.nullable.then_some(Value::Null))
}

fn missing(entity: &Entity, field: &Field) -> Refusal {
    let detail = match &field.template {
        Some(template) => format!("is required; give it, or {}", template::sources(entity, template).join(" and ")),
        None => "is required; give it".to_owned(),
    };
    Refusal::new(FaultCode::Missing, detail)
}

/// `Entity::parse_json`.
pub(crate) fn parse_body<'a>(entity: &Entity, body: &'a [u8]) -> Result<Input<'a>, Vec<Fault>> {
    let text = std::str::from_utf8(body).map_err(|error| vec![not_utf8(body, error.valid_up_to())])?;
    let mut members = Members::new(entity, Mode::Strict);
    read(text, &mut members)
        .map_err(|error| beyond::faults(text).unwrap_or_else(|| vec![syntax(error.to_string())]))?;
    let (id, values) = members.complete()?;
    Ok(Input { id, record: Record::new(entity.newest, values) })
}

/// Reads one object and nothing behind it.
pub(super) fn read<'a>(text: &'a str, members: &mut Members<'_, 'a>) -> Result<(), serde_json::Error> {
    let mut parser = serde_json::Deserializer::from_str(text);
    ObjectSeed(members).deserialize(&mut parser)?;
    parser.end()
}

/// serde_json's texts for malformed JSON name line and column and never the content.
pub(super) fn syntax(what: String) -> Fault {
    Fault { pointer: String::new(), code: FaultCode::Syntax, detail: format!("malformed JSON: {what}") }
}

pub(super) fn not_utf8(body: &[u8], at: usize) -> Fault {
    let before = body.get(..at).unwrap_or_default();
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
    syntax(format!("not UTF-8 at line {line} column {column}"))
}

struct ObjectSeed<'m, 'e, 'a>(&'m mut Members<'e, 'a>);

impl<'de> DeserializeSeed<'de> for ObjectSeed<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl ObjectSeed<'_, '_, '_> {
    fn no_object(self) {
        let refusal = Refusal::new(FaultCode::Type, "expected an object with the record's fields");
        self.0.faults.push(String::new(), refusal);
        // Nothing is missing in what is no object.
        self.0.slots.fill(Slot::Refused);
    }

    fn member<'de, A: MapAccess<'de>>(
        members: &mut Members<'_, 'de>,
        position: usize,
        map: &mut A,
    ) -> Result<(), A::Error> {
        let (Some(slot), Some(field)) = (members.slots.get_mut(position), members.entity.fields.get(position)) else {
            return map.next_value::<IgnoredAny>().map(|_| ());
        };
        if !matches!(slot, Slot::Absent) {
            map.next_value::<IgnoredAny>()?;
            members.refuse(&field.name, Refusal::twice());
            return Ok(());
        }
        map.next_value_seed(FieldSeed { field, mode: members.mode, slot, faults: &mut members.faults })
    }

    fn other<'de, A: MapAccess<'de>>(members: &mut Members<'_, 'de>, name: &str, map: &mut A) -> Result<(), A::Error> {
        if members.mode == Mode::Lenient {
            map.next_value::<IgnoredAny>()?;
        } else if name == "id" {
            let tree = map.next_value::<Tree<'_>>()?;
            id(members, tree.given());
        } else {
            map.next_value::<IgnoredAny>()?;
            members.refuse(name, Refusal::new(FaultCode::Unknown, "the schema has no such member; leave it out"));
        }
        Ok(())
    }
}

fn id(members: &mut Members<'_, '_>, given: Given<'_>) {
    let twice = members.id.is_some();
    let parsed = match given {
        Given::Text(text) => RecordId::parse(&text),
        Given::Huge(number) => RecordId::parse(&number.to_string()),
        // A whole number as any field takes it, 7.0 among them.
        given => match accept(&Kind::Long, given) {
            Ok(Value::Integer(number)) => RecordId::parse(&number.to_string()),
            _ => {
                let what = "expected a string or a whole number; leave it out to be given one";
                members.refuse("id", Refusal::new(FaultCode::Type, what));
                members.id = Some(Err(()));
                return;
            }
        },
    };
    if twice {
        members.refuse("id", Refusal::twice());
    }
    members.id = Some(parsed.map_err(|fault| members.refuse("id", Refusal::new(FaultCode::Format, fault.to_string()))));
}

impl<'de> Visitor<'de> for ObjectSeed<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let members = self.0;
        let entity = members.entity;
        let mut next = 0;
        while let Some(Name(name)) = map.next_key()? {
            let in_order = entity.fields.get(next).is_some_and(|field| field.name == name);
            let position = if in_order { Some(next) } else { entity.position(&name) };
            match position {
                Some(position) => {
                    Self::member(members, position, &mut map)?;
                    next = position + 1;
                }
                None => Self::other(members, &name, &mut map)?,
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        self.no_object();
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.no_object();
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.no_object();
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.no_object();
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.no_object();
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.no_object();
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.no_object();
        Ok(())
    }
}
