//! An entity: its fields, its published versions, and the four conversions that the services live on.
//!
//! Made by `Catalog::compile` only. This file is the door; the conversions live in `json` and `avro`. Must never accept a
//! record that its newest schema cannot hold.

use std::collections::HashMap;

use crate::avro;
use crate::event::Change;
use crate::fault::{DatumFault, Fault, Misfit, StoredFault};
use crate::field::Field;
use crate::id::RecordId;
use crate::json;
use crate::name::EntityName;
use crate::value::{Record, Value};
use crate::version::SchemaId;

/// A kind of record, compiled from its schemas.
#[derive(Debug)]
pub struct Entity {
    pub(crate) name: EntityName,
    pub(crate) doc: Option<String>,
    pub(crate) fields: Vec<Field>,
    /// Where a member's name stands in `fields`; asked only when members come in another order than the schema's.
    pub(crate) positions: HashMap<String, usize>,
    /// How a field stands in stored JSON, up to its value: `,"name":`. Names need no escapes (`name::check_field`).
    pub(crate) members: Vec<String>,
    /// Oldest first, never empty.
    pub(crate) versions: Vec<Published>,
    pub(crate) newest: SchemaId,
}

/// A published version of an entity's schema.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) number: u32,
    pub(crate) id: SchemaId,
    pub(crate) text: String,
    pub(crate) plan: avro::ReadPlan,
}

/// What a client sent: the record, and its id if the body names one.
#[derive(Debug, Clone, PartialEq)]
pub struct Input<'a> {
    /// The member `id`.
    pub id: Option<RecordId>,
    /// Everything else, complete: defaults and templates are filled in.
    pub record: Record<'a>,
}

impl Entity {
    /// Its name: path, topic and table.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The description in its newest schema.
    #[must_use]
    pub fn doc(&self) -> Option<&str> {
        self.doc.as_deref()
    }

    /// The fields of the newest version, in its order.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Where a field stands in [`Entity::fields`].
    #[must_use]
    pub fn position(&self, field: &str) -> Option<usize> {
        self.positions.get(field).copied()
    }

    /// The id of the newest version, which `write_avro` writes.
    #[must_use]
    pub fn newest_id(&self) -> SchemaId {
        self.newest
    }

    /// Number and id of every version, oldest first.
    pub fn versions(&self) -> impl Iterator<Item = (u32, SchemaId)> + '_ {
        self.versions.iter().map(|published| (published.number, published.id))
    }

    /// The text of a version, byte for byte as published.
    #[must_use]
    pub fn schema_text(&self, id: SchemaId) -> Option<&str> {
        self.published(id).map(|published| published.text.as_str())
    }

    pub(crate) fn published(&self, id: SchemaId) -> Option<&Published> {
        self.versions.iter().rev().find(|published| published.id == id)
    }

    /// Reads a client's body, strictly.
    ///
    /// # Errors
    /// Every fault of the body at once (at most 100), each with its pointer.
    pub fn parse_json<'a>(&self, body: &'a [u8]) -> Result<Input<'a>, Vec<Fault>> {
        json::parse_body(self, body)
    }

    /// Whether this schema is one of the entity's.
    #[must_use]
    pub fn knows(&self, schema: SchemaId) -> bool {
        self.published(schema).is_some()
    }

    /// Reads what [`Entity::write_json`] wrote when `schema` was the newest: unknown members are dropped, missing ones
    /// get their default, bounds are not checked. A schema that is not known here, a newer one, is read the same way.
    ///
    /// # Errors
    /// [`StoredFault`] when it is none of our texts.
    pub fn parse_stored<'a>(&self, schema: SchemaId, text: &'a str) -> Result<Record<'a>, StoredFault> {
        let widened = self.published(schema).map(|published| published.plan.widened()).unwrap_or_default();
        json::parse_stored(self, widened, text)
    }

    /// Appends the record as a JSON object: the fields in order, without id.
    ///
    /// # Panics
    /// When the record is another entity's.
    pub fn write_json(&self, record: &Record<'_>, out: &mut String) {
        json::write(self, self.values_of(record), out);
    }

    /// Appends the record as a datum of the newest schema, without frame.
    ///
    /// # Panics
    /// When the record is another entity's.
    pub fn write_avro(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        avro::write(&self.fields, self.values_of(record), out);
    }

    /// What an event does that brings this record, or its absence, to the topic.
    ///
    /// # Panics
    /// When the record is another entity's.
    #[must_use]
    pub fn change(&self, record: Option<&Record<'_>>) -> Change<'static> {
        let Some(record) = record else { return Change::Tombstone };
        // A union's branch and a length beside each value; more only where a text is beyond 8 KB.
        let bytes = record.values().iter().map(|value| value.bytes() + 3).sum();
        let mut datum = Vec::with_capacity(bytes);
        self.write_avro(record, &mut datum);
        Change::Upsert { schema: self.newest, datum: datum.into() }
    }

    /// Reads a datum of any version into the newest shape.
    ///
    /// # Errors
    /// [`DatumFault::UnknownSchema`], or where and why the bytes are no datum of the schema.
    pub fn read_avro<'a>(&self, schema: SchemaId, datum: &'a [u8]) -> Result<Record<'a>, DatumFault> {
        let published = self.published(schema).ok_or(DatumFault::UnknownSchema(schema))?;
        avro::read(&published.plan, &self.fields, datum).map(|values| Record::new(self.newest, values))
    }

    /// Makes a record of values that come from elsewhere (columns), one per field in order: checks each against its
    /// field and brings decimals, uuids and JSON into canonical form. Bounds of attributes are not checked.
    ///
    /// # Errors
    /// The first [`Misfit`].
    pub fn assemble<'a>(&self, values: Vec<Value<'a>>) -> Result<Record<'a>, Misfit> {
        json::assemble(&self.fields, values).map(|values| Record::new(self.newest, values))
    }

    /// Writing one entity's record as another's would corrupt the topic, so this caller's bug ends the request instead.
    fn values_of<'r, 'a>(&self, record: &'r Record<'a>) -> &'r [Value<'a>] {
        assert_eq!(record.schema(), self.newest, "a record is written by its own entity only");
        record.values()
    }
}
