//! What we wrote ourselves: cached records of any older version, and values that come back from columns.
//!
//! Lenient where a schema has grown, strict where only damage explains what stands there.

use std::borrow::Cow;

use super::body::{Members, read};
use super::settle;
use crate::entity::Entity;
use crate::fault::{Fault, FaultCode, Misfit, StoredFault};
use crate::field::{Field, Kind};
use crate::nested::{Mode, Tree};
use crate::scalar::{Given, accept, in_range, without_sign};
use crate::value::{Record, Value};

/// `Entity::parse_stored`; `widened` are the positions of what was written as a float and is a double now.
pub(crate) fn parse_stored<'a>(entity: &Entity, widened: &[usize], text: &'a str) -> Result<Record<'a>, StoredFault> {
    let mut members = Members::new(entity, Mode::Lenient);
    read(text, &mut members).map_err(|error| {
        StoredFault(vec![Fault { pointer: String::new(), code: FaultCode::Syntax, detail: error.to_string() }])
    })?;
    let (_, mut values) = members.complete().map_err(StoredFault)?;
    for at in widened {
        if let Some(Value::Double(number)) = values.get_mut(*at) {
            // `0.1` stands for the float nearest to it, which is what topic and table widen.
            #[expect(clippy::cast_possible_truncation, reason = "it was a float")]
            let single = *number as f32;
            *number = f64::from(single);
        }
    }
    Ok(Record::new(entity.newest, values))
}

/// `Entity::assemble`.
pub(crate) fn assemble<'a>(fields: &[Field], values: Vec<Value<'a>>) -> Result<Vec<Value<'a>>, Misfit> {
    if fields.len() != values.len() {
        let what = format!("expected {} values, got {}", fields.len(), values.len());
        return Err(Misfit { field: String::new(), what });
    }
    let fit = |(field, value)| fitting(field, value).map_err(|what| Misfit { field: field.name.clone(), what });
    fields.iter().zip(values).map(fit).collect()
}

fn fitting<'a>(field: &Field, value: Value<'a>) -> Result<Value<'a>, String> {
    let wrong = || "the value is of another type".to_owned();
    match (&field.kind, value) {
        (_, Value::Null) if field.nullable => Ok(Value::Null),
        // The row is older than the field: its column was added empty.
        (_, Value::Null) => field.default.clone().ok_or_else(|| "null, and the field has no default".to_owned()),
        (Kind::Boolean, value @ Value::Boolean(_)) => Ok(value),
        (kind, Value::Integer(number)) if is_integer(kind) => {
            if in_range(kind, number) {
                Ok(Value::Integer(number))
            } else {
                Err("out of the type's range".to_owned())
            }
        }
        (Kind::Float, Value::Float(number)) if number.is_finite() => Ok(Value::Float(without_sign(number))),
        (Kind::Double, Value::Double(number)) if number.is_finite() => Ok(Value::Double(without_sign(number))),
        (Kind::Bytes, value @ Value::Bytes(_)) => Ok(value),
        (Kind::Fixed { size }, Value::Bytes(bytes)) if bytes.len() == *size => Ok(Value::Bytes(bytes)),
        (
            kind @ (Kind::String | Kind::Enum { .. } | Kind::Uuid { .. } | Kind::Decimal { .. } | Kind::BigDecimal),
            Value::Text(text),
        ) => accept(kind, Given::Text(text)).map_err(|refusal| refusal.detail.into_owned()),
        (Kind::Json(_), Value::Json(text)) => json(field, text),
        _ => Err(wrong()),
    }
}

/// A column's JSON comes back with other spaces and another order than we wrote.
fn json<'a>(field: &Field, text: Cow<'a, str>) -> Result<Value<'a>, String> {
    let tree: Tree<'_> = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    settle(field, Mode::Lenient, &tree)
        .map_err(|faults| faults.into_vec().first().map_or_else(String::new, ToString::to_string))
}

fn is_integer(kind: &Kind) -> bool {
    !matches!(
        kind,
        Kind::Boolean
            | Kind::Float
            | Kind::Double
            | Kind::String
            | Kind::Bytes
            | Kind::Fixed { .. }
            | Kind::Enum { .. }
            | Kind::Uuid { .. }
            | Kind::Decimal { .. }
            | Kind::BigDecimal
            | Kind::Json(_)
    )
}
