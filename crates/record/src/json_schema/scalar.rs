//! What a scalar may be, as JSON Schema. The patterns keep to what every dialect of regular expressions has.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json, json};

use super::object;
use crate::field::{Bound, Kind, Limits};

/// A text without U+0000.
pub(super) const TEXT: &str = r"^[^\x00]*$";
const UUID: &str = "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$";
const BIG_DECIMAL: &str = r"^-?[0-9]+(\.[0-9]+)?$";
const YEAR: &str = "[1-9][0-9]{3}";
/// Those that 64 bits of nanoseconds reach.
const YEAR_OF_NANOS: &str = "(167[7-9]|16[89][0-9]|1[7-9][0-9]{2}|2[01][0-9]{2}|22[0-5][0-9]|226[0-2])";
/// Every day that there is, and a 29th of February in every year.
const DAY: &str = "((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|[12][0-9]))";
const TIME: &str = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]";
const ZONE: &str = "([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])";
/// From here on a number is nearer to infinity than to any `float`.
const BEYOND_FLOAT: f64 = 3.402_823_567_797_336_6e38;

/// The schema of a value that is not null.
pub(super) fn schema(kind: &Kind, limits: Limits) -> Map<String, Json> {
    let mut schema = object(match kind {
        Kind::Boolean => json!({"type": "boolean"}),
        Kind::Int => whole("int32", i32::MIN.into(), i32::MAX.into(), limits),
        Kind::Long => whole("int64", i64::MIN, i64::MAX, limits),
        Kind::Float => {
            json!({"type": "number", "format": "float", "exclusiveMinimum": -BEYOND_FLOAT, "exclusiveMaximum": BEYOND_FLOAT})
        }
        Kind::Double => json!({"type": "number", "format": "double"}),
        Kind::String => json!({"type": "string", "pattern": TEXT}),
        Kind::Bytes => base64("([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?"),
        Kind::Fixed { size } => fixed(*size),
        Kind::Enum { symbols } => json!({"type": "string", "enum": symbols}),
        Kind::Uuid { .. } => json!({"type": "string", "format": "uuid", "pattern": UUID}),
        Kind::Decimal { precision, scale, .. } => decimal(*precision, *scale),
        Kind::BigDecimal => json!({"type": "string", "pattern": BIG_DECIMAL}),
        Kind::Date => json!({"type": "string", "format": "date", "pattern": format!("^{YEAR}-{DAY}$")}),
        Kind::TimeMillis => time("", 3, ""),
        Kind::TimeMicros => time("", 6, ""),
        Kind::TimestampMillis => instant(3),
        Kind::TimestampMicros => instant(6),
        Kind::TimestampNanos => instant(9),
        Kind::LocalTimestampMillis => local(3),
        Kind::LocalTimestampMicros => local(6),
        Kind::LocalTimestampNanos => local(9),
        Kind::Json(_) => json!({}),
    });
    if matches!(kind, Kind::String | Kind::Enum { .. } | Kind::Uuid { .. }) {
        put(&mut schema, "minLength", limits.min_length.map(Json::from));
        put(&mut schema, "maxLength", limits.max_length.map(Json::from));
    }
    if matches!(kind, Kind::Float | Kind::Double) {
        put(&mut schema, "minimum", limits.minimum.and_then(double));
        put(&mut schema, "maximum", limits.maximum.and_then(double));
    }
    schema
}

/// Null, too, is a value of it.
pub(super) fn or_null(schema: &mut Map<String, Json>) {
    if let Some(of) = schema.get_mut("type") {
        *of = json!([of.take(), "null"]);
    }
    if let Some(Json::Array(symbols)) = schema.get_mut("enum") {
        symbols.push(Json::Null);
    }
}

fn put(schema: &mut Map<String, Json>, name: &str, value: Option<Json>) {
    if let Some(value) = value {
        schema.insert(name.to_owned(), value);
    }
}

fn double(bound: Bound) -> Option<Json> {
    match bound {
        Bound::Double(number) => Some(number.into()),
        Bound::Integer(_) => None,
    }
}

fn whole(format: &str, least: i64, most: i64, limits: Limits) -> Json {
    let bound = |bound: Option<Bound>| match bound {
        Some(Bound::Integer(number)) => Some(number),
        _ => None,
    };
    let least = bound(limits.minimum).map_or(least, |number| number.max(least));
    let most = bound(limits.maximum).map_or(most, |number| number.min(most));
    json!({"type": "integer", "format": format, "minimum": least, "maximum": most})
}

/// `tail`: what may stand behind the groups of three bytes.
fn base64(tail: &str) -> Json {
    json!({"type": "string", "contentEncoding": "base64", "pattern": format!("^([A-Za-z0-9+/]{{4}})*{tail}$")})
}

fn fixed(size: usize) -> Json {
    let mut schema = base64(match size % 3 {
        1 => "[A-Za-z0-9+/][AQgw]==",
        2 => "[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=",
        _ => "",
    });
    let length = size.div_ceil(3) * 4;
    if let Json::Object(schema) = &mut schema {
        schema.insert("minLength".to_owned(), length.into());
        schema.insert("maxLength".to_owned(), length.into());
    }
    schema
}

fn decimal(precision: u32, scale: u32) -> Json {
    let whole = match precision.saturating_sub(scale) {
        0 => "0+".to_owned(),
        digits => format!("0*[0-9]{{1,{digits}}}"),
    };
    let fraction = fraction(scale);
    json!({"type": "string", "pattern": format!("^-?{whole}{fraction}$")})
}

/// So many digits, and zeros behind them.
fn fraction(digits: u32) -> String {
    if digits == 0 { r"(\.0+)?".to_owned() } else { format!(r"(\.[0-9]{{1,{digits}}}0*)?") }
}

fn time(before: &str, digits: u32, behind: &str) -> Json {
    let fraction = fraction(digits);
    json!({"type": "string", "pattern": format!("^{before}{TIME}{fraction}{behind}$")})
}

/// The date of a timestamp, up to its time.
fn date(digits: u32) -> String {
    let year = if digits == 9 { YEAR_OF_NANOS } else { YEAR };
    format!("{year}-{DAY}[Tt]")
}

fn local(digits: u32) -> Json {
    time(&date(digits), digits, "")
}

fn instant(digits: u32) -> Json {
    let mut schema = time(&date(digits), digits, ZONE);
    if let Json::Object(schema) = &mut schema {
        schema.insert("format".to_owned(), "date-time".into());
    }
    schema
}

/// Base64 of so many zero bytes.
pub(super) fn zeros(size: usize) -> String {
    STANDARD.encode(vec![0_u8; size])
}
