//! JSON text to records and back.
//!
//! `body` reads what clients send, `stored` what we once wrote; both are one streaming pass, with one seed per field. `patch` reads
//! what is to be merged, as a tree.

mod beyond;
mod body;
mod faults;
mod field;
mod patch;
mod stored;
mod template;

pub(crate) use body::parse_body;
pub(crate) use faults::{Faults, Pointer};
pub(crate) use field::settle;
pub use patch::MergePatch;
pub(crate) use stored::{assemble, parse_stored};

use crate::entity::Entity;
use crate::scalar::show;
use crate::value::Value;

/// Appends the values as an object.
pub(crate) fn write(entity: &Entity, values: &[Value<'_>], out: &mut String) {
    // Quotes beside each value; more only where something is escaped, or longer than a number.
    out.reserve(entity.members.iter().zip(values).map(|(member, value)| member.len() + value.bytes() + 2).sum());
    // Of the first member's comma becomes the brace.
    let mut open = "{";
    for ((field, member), value) in entity.fields().iter().zip(&entity.members).zip(values) {
        out.push_str(open);
        out.push_str(member.get(open.len()..).unwrap_or_default());
        show(&field.kind, value, out);
        open = "";
    }
    out.push('}');
}
