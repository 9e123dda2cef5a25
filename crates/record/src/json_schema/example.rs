//! A body that an entity accepts, for whoever wants to see one.

use serde_json::{Map, Value as Json, json};

use crate::entity::Entity;
use crate::field::{Bound, Field, Kind, Limits};
use crate::nested::{RecordShape, Shape};

/// Below it what may be left out is.
const DEPTH: usize = 4;

impl Entity {
    /// A record as a client might send it, with every field and without an id.
    #[must_use]
    pub fn example(&self) -> Json {
        let one = |field: &Field| (field.name.clone(), field_example(field));
        Json::Object(self.fields.iter().map(one).collect())
    }
}

fn field_example(field: &Field) -> Json {
    match &field.kind {
        Kind::Json(nested) => value(&nested.records, &nested.shape, &field.limits, 0),
        kind => scalar(kind, &field.limits),
    }
}

fn value(records: &[RecordShape], shape: &Shape, limits: &Limits, depth: usize) -> Json {
    let inner = |shape: &Shape| value(records, shape, limits, depth + 1);
    match shape {
        Shape::Null => Json::Null,
        Shape::Duration => json!({"months": 1, "days": 2, "millis": 3}),
        Shape::Scalar(kind) => scalar(kind, limits),
        Shape::Array(_) if depth > DEPTH => json!([]),
        Shape::Array(items) => json!([inner(items)]),
        Shape::Map(_) if depth > DEPTH => json!({}),
        Shape::Map(values) => json!({"name": inner(values)}),
        Shape::Union(branches) if depth > DEPTH && branches.iter().any(|branch| matches!(branch, Shape::Null)) => {
            Json::Null
        }
        Shape::Union(branches) => {
            let first = branches.iter().find(|branch| !matches!(branch, Shape::Null));
            first.map_or(Json::Null, |branch| value(records, branch, limits, depth))
        }
        Shape::Record(index) => record(records, *index, depth),
    }
}

fn record(records: &[RecordShape], index: usize, depth: usize) -> Json {
    let members = records.get(index).map(|record| record.members.as_slice()).unwrap_or_default();
    let mut shown = Map::new();
    for member in members {
        let may_be_missing = member.default.is_some() || member.shape.takes_null();
        if depth <= DEPTH || !may_be_missing {
            let example = value(records, &member.shape, &member.limits, depth + 1);
            shown.insert(member.name.clone(), example);
        }
    }
    shown.into()
}

fn scalar(kind: &Kind, limits: &Limits) -> Json {
    match kind {
        Kind::Boolean => true.into(),
        Kind::Int | Kind::Long => whole(limits).into(),
        Kind::Float | Kind::Double => broken(limits).into(),
        Kind::String => text(limits).into(),
        Kind::Bytes => "AP8=".into(),
        Kind::Fixed { size } => super::scalar::zeros(*size).into(),
        Kind::Enum { symbols } => symbols.first().map(String::as_str).unwrap_or_default().into(),
        Kind::Uuid { .. } => "123e4567-e89b-12d3-a456-426614174000".into(),
        Kind::Decimal { precision, scale, .. } => {
            let whole = if precision > scale { "1" } else { "0" };
            let point = if *scale > 0 { "." } else { "" };
            format!("{whole}{point}{}", "0".repeat(*scale as usize)).into()
        }
        Kind::BigDecimal => "12.5".into(),
        Kind::Date => "2026-11-24".into(),
        Kind::TimeMillis => "12:34:56.789".into(),
        Kind::TimeMicros => "12:34:56.789012".into(),
        Kind::TimestampMillis => "2026-11-24T12:34:56.789Z".into(),
        Kind::TimestampMicros => "2026-11-24T12:34:56.789012Z".into(),
        Kind::TimestampNanos => "2026-11-24T12:34:56.789012345Z".into(),
        Kind::LocalTimestampMillis => "2026-11-24T12:34:56.789".into(),
        Kind::LocalTimestampMicros => "2026-11-24T12:34:56.789012".into(),
        Kind::LocalTimestampNanos => "2026-11-24T12:34:56.789012345".into(),
        Kind::Json(_) => Json::Null,
    }
}

fn whole(limits: &Limits) -> i64 {
    let bound = |bound: Option<Bound>, none| match bound {
        Some(Bound::Integer(number)) => number,
        _ => none,
    };
    42.max(bound(limits.minimum, i64::MIN)).min(bound(limits.maximum, i64::MAX))
}

fn broken(limits: &Limits) -> f64 {
    let bound = |bound: Option<Bound>, none| match bound {
        Some(Bound::Double(number)) => number,
        _ => none,
    };
    0.5_f64.max(bound(limits.minimum, f64::MIN)).min(bound(limits.maximum, f64::MAX))
}

fn text(limits: &Limits) -> String {
    let least = limits.min_length.unwrap_or(4).max(4) as usize;
    let most = limits.max_length.map_or(usize::MAX, |most| most as usize);
    "text".chars().cycle().take(least.min(most)).collect()
}
