//! The shape of what is not flat: records, arrays, maps, unions of several types, durations.
//!
//! Plain data that `compile` fills in. Records refer to each other by index, so that a schema may be recursive.

mod normalise;
mod tree;

pub(crate) use normalise::{Mode, Normaliser};
pub(crate) use tree::{Name, Tree};

use std::sync::Arc;

use crate::field::{Kind, Limits};

/// How many arrays, maps and records may lie below a field's own: MariaDB's JSON has 31 levels, the field's among them.
/// A union is no level: none lies directly in another.
pub(crate) const MAX_DEPTH: usize = 30;

/// A nested type together with the records that it refers to.
#[derive(Debug, Clone)]
pub struct Nested {
    pub(crate) shape: Box<Shape>,
    pub(crate) records: Arc<[RecordShape]>,
}

impl Nested {
    /// The type itself.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The record that a [`Shape::Record`] of this type refers to.
    #[must_use]
    pub fn record(&self, index: usize) -> Option<&RecordShape> {
        self.records.get(index)
    }
}

/// A type inside of a nested value.
#[derive(Debug, Clone)]
pub enum Shape {
    /// Only null.
    Null,
    /// Months, days and milliseconds: `{"months": 1, "days": 2, "millis": 3}`.
    Duration,
    /// What could be a flat field as well; never [`Kind::Json`].
    Scalar(Kind),
    /// An array of these.
    Array(Box<Shape>),
    /// An object with free names and these values.
    Map(Box<Shape>),
    /// The first of these that accepts a value.
    Union(Vec<Shape>),
    /// A record, by its index (`Nested::record`).
    Record(usize),
}

impl Shape {
    /// Whether null is a value of it.
    pub(crate) fn takes_null(&self) -> bool {
        match self {
            Shape::Null => true,
            Shape::Union(branches) => branches.iter().any(|branch| matches!(branch, Shape::Null)),
            _ => false,
        }
    }
}

/// A record inside of a nested value.
#[derive(Debug, Clone)]
pub struct RecordShape {
    /// Its full name in Avro.
    pub name: String,
    /// The schema's description.
    pub doc: Option<String>,
    /// Its members, in order.
    pub members: Vec<Member>,
}

/// A member of a nested record.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// The schema's description.
    pub doc: Option<String>,
    /// Its type.
    pub shape: Shape,
    /// Bounds beyond the type's own.
    pub limits: Limits,
    /// Plain, normalised JSON that stands for it when it is missing.
    pub default: Option<String>,
}
