//! Nested values between plain JSON and Avro's binary form.
//!
//! Not the hot path: a tree stands between. Must never recurse deeper than what `parse_json` accepts, and never reserve
//! by a count that a datum claims (`compile` refuses arrays of nothing, so that an item takes a byte at least).

use std::borrow::Cow;

use super::cursor::{Broken, Cursor};
use super::{flat, put};
use crate::field::Kind;
use crate::nested::{MAX_DEPTH, Mode, Normaliser, RecordShape, Shape, Tree};
use crate::scalar::{Given, accept, show};
use crate::value::Value;

/// Appends a normalised tree.
pub(super) fn write(records: &[RecordShape], shape: &Shape, tree: &Tree<'_>, out: &mut Vec<u8>) {
    match (shape, tree) {
        (Shape::Scalar(kind), tree) => {
            let value = accept(kind, tree.given());
            debug_assert!(value.is_ok(), "a record holds what its shape accepts");
            flat::write(kind, &value.unwrap_or(Value::Null), out);
        }
        (Shape::Array(items), Tree::Array(trees)) => {
            count(trees.len(), out);
            for tree in trees {
                write(records, items, tree, out);
            }
            put::long(0, out);
        }
        (Shape::Map(values), Tree::Object(members)) => {
            count(members.len(), out);
            for (name, tree) in members {
                put::bytes(name.as_bytes(), out);
                write(records, values, tree, out);
            }
            put::long(0, out);
        }
        (Shape::Record(index), Tree::Object(members)) => {
            let shapes = records.get(*index).map(|record| record.members.as_slice()).unwrap_or_default();
            // Normalised: the members stand in the schema's order.
            for (member, (_, tree)) in shapes.iter().zip(members) {
                write(records, &member.shape, tree, out);
            }
        }
        (Shape::Duration, Tree::Object(members)) => {
            for (_, tree) in members {
                let Given::Int(number) = tree.given() else { continue };
                out.extend_from_slice(&u32::try_from(number).unwrap_or(0).to_le_bytes());
            }
        }
        (Shape::Union(branches), tree) => {
            let index = branch(records, branches, tree);
            put::long(index as i64, out);
            if let Some(shape) = branches.get(index) {
                write(records, shape, tree, out);
            }
        }
        (Shape::Null | Shape::Array(_) | Shape::Map(_) | Shape::Record(_) | Shape::Duration, _) => {}
    }
}

/// An empty array is its end alone.
fn count(length: usize, out: &mut Vec<u8>) {
    if length > 0 {
        put::long(length as i64, out);
    }
}

/// The branch that normalising chose: the first that takes the value as it is, else the first that takes it leniently.
fn branch(records: &[RecordShape], branches: &[Shape], tree: &Tree<'_>) -> usize {
    let takes = |mode| branches.iter().position(|shape| Normaliser::takes(records, mode, shape, tree));
    takes(Mode::Strict).or_else(|| takes(Mode::Lenient)).unwrap_or(0)
}

/// Reads a value into plain JSON.
pub(super) fn read<'a>(
    records: &[RecordShape],
    shape: &Shape,
    cursor: &mut Cursor<'a>,
    depth: usize,
) -> Result<Tree<'a>, Broken> {
    if depth > MAX_DEPTH {
        return Err("nested too deep");
    }
    match shape {
        Shape::Null => Ok(Tree::NULL),
        Shape::Scalar(kind) => {
            let mut value = Value::Null;
            flat::read(kind, cursor, &mut value)?;
            Ok(plain(kind, value))
        }
        Shape::Array(items) => {
            let mut trees = Vec::new();
            blocks(cursor, |cursor| {
                trees.push(read(records, items, cursor, depth + 1)?);
                Ok(())
            })?;
            Ok(Tree::Array(trees))
        }
        Shape::Map(values) => {
            let mut members = Vec::new();
            blocks(cursor, |cursor| {
                let name = cursor.text()?;
                members.push((Cow::Borrowed(name), read(records, values, cursor, depth + 1)?));
                Ok(())
            })?;
            Ok(Tree::Object(members))
        }
        Shape::Record(index) => {
            let shapes = records.get(*index).map(|record| record.members.as_slice()).unwrap_or_default();
            let member = |member: &crate::Member, cursor: &mut Cursor<'a>| {
                Ok((Cow::Owned(member.name.clone()), read(records, &member.shape, cursor, depth + 1)?))
            };
            shapes.iter().map(|shape| member(shape, cursor)).collect::<Result<_, _>>().map(Tree::Object)
        }
        Shape::Duration => duration(cursor),
        Shape::Union(branches) => {
            let shape = branches.get(cursor.index()?).ok_or("a union has no such branch")?;
            read(records, shape, cursor, depth)
        }
    }
}

/// Avro's blocks of an array or a map: a count, or a negative count and a size in bytes that we do not need.
fn blocks<'a>(
    cursor: &mut Cursor<'a>,
    mut item: impl FnMut(&mut Cursor<'a>) -> Result<(), Broken>,
) -> Result<(), Broken> {
    loop {
        let count = cursor.long()?;
        if count == 0 {
            return Ok(());
        }
        if count < 0 {
            cursor.index()?;
        }
        for _ in 0..count.unsigned_abs() {
            item(cursor)?;
        }
    }
}

fn duration<'a>(cursor: &mut Cursor<'a>) -> Result<Tree<'a>, Broken> {
    let mut part = |name| -> Result<_, Broken> {
        let number = i64::from(u32::from_le_bytes(cursor.array()?));
        Ok((Cow::Borrowed(name), Tree::Scalar(Given::Int(number))))
    };
    Ok(Tree::Object(vec![part("months")?, part("days")?, part("millis")?]))
}

fn plain<'a>(kind: &Kind, value: Value<'a>) -> Tree<'a> {
    Tree::Scalar(match (kind, value) {
        (_, Value::Boolean(b)) => Given::Bool(b),
        (Kind::Int | Kind::Long, Value::Integer(number)) => Given::Int(number),
        (_, Value::Float(number)) => Given::Single(number),
        (_, Value::Double(number)) => Given::Double(number),
        (_, Value::Text(text)) => Given::Text(text),
        (kind, value) => {
            let mut text = String::new();
            show(kind, &value, &mut text);
            Given::Text(Cow::Owned(text.trim_matches('"').to_owned()))
        }
    })
}
