//! Defaults: Avro's JSON encoding (bytes as code points, times as numbers) to our plain JSON, checked against the field.
//!
//! Must never accept a default that a client could not have sent.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json};

use super::Report;
use super::shape::dotted;
use crate::field::{DecimalForm, Kind};
use crate::json::Pointer;
use crate::nested::{MAX_DEPTH, Mode, Normaliser, RecordShape, Shape, Tree};
use crate::scalar::{Given, from_unscaled, in_range, show};
use crate::value::Value;

/// Sets every member's default, or says why it does not fit.
pub(super) fn fill(
    records: &mut [RecordShape],
    paths: &[String],
    defaults: &[Vec<Option<Json>>],
    report: &mut Report<'_>,
) {
    let mut done = Vec::new();
    for (index, record) in records.iter().enumerate() {
        let path = paths.get(index).map_or("", String::as_str);
        for (at, member) in record.members.iter().enumerate() {
            let Some(raw) = defaults.get(index).and_then(|of| of.get(at)?.as_ref()) else { continue };
            match plain_text(records, defaults, member, raw) {
                Ok(text) => done.push((index, at, text)),
                Err(why) => report.push(&dotted(path, &member.name), "default", why),
            }
        }
    }
    for (index, at, text) in done {
        if let Some(member) = records.get_mut(index).and_then(|record| record.members.get_mut(at)) {
            member.default = Some(text);
        }
    }
}

fn plain_text(
    records: &[RecordShape],
    defaults: &[Vec<Option<Json>>],
    member: &crate::Member,
    raw: &Json,
) -> Result<String, String> {
    let reader = Reader { records, defaults };
    let tree = reader
        .tree(&member.shape, raw, 0)
        .ok_or("does not fit the type; in a union it is of the first type, so put that one first")?;
    let mut text = String::new();
    let mut normaliser = Normaliser::new(records, Mode::Strict, Pointer::default());
    normaliser.value(&member.shape, &member.limits, &tree, 0, &mut text);
    match normaliser.faults.into_vec().first() {
        None => Ok(text),
        Some(fault) => Err(format!("does not fit the field: {}", fault.detail)),
    }
}

struct Reader<'s> {
    records: &'s [RecordShape],
    defaults: &'s [Vec<Option<Json>>],
}

impl Reader<'_> {
    fn tree(&self, shape: &Shape, raw: &Json, depth: usize) -> Option<Tree<'static>> {
        if depth > MAX_DEPTH {
            return None;
        }
        match (shape, raw) {
            (Shape::Null, Json::Null) => Some(Tree::NULL),
            (Shape::Scalar(kind), raw) => scalar(kind, raw),
            (Shape::Duration, Json::String(text)) => duration(&latin1(text)?),
            (Shape::Array(items), Json::Array(raws)) => {
                raws.iter().map(|raw| self.tree(items, raw, depth + 1)).collect::<Option<_>>().map(Tree::Array)
            }
            (Shape::Map(values), Json::Object(members)) => {
                let entry =
                    |(name, raw): (&String, &Json)| Some((name.clone().into(), self.tree(values, raw, depth + 1)?));
                members.iter().map(entry).collect::<Option<_>>().map(Tree::Object)
            }
            (Shape::Record(index), Json::Object(members)) => self.record(*index, members, depth),
            // Of the first type only: of any other, readers of other makes take null or fail.
            (Shape::Union(branches), raw) => self.tree(branches.first()?, raw, depth),
            _ => None,
        }
    }

    /// A member that the default leaves out has its own.
    fn record(&self, index: usize, given: &Map<String, Json>, depth: usize) -> Option<Tree<'static>> {
        let record = self.records.get(index)?;
        if !given.keys().all(|name| record.members.iter().any(|member| member.name == *name)) {
            return None;
        }
        let member = |(at, member): (usize, &crate::Member)| {
            let raw = given.get(&member.name).or_else(|| self.defaults.get(index)?.get(at)?.as_ref())?;
            Some((member.name.clone().into(), self.tree(&member.shape, raw, depth + 1)?))
        };
        record.members.iter().enumerate().map(member).collect::<Option<_>>().map(Tree::Object)
    }
}

fn scalar(kind: &Kind, raw: &Json) -> Option<Tree<'static>> {
    Some(match (kind, raw) {
        (Kind::Boolean, Json::Bool(b)) => Tree::Scalar(Given::Bool(*b)),
        (Kind::Int | Kind::Long, Json::Number(number)) => Tree::Scalar(Given::Int(number.as_i64()?)),
        (Kind::Float | Kind::Double, Json::Number(number)) => Tree::Scalar(Given::Double(number.as_f64()?)),
        (Kind::String | Kind::Enum { .. } | Kind::Uuid { form: crate::UuidForm::Text }, Json::String(text)) => {
            Tree::text(text.clone())
        }
        (Kind::Uuid { .. }, Json::String(text)) => {
            Tree::text(uuid::Uuid::from_slice(&latin1(text)?).ok()?.hyphenated().to_string())
        }
        (Kind::Bytes | Kind::Fixed { .. }, Json::String(text)) => Tree::text(STANDARD.encode(latin1(text)?)),
        (Kind::Decimal { precision, scale, form }, Json::String(text)) => {
            let bytes = latin1(text)?;
            if matches!(form, DecimalForm::Fixed(size) if *size != bytes.len()) {
                return None;
            }
            Tree::text(from_unscaled(&bytes, *precision, *scale)?)
        }
        (Kind::BigDecimal, _) => return None,
        (kind, Json::Number(number)) => {
            let number = number.as_i64().filter(|number| in_range(kind, *number))?;
            let mut text = String::new();
            show(kind, &Value::Integer(number), &mut text);
            Tree::text(text.trim_matches('"').to_owned())
        }
        _ => return None,
    })
}

/// Avro writes a byte as the code point of the same number.
fn latin1(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

fn duration(bytes: &[u8]) -> Option<Tree<'static>> {
    let (parts, []) = bytes.as_chunks::<4>() else { return None };
    let [months, days, millis] = parts else { return None };
    let part = |name: &'static str, bytes: &[u8; 4]| {
        (name.into(), Tree::Scalar(Given::Int(i64::from(u32::from_le_bytes(*bytes)))))
    };
    Some(Tree::Object(vec![part("months", months), part("days", days), part("millis", millis)]))
}
