//! What a JSON scalar means as a value of a kind.
//!
//! Strict about types, generous where nothing is lost: 1.0 is a whole number, an offset is converted to UTC.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Refusal, canonical, canonical_big, time};
use crate::fault::FaultCode;
use crate::field::Kind;
use crate::value::Value;

/// Up to here every whole number is one that a JSON number written with a point or an exponent names exactly.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A JSON value as a parser hands it over. Arrays and objects only by name: no scalar is made of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Given<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// Above `i64::MAX`.
    Huge(u64),
    /// Never from JSON: a `float` of an older datum, still unwidened.
    Single(f32),
    Double(f64),
    Text(Cow<'a, str>),
    Array,
    Object,
}

/// The value of this kind that is meant.
// Where the parser has said already what is given, all that remains of this is one comparison with the kind; as a call it
// moves every value three times.
#[inline(always)]
pub(crate) fn accept<'a>(kind: &Kind, given: Given<'a>) -> Result<Value<'a>, Refusal> {
    match kind {
        Kind::Boolean => match given {
            Given::Bool(b) => Ok(Value::Boolean(b)),
            other => Err(wrong_type(kind, &other)),
        },
        Kind::Int | Kind::Long => whole(kind, given),
        Kind::Float => single(kind, given),
        Kind::Double => double(kind, given),
        _ => match given {
            Given::Text(text) => of_text(kind, text),
            other => Err(wrong_type(kind, &other)),
        },
    }
}

#[inline(always)]
fn whole<'a>(kind: &Kind, given: Given<'_>) -> Result<Value<'a>, Refusal> {
    let number = match given {
        Given::Int(number) => Some(number),
        Given::Huge(_) => None,
        Given::Double(number) if number.fract() != 0.0 => return Err(wrong_type(kind, &given)),
        // Below 2^53 the conversion is exact.
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
        Given::Double(number) => (number.abs() <= EXACT).then_some(number as i64),
        other => return Err(wrong_type(kind, &other)),
    };
    match number {
        Some(number) if time::in_range(kind, number) => Ok(Value::Integer(number)),
        _ => Err(Refusal::new(FaultCode::Range, expected(kind))),
    }
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "Avro's promotions are these casts")]
fn single<'a>(kind: &Kind, given: Given<'_>) -> Result<Value<'a>, Refusal> {
    let number = match given {
        Given::Int(number) => number as f32,
        Given::Huge(number) => number as f32,
        Given::Single(number) => number,
        Given::Double(number) => number as f32,
        other => return Err(wrong_type(kind, &other)),
    };
    if number.is_finite() {
        Ok(Value::Float(without_sign(number)))
    } else {
        Err(Refusal::new(FaultCode::Range, "at most 3.4028235e38"))
    }
}

#[inline(always)]
#[expect(clippy::cast_precision_loss, reason = "Avro's promotions are these casts")]
fn double<'a>(kind: &Kind, given: Given<'_>) -> Result<Value<'a>, Refusal> {
    let number = match given {
        Given::Int(number) => number as f64,
        Given::Huge(number) => number as f64,
        Given::Single(number) => f64::from(number),
        Given::Double(number) => number,
        other => return Err(wrong_type(kind, &other)),
    };
    if number.is_finite() {
        Ok(Value::Double(without_sign(number)))
    } else {
        Err(Refusal::new(FaultCode::Range, "expected a finite number"))
    }
}

/// -0.0 is 0.0: MariaDB keeps no other zero, and a record is the same wherever it is read.
pub(crate) fn without_sign<T: std::ops::Add<Output = T> + Default>(number: T) -> T {
    number + T::default()
}

fn of_text<'a>(kind: &Kind, text: Cow<'a, str>) -> Result<Value<'a>, Refusal> {
    match kind {
        Kind::String => Ok(Value::Text(text)),
        Kind::Enum { symbols } if symbols.iter().any(|symbol| *symbol == text) => Ok(Value::Text(text)),
        Kind::Enum { .. } => Err(Refusal::new(FaultCode::Symbol, expected(kind))),
        Kind::Uuid { .. } => uuid(text).map(Value::Text),
        Kind::Decimal { precision, scale, .. } => canonical(text, *precision, *scale).map(Value::Text),
        Kind::BigDecimal => canonical_big(text).map(Value::Text),
        Kind::Bytes => base64(&text).map(|bytes| Value::Bytes(Cow::Owned(bytes))),
        Kind::Fixed { size } => match base64(&text)? {
            bytes if bytes.len() == *size => Ok(Value::Bytes(Cow::Owned(bytes))),
            _ => Err(Refusal::new(FaultCode::Length, format!("base64 of exactly {size} bytes"))),
        },
        _ => match time::clock(kind) {
            Some(clock) => time::parse(clock, &text).map(Value::Integer),
            None => Err(wrong_type(kind, &Given::Text(text))),
        },
    }
}

fn uuid(text: Cow<'_, str>) -> Result<Cow<'_, str>, Refusal> {
    let hyphenated = text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        });
    if !hyphenated {
        return Err(Refusal::new(
            FaultCode::Format,
            "a UUID with hyphens, such as 123e4567-e89b-12d3-a456-426614174000",
        ));
    }
    Ok(if text.bytes().any(|b| b.is_ascii_uppercase()) { Cow::Owned(text.to_ascii_lowercase()) } else { text })
}

fn base64(text: &str) -> Result<Vec<u8>, Refusal> {
    STANDARD.decode(text).map_err(|_| Refusal::new(FaultCode::Format, "expected base64 (standard alphabet, padded)"))
}

#[cold]
fn wrong_type(kind: &Kind, given: &Given<'_>) -> Refusal {
    let name = match given {
        Given::Null => "null",
        Given::Bool(_) => "a boolean",
        Given::Int(_) | Given::Huge(_) | Given::Single(_) | Given::Double(_) => "a number",
        Given::Text(_) => "a string",
        Given::Array => "an array",
        Given::Object => "an object",
    };
    Refusal::new(FaultCode::Type, format!("expected {}, not {name}", expected(kind)))
}

/// What a kind expects, for the text of a fault.
fn expected(kind: &Kind) -> Cow<'static, str> {
    Cow::Borrowed(match kind {
        Kind::Boolean => "true or false",
        Kind::Int => "a whole number from -2147483648 to 2147483647",
        Kind::Long => "a whole number from -9223372036854775808 to 9223372036854775807",
        Kind::Float | Kind::Double => "a number",
        Kind::String => "a string",
        Kind::Bytes | Kind::Fixed { .. } => "a string of base64",
        Kind::Enum { symbols } => return Cow::Owned(format!("one of {}", symbols.join(", "))),
        Kind::Uuid { .. } => "a string with a UUID",
        Kind::Decimal { .. } | Kind::BigDecimal => "a string with a decimal (not a number, which would lose digits)",
        Kind::Date => "a string with a date",
        Kind::TimeMillis | Kind::TimeMicros => "a string with a time",
        Kind::Json(_) => "what the schema says",
        _ => "a string with a timestamp",
    })
}
