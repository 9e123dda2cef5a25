//! From the text of one schema file to its compiled shape.
//!
//! apache-avro parses; `lint` finds what it silently ignores; `shape`, `attributes` and `default` turn the rest into
//! plans. Every fault names file, field and rule. Must never look at another version: that is `gate`'s.

mod attributes;
mod default;
mod lint;
mod shape;

use std::sync::Arc;

use apache_avro::Schema;
use serde_json::Value as Json;

use crate::fault::SchemaFault;
use crate::field::{Cli, Field, Kind, Template};
use crate::json::settle;
use crate::name::check_field;
use crate::nested::{Mode, Nested, RecordShape, Shape, Tree};

/// One schema file, compiled.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) schema: Schema,
    pub(crate) fields: Vec<Field>,
    /// All records of the schema; the first is the entity's own.
    pub(crate) records: Arc<[RecordShape]>,
}

/// Where faults of one file go.
pub(crate) struct Report<'f> {
    file: &'f str,
    pub(crate) faults: Vec<SchemaFault>,
}

impl<'f> Report<'f> {
    pub(crate) fn new(file: &'f str) -> Report<'f> {
        Report { file, faults: Vec::new() }
    }

    pub(crate) fn push(&mut self, field: &str, rule: &'static str, detail: impl Into<String>) {
        self.faults.push(SchemaFault {
            file: self.file.to_owned(),
            field: field.to_owned(),
            rule,
            detail: detail.into(),
        });
    }
}

/// Compiles a file; `None` when `report` says why not.
pub(crate) fn compile(text: &str, report: &mut Report<'_>) -> Option<Draft> {
    let raw: Json = match serde_json::from_str(text) {
        Ok(raw) => raw,
        Err(error) => {
            report.push("", "json", error.to_string());
            return None;
        }
    };
    lint::check(&raw, report);
    let schema = match Schema::parse_str(text) {
        Ok(schema @ Schema::Record(_)) => schema,
        Ok(_) => {
            report.push("", "record", "an entity's schema is a record");
            return None;
        }
        Err(error) => {
            report.push("", "avro", error.to_string());
            return None;
        }
    };
    let records: Arc<[RecordShape]> = shape::records(&schema, report).into();
    let fields = fields(&schema, &records, report);
    report.faults.is_empty().then_some(Draft { schema, fields, records })
}

fn fields(schema: &Schema, records: &Arc<[RecordShape]>, report: &mut Report<'_>) -> Vec<Field> {
    let (Schema::Record(avro), Some(root)) = (schema, records.first()) else { return Vec::new() };
    check_names(root, report);
    let mut fields: Vec<Field> = root
        .members
        .iter()
        .zip(&avro.fields)
        .map(|(member, avro)| {
            let (kind, nullable, null_first) = flat(&member.shape, records);
            let cli: Option<Cli> = attributes::cli(&avro.name, &avro.custom_attributes, report);
            Field {
                name: member.name.clone(),
                kind,
                nullable,
                default: None,
                limits: member.limits,
                cli,
                template: None,
                doc: avro.doc.clone(),
                null_first,
            }
        })
        .collect();
    for (field, member) in fields.iter_mut().zip(&root.members) {
        // The default is normalised already, so it settles.
        let tree = member.default.as_deref().and_then(|text| serde_json::from_str::<Tree<'_>>(text).ok());
        field.default = tree.and_then(|tree| settle(field, Mode::Lenient, &tree).ok());
    }
    let templates: Vec<Option<Template>> =
        avro.fields.iter().map(|avro| attributes::template(avro, &fields, report)).collect();
    for (field, template) in fields.iter_mut().zip(templates) {
        field.template = template;
    }
    attributes::check_flags(&fields, report);
    fields
}

fn check_names(root: &RecordShape, report: &mut Report<'_>) {
    if root.members.is_empty() {
        report.push("", "fields", "a record has at least one field");
    }
    for (at, member) in root.members.iter().enumerate() {
        if let Err(fault) = check_field(&member.name) {
            report.push(&member.name, "name", fault.to_string());
        }
        if root.members.iter().take(at).any(|earlier| earlier.name.eq_ignore_ascii_case(&member.name)) {
            report.push(&member.name, "name", "differs from another field's only in case, which columns do not");
        }
    }
}

/// A scalar, perhaps nullable, is flat; everything else is JSON.
fn flat(shape: &Shape, records: &Arc<[RecordShape]>) -> (Kind, bool, bool) {
    let nested = || Kind::Json(Nested { shape: Box::new(shape.clone()), records: Arc::clone(records) });
    match shape {
        Shape::Scalar(kind) => (kind.clone(), false, false),
        Shape::Union(branches) => match branches.as_slice() {
            [Shape::Null, Shape::Scalar(kind)] => (kind.clone(), true, true),
            [Shape::Scalar(kind), Shape::Null] => (kind.clone(), true, false),
            _ => (nested(), shape.takes_null(), false),
        },
        _ => (nested(), shape.takes_null(), false),
    }
}
