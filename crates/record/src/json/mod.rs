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

/// Appends the values as an object. Field names need no escapes (`name::check_field`).
pub(crate) fn write(entity: &Entity, values: &[Value<'_>], out: &mut String) {
    let mut before = "{\"";
    for (field, value) in entity.fields().iter().zip(values) {
        out.push_str(before);
        out.push_str(&field.name);
        out.push_str("\":");
        show(&field.kind, value, out);
        before = ",\"";
    }
    out.push('}');
}
