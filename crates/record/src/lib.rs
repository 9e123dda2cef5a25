//! Entities compiled once from Avro schemas; JSON to record to Avro and back; version rules; events on the topic.
//!
//! Everything pivots around one flat type, [`Record`]: one [`Value`] per field of the entity's newest schema. The hot
//! paths (`Entity::parse_json`, `write_json`, `write_avro`, `read_avro`) are one pass each over plans that
//! [`Catalog::compile`] made at start. apache-avro parses schemas and is the oracle of the property tests, nothing else.
//!
//! This crate must never do I/O, read a clock or draw a random number.

mod avro;
mod catalog;
mod compile;
mod entity;
mod event;
mod fault;
mod field;
mod frame;
mod gate;
mod id;
mod json;
mod json_schema;
mod name;
mod nested;
mod pins;
mod scalar;
mod value;
mod version;

pub use catalog::Catalog;
pub use entity::{Entity, Input};
pub use event::{Change, Decoded, Event, Headers, Origin, Poison, Reason};
pub use fault::{DatumFault, Fault, FaultCode, Misfit, SchemaFault, StoredFault};
pub use field::{Bound, Cli, DecimalForm, Field, Kind, Limits, Part, Template, UuidForm};
pub use frame::{FrameFault, decode as decode_frame, encode as encode_frame};
pub use id::{IdFault, RecordId};
pub use json::MergePatch;
pub use json_schema::{Form, id_schema};
pub use name::{EntityName, NameFault};
pub use nested::{Member, Nested, RecordShape, Shape};
pub use pins::{Added, Pinned, pin};
pub use value::{Record, Value};
pub use version::{SchemaId, Slot, SlotFault, Version, VersionFault, issue, issue_away};
