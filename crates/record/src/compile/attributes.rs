//! What Avro cannot say: bounds, the publisher's flags, templates.
//!
//! Must never ignore an attribute that does not fit its field's type.

use std::collections::BTreeMap;

use apache_avro::schema::RecordField;
use serde_json::Value as Json;

use super::Report;
use crate::field::{Bound, Cli, Field, Kind, Limits, Part, Template};
use crate::nested::Shape;

type Attributes = BTreeMap<String, Json>;

/// The bounds of a field; on an array or a map they hold for the items.
pub(super) fn limits(path: &str, shape: &Shape, attributes: &Attributes, report: &mut Report<'_>) -> Limits {
    let limits = Limits {
        min_length: length("minLength", path, shape, attributes, report),
        max_length: length("maxLength", path, shape, attributes, report),
        minimum: bound("minimum", path, shape, attributes, report),
        maximum: bound("maximum", path, shape, attributes, report),
    };
    if limits.max_length.is_some_and(|most| limits.min_length.is_some_and(|least| least > most)) {
        report.push(path, "minLength", "is greater than maxLength");
    }
    if let (Some(least), Some(most)) = (limits.minimum, limits.maximum)
        && least > most
    {
        report.push(path, "minimum", "is greater than maximum");
    }
    limits
}

fn length(
    name: &'static str,
    path: &str,
    shape: &Shape,
    attributes: &Attributes,
    report: &mut Report<'_>,
) -> Option<u32> {
    let given = attributes.get(name)?;
    if !scalars(shape).iter().any(|kind| matches!(kind, Kind::String)) {
        report.push(path, name, "is for strings");
    }
    let number = given.as_u64().and_then(|number| u32::try_from(number).ok());
    if number.is_none() {
        report.push(path, name, "is a whole number of characters");
    }
    number
}

fn bound(
    name: &'static str,
    path: &str,
    shape: &Shape,
    attributes: &Attributes,
    report: &mut Report<'_>,
) -> Option<Bound> {
    let given = attributes.get(name)?;
    let kinds = scalars(shape);
    let whole = kinds.iter().any(|kind| matches!(kind, Kind::Int | Kind::Long));
    let broken = kinds.iter().any(|kind| matches!(kind, Kind::Float | Kind::Double));
    match (whole, broken) {
        (true, false) => {
            let number = given.as_i64();
            if number.is_none() {
                report.push(path, name, "is a whole number, as its field");
            }
            number.map(Bound::Integer)
        }
        (false, true) => {
            let number = given.as_f64();
            if number.is_none() {
                report.push(path, name, "is a number, as its field");
            }
            number.map(Bound::Double)
        }
        _ => {
            report.push(path, name, "is for int and long, or for float and double");
            None
        }
    }
}

/// The scalars that a field's bounds apply to.
fn scalars(shape: &Shape) -> Vec<&Kind> {
    match shape {
        Shape::Scalar(kind) => vec![kind],
        Shape::Array(inner) | Shape::Map(inner) => scalars(inner),
        Shape::Union(branches) => branches.iter().flat_map(scalars).collect(),
        Shape::Null | Shape::Duration | Shape::Record(_) => Vec::new(),
    }
}

/// `"cli": {"long": "age", "short": "a"}`.
pub(super) fn cli(field: &str, attributes: &Attributes, report: &mut Report<'_>) -> Option<Cli> {
    let given = attributes.get("cli")?;
    let parsed = given.as_object().and_then(|object| {
        let known = object.keys().all(|key| key == "long" || key == "short");
        let long = object.get("long").and_then(Json::as_str).filter(|long| is_flag(long))?;
        let short = match object.get("short") {
            None => None,
            Some(short) => Some(one_letter(short.as_str()?)?),
        };
        known.then(|| Cli { long: long.to_owned(), short })
    });
    if parsed.is_none() {
        report.push(field, "cli", "is {\"long\": \"first-name\", \"short\": \"f\"}: lower case, digits and -; short is one letter or left out");
    }
    parsed
}

fn is_flag(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    text.len() >= 2 && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.bytes().all(plain)
}

fn one_letter(text: &str) -> Option<char> {
    let mut chars = text.chars();
    let first = chars.next().filter(char::is_ascii_alphabetic)?;
    chars.next().is_none().then_some(first)
}

/// No two fields share a flag.
pub(super) fn check_flags(fields: &[Field], report: &mut Report<'_>) {
    for (at, field) in fields.iter().enumerate() {
        let Some(cli) = &field.cli else { continue };
        let taken = fields.iter().take(at).filter_map(|earlier| earlier.cli.as_ref());
        if taken.clone().any(|earlier| earlier.long == cli.long || (cli.short.is_some() && earlier.short == cli.short))
        {
            report.push(&field.name, "cli", "another field has this flag already");
        }
    }
}

/// `"template": "{first_name} {last_name}"`.
pub(super) fn template(avro: &RecordField, fields: &[Field], report: &mut Report<'_>) -> Option<Template> {
    let given = avro.custom_attributes.get("template")?;
    let own = fields.iter().find(|field| field.name == avro.name);
    if !own.is_some_and(|field| matches!(field.kind, Kind::String)) {
        report.push(&avro.name, "template", "is for strings");
    }
    let parsed = given
        .as_str()
        .and_then(|text| Some(Template { text: text.to_owned(), parts: parts(text, &avro.name, fields)? }));
    if parsed.is_none() {
        report.push(
            &avro.name,
            "template",
            "is a text with other string fields in braces, such as \"{first_name} {last_name}\"",
        );
    }
    parsed
}

/// `None` when a brace stands alone or a field is unknown, no string, or the template's own.
fn parts(text: &str, own: &str, fields: &[Field]) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((literal, tail)) = rest.split_once('{') {
        let (name, after) = tail.split_once('}')?;
        let index =
            fields.iter().position(|field| field.name == name && name != own && matches!(field.kind, Kind::String))?;
        if !literal.is_empty() {
            parts.push(Part::Literal(literal.to_owned()));
        }
        parts.push(Part::Field(index));
        rest = after;
    }
    if rest.contains('}') || parts.is_empty() {
        return None;
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest.to_owned()));
    }
    Some(parts)
}
