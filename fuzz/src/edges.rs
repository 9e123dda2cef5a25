//! Values at the edges of every type, as JSON. A field's bounds or its table may refuse one: whoever needs a record asks the entity.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use record::{Field, Kind, Nested, Shape};
use serde_json::{Map, Value as Json, json};

/// Below it a value is as small as it can be.
const DEPTH: usize = 3;
/// Of one nested type; they multiply from level to level.
const MOST: usize = 24;

/// Values for a field.
#[must_use]
pub fn of_field(field: &Field) -> Vec<Json> {
    let mut values = match &field.kind {
        Kind::Json(nested) => of_shape(nested, nested.shape(), 0),
        kind => of_kind(kind),
    };
    if field.nullable {
        values.push(Json::Null);
    }
    values
}

fn of_shape(nested: &Nested, shape: &Shape, depth: usize) -> Vec<Json> {
    let inner = |shape: &Shape| of_shape(nested, shape, depth + 1);
    let mut values = match shape {
        Shape::Null => vec![Json::Null],
        Shape::Duration => {
            let every = |number: u32| json!({"months": number, "days": number, "millis": number});
            vec![every(0), every(u32::MAX)]
        }
        Shape::Scalar(kind) => of_kind(kind),
        Shape::Array(_) if depth > DEPTH => vec![json!([])],
        Shape::Array(items) => {
            let items = inner(items);
            vec![json!([]), json!(items[..1]), json!(items)]
        }
        Shape::Map(_) if depth > DEPTH => vec![json!({})],
        Shape::Map(values) => {
            let names = ["z", "", "a", "\u{1d11e}", "\"\\", "a/~b"].into_iter().cycle().enumerate();
            let named = names.map(|(index, name)| if index < 6 { name.to_owned() } else { format!("{name}{index}") });
            let values = inner(values);
            vec![json!({}), json!({"one": values[0]}), named.zip(values).collect::<Map<_, _>>().into()]
        }
        Shape::Union(branches) if depth > DEPTH && branches.iter().any(|branch| matches!(branch, Shape::Null)) => {
            vec![Json::Null]
        }
        // The first of each, then the second of each: no branch is cut off.
        Shape::Union(branches) => {
            let branches: Vec<_> = branches.iter().map(|branch| of_shape(nested, branch, depth)).collect();
            (0..MOST).flat_map(|index| branches.iter().filter_map(move |values| values.get(index).cloned())).collect()
        }
        Shape::Record(index) => of_record(nested, *index, depth),
    };
    values.truncate(MOST);
    values
}

/// One of all first values, one without what may be missing, and one for every further value of a member.
fn of_record(nested: &Nested, index: usize, depth: usize) -> Vec<Json> {
    let Some(record) = nested.record(index) else { return Vec::new() };
    let needed = record.members.iter().filter(|member| depth <= DEPTH || member.default.is_none());
    let members: Vec<_> = needed.map(|member| (member, of_shape(nested, &member.shape, depth + 1))).collect();
    let first: Map<_, _> = members.iter().map(|(member, values)| (member.name.clone(), values[0].clone())).collect();
    let least = members.iter().filter(|(member, _)| member.default.is_none());
    let least: Map<_, _> = least.map(|(member, values)| (member.name.clone(), values[0].clone())).collect();
    let mut values = vec![first.clone().into(), least.into()];
    for (member, further) in &members {
        values.extend(further.iter().skip(1).map(|value| with(&first, &member.name, value.clone())));
    }
    values
}

/// The object with this member instead.
#[must_use]
pub fn with(object: &Map<String, Json>, name: &str, value: Json) -> Json {
    let mut object = object.clone();
    object.insert(name.to_owned(), value);
    object.into()
}

fn of_kind(kind: &Kind) -> Vec<Json> {
    let texts = |texts: &[&str]| texts.iter().map(|text| json!(text)).collect();
    match kind {
        Kind::Boolean => vec![json!(true), json!(false)],
        Kind::Int => vec![json!(1), json!(0), json!(-1), json!(i32::MIN), json!(i32::MAX), json!(2.0)],
        Kind::Long => vec![json!(1), json!(0), json!(i64::MIN), json!(i64::MAX), json!(9_007_199_254_740_992.0)],
        Kind::Float => {
            vec![json!(0.5), json!(-0.0), json!(f32::MAX), json!(f32::from_bits(1)), json!(0.1), json!(16_777_217)]
        }
        Kind::Double => {
            vec![
                json!(0.5),
                json!(-0.0),
                json!(f64::MAX),
                json!(f64::from_bits(1)),
                json!(0.1),
                json!(1e21),
                json!(u64::MAX),
            ]
        }
        Kind::String => {
            let mut texts: Vec<_> =
                texts(&["text", "", "u\u{308}\u{df}\u{1d11e}\u{10ffff}", "\"\\/\u{8}\n\u{1}\u{7f}\u{2028}\u{feff}"]);
            texts.extend([json!("\u{e9}".repeat(100)), json!("x".repeat(255))]);
            texts
        }
        Kind::Bytes => [&[0, 255][..], &[], &[255; 3], &[128; 300]].map(|bytes| json!(STANDARD.encode(bytes))).into(),
        Kind::Fixed { size } => [0, 255].map(|byte| json!(STANDARD.encode(vec![byte; *size]))).into(),
        Kind::Enum { symbols } => symbols.iter().map(|symbol| json!(symbol)).collect(),
        Kind::Uuid { .. } => texts(&[
            "123e4567-e89b-12d3-a456-426614174000",
            "00000000-0000-0000-0000-000000000000",
            "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        ]),
        Kind::Decimal { precision, scale, .. } => decimals(*precision as usize, *scale as usize),
        // 1,000 digits are the most.
        Kind::BigDecimal => {
            let mut decimals = decimals(1000, 1000);
            decimals.extend([decimals_whole(1000), json!("-1234567890123456789012345678901234567890.5")]);
            decimals
        }
        Kind::Date => texts(&["2026-11-24", "1000-01-01", "9999-12-31", "2024-02-29", "1969-12-31"]),
        Kind::TimeMillis => texts(&["12:34:56.789", "00:00:00", "23:59:59.999"]),
        Kind::TimeMicros => texts(&["12:34:56.789012", "00:00:00", "23:59:59.999999"]),
        Kind::TimestampMillis | Kind::TimestampMicros => texts(&[
            "2026-11-24T12:34:56.789+01:00",
            "1000-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999Z",
            "1969-12-31T23:59:59.999-23:59",
        ]),
        Kind::TimestampNanos => {
            texts(&["2026-11-24T12:34:56.789012345Z", "1677-09-22T00:00:00Z", "2262-04-11T23:47:16.854775807Z"])
        }
        Kind::LocalTimestampMillis | Kind::LocalTimestampMicros => {
            texts(&["2026-11-24T12:34:56.789", "1000-01-01T00:00:00", "9999-12-31T23:59:59.999"])
        }
        Kind::LocalTimestampNanos => {
            texts(&["2026-11-24T12:34:56.789012345", "1677-09-22T00:00:00", "2262-04-11T23:47:16.854775807"])
        }
        Kind::Json(_) => Vec::new(),
    }
}

fn decimals(precision: usize, scale: usize) -> Vec<Json> {
    let (whole, fraction) = ("9".repeat(precision - scale), "9".repeat(scale));
    let most = format!("{}{}{fraction}", if whole.is_empty() { "0" } else { &whole }, if scale > 0 { "." } else { "" });
    let least = if scale > 0 { format!("-0.{}1", "0".repeat(scale - 1)) } else { "-1".to_owned() };
    vec![json!("0"), json!("-0"), json!(most), json!(format!("-{most}")), json!(least)]
}

fn decimals_whole(digits: usize) -> Json {
    json!("9".repeat(digits))
}
