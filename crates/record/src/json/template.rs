//! A field that is not given but can be put together from others.
//!
//! The text is then checked like one that was given. Must never run when a part was refused: its fault is enough.

use std::borrow::Cow;

use super::body::Members;
use super::field::Slot;
use crate::entity::Entity;
use crate::field::{Part, Template};
use crate::nested::Mode;
use crate::scalar::within;
use crate::value::Value;

/// Fills every absent field whose template has all its parts.
pub(super) fn fill(members: &mut Members<'_, '_>) {
    if members.mode == Mode::Lenient {
        return;
    }
    for (position, field) in members.entity.fields.iter().enumerate() {
        let Some(template) = &field.template else { continue };
        if !matches!(members.slots.get(position), Some(Slot::Absent)) {
            continue;
        }
        let slot = match join(template, &members.slots) {
            Joined::Not => continue,
            Joined::Refused => Slot::Refused,
            Joined::Text(text) => {
                let value = Value::Text(Cow::Owned(text));
                match within(&field.limits, &value) {
                    Ok(()) => Slot::Given(value),
                    Err(refusal) => {
                        members.refuse(&field.name, refusal);
                        Slot::Refused
                    }
                }
            }
        };
        if let Some(place) = members.slots.get_mut(position) {
            *place = slot;
        }
    }
}

enum Joined {
    Text(String),
    /// A part is not given, or null.
    Not,
    /// A part is given and was refused.
    Refused,
}

fn join(template: &Template, slots: &[Slot<'_>]) -> Joined {
    let mut text = String::new();
    for part in &template.parts {
        match part {
            Part::Literal(literal) => text.push_str(literal),
            Part::Field(index) => match slots.get(*index) {
                Some(Slot::Given(Value::Text(value))) => text.push_str(value),
                Some(Slot::Refused) => return Joined::Refused,
                _ => return Joined::Not,
            },
        }
    }
    Joined::Text(text)
}

/// The names of the fields that a template needs.
pub(super) fn sources<'e>(entity: &'e Entity, template: &Template) -> Vec<&'e str> {
    template
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Field(index) => entity.fields.get(*index).map(|field| field.name.as_str()),
            Part::Literal(_) => None,
        })
        .collect()
}
