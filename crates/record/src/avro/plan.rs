//! How a datum of one published version becomes values of the newest shape.
//!
//! Made once per version; reading follows it without looking a name up.

use super::cursor::{Broken, Cursor};
use super::{flat, nested};
use crate::fault::DatumFault;
use crate::field::{Field, Kind};
use crate::json::settle;
use crate::nested::{Mode, Nested};
use crate::value::Value;

/// The fields of a writer's schema in their order, and what the newest schema has beyond them.
#[derive(Debug)]
pub(crate) struct ReadPlan {
    steps: Vec<Step>,
    /// Fields that this version does not have, with what stands for them.
    fill: Vec<(usize, Value<'static>)>,
    /// Fields that were a float and are a double now.
    widened: Vec<usize>,
}

#[derive(Debug)]
struct Step {
    /// The writer's field.
    field: Field,
    /// Where its value goes; `None` for a field that was dropped since.
    to: Option<usize>,
    convert: Convert,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Convert {
    /// Also int to long, and a value to a nullable one.
    Same,
    ToFloat,
    ToDouble,
    /// Nested on either side: by way of plain JSON.
    Nested,
}

impl ReadPlan {
    /// The plan for a writer's fields. The compatibility gate has made sure that there is one.
    pub(crate) fn new(writer: &[Field], reader: &[Field]) -> ReadPlan {
        let steps = writer.iter().map(|field| {
            let to = reader.iter().position(|newer| newer.name == field.name);
            let convert =
                to.and_then(|to| reader.get(to)).map_or(Convert::Same, |newer| convert(&field.kind, &newer.kind));
            Step { field: field.clone(), to, convert }
        });
        let fill = reader
            .iter()
            .enumerate()
            .filter(|(_, newer)| writer.iter().all(|field| field.name != newer.name))
            .map(|(at, newer)| (at, newer.default.clone().unwrap_or(Value::Null)));
        let steps: Vec<_> = steps.collect();
        let widened =
            steps.iter().filter(|step| matches!(step.field.kind, Kind::Float) && step.convert == Convert::ToDouble);
        let widened = widened.filter_map(|step| step.to).collect();
        ReadPlan { steps, fill: fill.collect(), widened }
    }

    /// Where in the newest shape a value was written as a float and is a double now.
    pub(crate) fn widened(&self) -> &[usize] {
        &self.widened
    }
}

fn convert(writer: &Kind, reader: &Kind) -> Convert {
    match (writer, reader) {
        (Kind::Json(_), _) | (_, Kind::Json(_)) => Convert::Nested,
        (Kind::Int | Kind::Long, Kind::Float) => Convert::ToFloat,
        (Kind::Int | Kind::Long | Kind::Float, Kind::Double) => Convert::ToDouble,
        _ => Convert::Same,
    }
}

/// Reads a whole datum.
pub(crate) fn read<'a>(plan: &ReadPlan, fields: &[Field], datum: &'a [u8]) -> Result<Vec<Value<'a>>, DatumFault> {
    let mut values = vec![Value::Null; fields.len()];
    let mut cursor = Cursor(datum);
    let mut dropped = Value::Null;
    for step in &plan.steps {
        let target = step.to.and_then(|to| Some((fields.get(to)?, values.get_mut(to)?)));
        let (reader, place) = target.map_or((None, &mut dropped), |(field, place)| (Some(field), place));
        if let Err(what) = read_step(step, reader, &mut cursor, place) {
            return Err(DatumFault::Malformed { field: step.field.name.clone(), what });
        }
    }
    if !cursor.0.is_empty() {
        return Err(DatumFault::Malformed { field: String::new(), what: "the datum is longer than its schema" });
    }
    for (at, value) in &plan.fill {
        if let Some(place) = values.get_mut(*at) {
            *place = value.clone();
        }
    }
    Ok(values)
}

/// Straight to where the value belongs: handed back it would be moved five times, as in `json::field`.
fn read_step<'a>(
    step: &Step,
    reader: Option<&Field>,
    cursor: &mut Cursor<'a>,
    place: &mut Value<'a>,
) -> Result<(), Broken> {
    *place = match (&step.field.kind, step.convert, reader) {
        (Kind::Json(nested), _, reader) => {
            let tree = nested::read(&nested.records, &nested.shape, cursor, 0)?;
            reader.map_or(Ok(Value::Null), |field| settled(field, &tree))?
        }
        (kind, Convert::Nested, Some(Field { kind: Kind::Json(newer), .. })) => {
            read_widened(kind, step, newer, reader, cursor)?
        }
        (_, _, _) if step.field.nullable && read_branch(&step.field, cursor)? => Value::Null,
        (kind, Convert::Same, _) => return flat::read(kind, cursor, place),
        (kind, convert, _) => {
            flat::read(kind, cursor, place)?;
            promoted(convert, std::mem::replace(place, Value::Null))
        }
    };
    Ok(())
}

/// A flat field that has become one of several types since.
fn read_widened<'a>(
    kind: &Kind,
    step: &Step,
    newer: &Nested,
    reader: Option<&Field>,
    cursor: &mut Cursor<'a>,
) -> Result<Value<'a>, Broken> {
    if step.field.nullable && read_branch(&step.field, cursor)? {
        return Ok(Value::Null);
    }
    let shape = crate::nested::Shape::Scalar(kind.clone());
    let tree = nested::read(&newer.records, &shape, cursor, 0)?;
    reader.map_or(Ok(Value::Null), |field| settled(field, &tree))
}

fn settled<'a>(field: &Field, tree: &crate::nested::Tree<'_>) -> Result<Value<'a>, Broken> {
    settle(field, Mode::Lenient, tree).map_err(|_| "the newest schema does not accept the value")
}

/// Whether the branch of a nullable field is null.
fn read_branch(field: &Field, cursor: &mut Cursor<'_>) -> Result<bool, Broken> {
    match cursor.long()? {
        0 => Ok(field.null_first),
        1 => Ok(!field.null_first),
        _ => Err("a union has no such branch"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "Avro's promotions are these casts")]
fn promoted(convert: Convert, value: Value<'_>) -> Value<'_> {
    match (convert, value) {
        (Convert::ToFloat, Value::Integer(number)) => Value::Float(number as f32),
        (Convert::ToDouble, Value::Integer(number)) => Value::Double(number as f64),
        (Convert::ToDouble, Value::Float(number)) => Value::Double(f64::from(number)),
        (_, value) => value,
    }
}
