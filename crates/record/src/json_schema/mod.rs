//! An entity as JSON Schema (draft 2020-12), for whoever wants to know what may be sent and what is answered without
//! asking.
//!
//! What `Entity::parse_json` accepts is valid, always. What is valid is accepted, but for what JSON Schema cannot say:
//! a 29th of February that is none, years outside of 1000 to 9999 in UTC, nanoseconds outside of 64 bits
//! in 1677 and 2262; whole numbers
//! above 2^53 that are written with an exponent; a member that stands twice; more than 1000 digits;
//! nesting below 30; the bytes of a map's names; the length of what a template puts together; a `float` that lies within its
//! bound only until it is rounded; bounds on a union, for its branches that are no plain numbers or texts.
//! The tests hold both, and this list.

mod example;
mod scalar;

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json, json};

use crate::entity::Entity;
use crate::field::{Field, Kind, Limits, Part, Template};
use crate::id::RecordId;
use crate::nested::{RecordShape, Shape};

/// The meta-schema that these schemas are written in.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
/// Bytes of a map's key at most (`nested`), so characters at most.
const MOST_OF_A_NAME: usize = 65_535;

/// Which of an entity's bodies is described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A record that is sent, with an id or without.
    New,
    /// A record that is sent to its own path, which has the id already.
    Replacement,
    /// What is to be merged into a record (RFC 7396). What it says of nested fields is not looked into: there a part is enough.
    Patch,
    /// A record as it is answered: complete. Bounds do not hold for what was stored before they were set.
    Shown,
}

impl Form {
    /// Whether what is left out has its default.
    fn is_sent_whole(self) -> bool {
        matches!(self, Self::New | Self::Replacement)
    }
}

impl Entity {
    /// The schema of a body. `at` is where it will stand, as its own references have it: `#` for a document of its own,
    /// `#/components/schemas/users` inside of another.
    #[must_use]
    pub fn json_schema(&self, form: Form, at: &str) -> Json {
        let mut writer = Writer { form, at, records: records(self), wanted: Vec::new() };
        let mut properties = Map::new();
        properties.insert("id".to_owned(), id(form));
        for field in &self.fields {
            properties.insert(field.name.clone(), writer.field(self, field));
        }
        let mut schema = writer.object(properties, required(self, form));
        if at == "#" {
            schema.insert("$schema".to_owned(), DIALECT.into());
        }
        schema.insert("title".to_owned(), self.name().into());
        describe(&mut schema, self.doc());
        let made: Vec<Json> =
            self.fields.iter().filter(|_| form.is_sent_whole()).filter_map(|field| made(self, field)).collect();
        if !made.is_empty() {
            schema.insert("allOf".to_owned(), made.into());
        }
        let definitions = writer.definitions();
        if !definitions.is_empty() {
            schema.insert("$defs".to_owned(), definitions.into());
        }
        schema.into()
    }
}

/// All records of the entity's schema; none where no field is nested.
fn records(entity: &Entity) -> &[RecordShape] {
    let nested = entity.fields.iter().find_map(|field| match &field.kind {
        Kind::Json(nested) => Some(&*nested.records),
        _ => None,
    });
    nested.unwrap_or_default()
}

/// An id as text, wherever it stands.
#[must_use]
pub fn id_schema() -> Json {
    let most = RecordId::MAX_LENGTH;
    let (plain, any) = ("[A-Za-z0-9_~-]", "[A-Za-z0-9._~-]");
    // Neither one point alone nor two.
    let after = |points: usize| format!("{any}{{0,{}}}", most - points - 1);
    let pattern = format!("^({plain}{}|\\.{plain}{}|\\.\\.{any}{})$", after(0), after(1), after(2));
    json!({"type": "string", "pattern": pattern})
}

fn id(form: Form) -> Json {
    let text = id_schema();
    let mut id = match form {
        Form::Shown => text,
        // A whole number is the id of its digits.
        Form::New | Form::Replacement | Form::Patch => {
            json!({"anyOf": [text, {"type": "integer", "minimum": i64::MIN, "maximum": u64::MAX}]})
        }
    };
    let says = match form {
        Form::New => "Left out, the record is given one.",
        Form::Replacement | Form::Patch => "The path has it; given here, it is the same.",
        Form::Shown => "As in the path.",
    };
    if let Json::Object(id) = &mut id {
        describe(id, Some(says));
        if matches!(form, Form::Replacement | Form::Patch) {
            id.insert("readOnly".to_owned(), true.into());
        }
    }
    id
}

fn describe(schema: &mut Map<String, Json>, doc: Option<&str>) {
    if let Some(doc) = doc {
        schema.insert("description".to_owned(), doc.into());
    }
}

fn required(entity: &Entity, form: Form) -> Vec<&str> {
    let names = entity.fields.iter().filter(|field| match form {
        Form::Shown => true,
        Form::Patch => false,
        Form::New | Form::Replacement => !may_be_missing(field) && field.template.is_none(),
    });
    let id = (form == Form::Shown).then_some("id");
    id.into_iter().chain(names.map(|field| field.name.as_str())).collect()
}

/// Whether something stands for it that needs no other field.
fn may_be_missing(field: &Field) -> bool {
    field.nullable || field.default.is_some()
}

/// That a field is there, where its template alone may stand for it.
fn made(entity: &Entity, field: &Field) -> Option<Json> {
    field.template.as_ref().filter(|_| !may_be_missing(field)).map(|_| filled(entity, field))
}

/// That a field is given, or that all its template needs is.
fn filled(entity: &Entity, field: &Field) -> Json {
    let name = &field.name;
    let given = json!({"required": [name], "properties": {name: {"type": "string"}}});
    match &field.template {
        Some(template) => json!({"anyOf": [given, {"allOf": sources(entity, field, template)}]}),
        None => given,
    }
}

fn sources(entity: &Entity, own: &Field, template: &Template) -> Vec<Json> {
    let own = entity.position(&own.name).unwrap_or_default();
    let indexes: BTreeSet<usize> = template
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Field(index) => Some(*index),
            Part::Literal(_) => None,
        })
        .collect();
    indexes
        .into_iter()
        .filter_map(|index| entity.fields.get(index).map(|field| (index, field)))
        .map(|(index, field)| match &field.template {
            // Templates run in the fields' order: a later one has not run yet.
            Some(_) if index > own => {
                json!({"required": [field.name], "properties": {&field.name: {"type": "string"}}})
            }
            _ => filled(entity, field),
        })
        .collect()
}

struct Writer<'e> {
    form: Form,
    at: &'e str,
    records: &'e [RecordShape],
    /// Records that something refers to.
    wanted: Vec<usize>,
}

impl Writer<'_> {
    fn object(&self, properties: Map<String, Json>, required: Vec<&str>) -> Map<String, Json> {
        let mut schema = Map::new();
        schema.insert("type".to_owned(), "object".into());
        schema.insert("properties".to_owned(), properties.into());
        schema.insert("additionalProperties".to_owned(), false.into());
        if !required.is_empty() {
            schema.insert("required".to_owned(), required.into());
        }
        schema
    }

    fn field(&mut self, entity: &Entity, field: &Field) -> Json {
        let mut schema = match &field.kind {
            Kind::Json(_) if self.form == Form::Patch && may_be_missing(field) => Map::new(),
            Kind::Json(_) if self.form == Form::Patch => object(json!({"not": {"type": "null"}})),
            Kind::Json(nested) => self.shape(&nested.shape, &field.limits),
            kind => scalar::schema(kind, self.bounds(&field.limits)),
        };
        // In a patch, null takes a field away: its default stands there then.
        let nullable = field.nullable || self.form == Form::Patch && may_be_missing(field);
        if nullable && !matches!(field.kind, Kind::Json(_)) {
            scalar::or_null(&mut schema);
        }
        let template = field.template.as_ref().filter(|_| self.form.is_sent_whole());
        let made = template.map(|template| format!("Not given, it is put together: {}", template.text));
        let says: Vec<&str> = field.doc.as_deref().into_iter().chain(made.as_deref()).collect();
        describe(&mut schema, (!says.is_empty()).then(|| says.join(" ")).as_deref());
        if self.form.is_sent_whole() && may_be_missing(field) {
            schema.insert("default".to_owned(), default(entity, field));
        }
        schema.into()
    }

    /// Bounds hold for what is sent.
    fn bounds(&self, limits: &Limits) -> Limits {
        if self.form == Form::Shown { Limits::default() } else { *limits }
    }

    fn shape(&mut self, shape: &Shape, limits: &Limits) -> Map<String, Json> {
        match shape {
            Shape::Null => object(json!({"type": "null"})),
            Shape::Duration => {
                let part = json!({"type": "integer", "minimum": 0, "maximum": u32::MAX});
                let parts = object(json!({"months": part, "days": part, "millis": part}));
                self.object(parts, vec!["months", "days", "millis"])
            }
            Shape::Scalar(kind) => scalar::schema(kind, self.bounds(limits)),
            Shape::Array(items) => {
                let items = self.shape(items, limits);
                object(json!({"type": "array", "items": items}))
            }
            Shape::Map(values) => {
                let values = self.shape(values, limits);
                let names = json!({"pattern": scalar::TEXT, "maxLength": MOST_OF_A_NAME});
                object(json!({"type": "object", "additionalProperties": values, "propertyNames": names}))
            }
            Shape::Union(branches) => {
                let branches: Vec<_> = branches.iter().map(|branch| self.shape(branch, limits)).collect();
                object(json!({"anyOf": branches}))
            }
            Shape::Record(index) => {
                self.wanted.push(*index);
                let name = self.records.get(*index).map_or("", |record| &record.name);
                object(json!({"$ref": format!("{}/$defs/{name}", self.at)}))
            }
        }
    }

    /// The records that are referred to, and those that these refer to.
    fn definitions(&mut self) -> Map<String, Json> {
        let mut definitions = Map::new();
        while let Some(index) = self.wanted.pop() {
            let Some(record) = self.records.get(index) else { continue };
            if !definitions.contains_key(&record.name) {
                // There before its members are looked at: one of them may be of its own type.
                definitions.insert(record.name.clone(), Json::Null);
                let schema = self.record(record);
                definitions.insert(record.name.clone(), schema);
            }
        }
        definitions
    }

    fn record(&mut self, record: &RecordShape) -> Json {
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for member in &record.members {
            let mut schema = self.shape(&member.shape, &member.limits);
            describe(&mut schema, member.doc.as_deref());
            let default = member.default.as_deref().and_then(|text| serde_json::from_str(text).ok());
            let default = default.or_else(|| member.shape.takes_null().then_some(Json::Null));
            match default.filter(|_| self.form != Form::Shown) {
                Some(default) => drop(schema.insert("default".to_owned(), default)),
                None => required.push(member.name.as_str()),
            }
            properties.insert(member.name.clone(), schema.into());
        }
        let mut schema = self.object(properties, required);
        describe(&mut schema, record.doc.as_deref());
        schema.into()
    }
}

fn object(json: Json) -> Map<String, Json> {
    match json {
        Json::Object(members) => members,
        _ => Map::new(),
    }
}

/// What stands for a field that is missing.
fn default(entity: &Entity, field: &Field) -> Json {
    let Some(value) = &field.default else { return Json::Null };
    let mut text = String::new();
    crate::scalar::show(&field.kind, value, &mut text);
    let shown = serde_json::from_str(&text);
    shown.unwrap_or_else(|error| unreachable!("{}.{}: {error}", entity.name(), field.name))
}
