//! apache-avro's schema to our shapes: every record of the schema in one list, the entity's own first.
//!
//! Must never recurse into a record twice: a name that is being compiled already is an index.

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::schema::{InnerDecimalSchema, RecordField, RecordSchema, UuidSchema};
use serde_json::Value as Json;

use super::{Report, attributes, default};
use crate::field::{DecimalForm, Kind, UuidForm};
use crate::nested::{Member, RecordShape, Shape};

/// Characters that the column of an enum holds.
const MOST_OF_A_SYMBOL: usize = 255;

/// All records of a schema.
pub(super) fn records(schema: &Schema, report: &mut Report<'_>) -> Vec<RecordShape> {
    let mut shapes =
        Shapes { named: HashMap::new(), records: Vec::new(), paths: Vec::new(), defaults: Vec::new(), report };
    shapes.shape(schema, "");
    default::fill(&mut shapes.records, &shapes.paths, &shapes.defaults, shapes.report);
    shapes.records
}

struct Shapes<'r, 'f> {
    /// Enums, fixed types and records by full name.
    named: HashMap<String, Shape>,
    records: Vec<RecordShape>,
    /// Where each record was defined, for faults.
    paths: Vec<String>,
    /// The defaults as the schema writes them, per record and member.
    defaults: Vec<Vec<Option<Json>>>,
    report: &'r mut Report<'f>,
}

impl Shapes<'_, '_> {
    fn shape(&mut self, schema: &Schema, path: &str) -> Shape {
        match schema {
            Schema::Null => Shape::Null,
            Schema::Array(array) => {
                let items = self.shape(&array.items, path);
                if self.is_nothing(&items, 0) {
                    self.report.push(path, "array", "items that take no byte; an array of them has no bound");
                }
                Shape::Array(Box::new(items))
            }
            Schema::Map(map) => Shape::Map(Box::new(self.shape(&map.types, path))),
            Schema::Union(union) => {
                Shape::Union(union.variants().iter().map(|branch| self.shape(branch, path)).collect())
            }
            Schema::Record(record) => self.record(record, path),
            Schema::Ref { name } => match self.named.get(&name.fullname(None)) {
                Some(shape) => shape.clone(),
                None => {
                    self.report.push(path, "avro", "refers to a type that is not defined before it");
                    Shape::Null
                }
            },
            Schema::Duration(fixed) => self.name(fixed.name.fullname(None), Shape::Duration),
            scalar => self.scalar(scalar, path),
        }
    }

    fn name(&mut self, name: String, shape: Shape) -> Shape {
        self.named.insert(name, shape.clone());
        shape
    }

    fn scalar(&mut self, schema: &Schema, path: &str) -> Shape {
        let Some(kind) = kind(schema) else {
            self.report.push(path, "avro", "a type that this build does not know");
            return Shape::Null;
        };
        if matches!(kind, Kind::Fixed { size: 0 }) {
            self.report.push(path, "fixed", "has at least one byte");
        }
        if matches!(&kind, Kind::Enum { symbols } if symbols.iter().any(|symbol| symbol.len() > MOST_OF_A_SYMBOL)) {
            self.report.push(
                path,
                "symbols",
                format!("a symbol has at most {MOST_OF_A_SYMBOL} characters, as its column"),
            );
        }
        // Only named types have a name; a reference to one later finds its kind here.
        match schema.name() {
            Some(name) => self.name(name.fullname(None), Shape::Scalar(kind)),
            None => Shape::Scalar(kind),
        }
    }

    fn record(&mut self, record: &RecordSchema, path: &str) -> Shape {
        let index = self.records.len();
        let name = record.name.fullname(None);
        self.records.push(RecordShape { name: name.clone(), doc: record.doc.clone(), members: Vec::new() });
        self.paths.push(path.to_owned());
        self.defaults.push(record.fields.iter().map(|field| field.default.clone()).collect());
        self.named.insert(name, Shape::Record(index));
        let members: Vec<Member> = record.fields.iter().map(|field| self.member(field, path)).collect();
        if let Some(place) = self.records.get_mut(index) {
            place.members = members;
        }
        Shape::Record(index)
    }

    fn member(&mut self, field: &RecordField, path: &str) -> Member {
        let inner = dotted(path, &field.name);
        let shape = self.shape(&field.schema, &inner);
        let limits = attributes::limits(&inner, &shape, &field.custom_attributes, self.report);
        Member { name: field.name.clone(), doc: field.doc.clone(), shape, limits, default: None }
    }

    /// Whether a value of this shape can take no byte at all.
    fn is_nothing(&self, shape: &Shape, depth: usize) -> bool {
        match shape {
            Shape::Null => true,
            Shape::Record(index) => self.records.get(*index).is_some_and(|record| {
                // One that is not complete yet has the array in question in it, which takes a byte.
                let complete = self.defaults.get(*index).is_some_and(|fields| fields.len() == record.members.len());
                let nothing = |member: &Member| self.is_nothing(&member.shape, depth + 1);
                complete && depth < 64 && record.members.iter().all(nothing)
            }),
            _ => false,
        }
    }
}

/// `address.zip`, as faults name nested members.
pub(super) fn dotted(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn kind(schema: &Schema) -> Option<Kind> {
    let digits = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Some(match schema {
        Schema::Boolean => Kind::Boolean,
        Schema::Int => Kind::Int,
        Schema::Long => Kind::Long,
        Schema::Float => Kind::Float,
        Schema::Double => Kind::Double,
        Schema::Bytes => Kind::Bytes,
        Schema::String => Kind::String,
        Schema::Enum(symbols) => Kind::Enum { symbols: symbols.symbols.clone() },
        Schema::Fixed(fixed) => Kind::Fixed { size: fixed.size },
        Schema::Decimal(decimal) => Kind::Decimal {
            precision: digits(decimal.precision),
            scale: digits(decimal.scale),
            form: match &decimal.inner {
                InnerDecimalSchema::Bytes => DecimalForm::Bytes,
                InnerDecimalSchema::Fixed(fixed) => DecimalForm::Fixed(fixed.size),
            },
        },
        Schema::BigDecimal => Kind::BigDecimal,
        Schema::Uuid(UuidSchema::String) => Kind::Uuid { form: UuidForm::Text },
        Schema::Uuid(UuidSchema::Fixed(_)) => Kind::Uuid { form: UuidForm::Fixed },
        Schema::Date => Kind::Date,
        Schema::TimeMillis => Kind::TimeMillis,
        Schema::TimeMicros => Kind::TimeMicros,
        Schema::TimestampMillis => Kind::TimestampMillis,
        Schema::TimestampMicros => Kind::TimestampMicros,
        Schema::TimestampNanos => Kind::TimestampNanos,
        Schema::LocalTimestampMillis => Kind::LocalTimestampMillis,
        Schema::LocalTimestampMicros => Kind::LocalTimestampMicros,
        Schema::LocalTimestampNanos => Kind::LocalTimestampNanos,
        _ => return None,
    })
}
