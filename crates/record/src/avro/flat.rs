//! Flat values in Avro's binary form.
//!
//! Writing trusts the record, reading trusts nothing: what a column could not hold or JSON not show is refused here.

use std::borrow::Cow;

use super::cursor::{Broken, Cursor};
use super::put;
use crate::field::{DecimalForm, Kind, UuidForm};
use crate::scalar::{big_from_avro, big_to_avro, from_unscaled, in_range, unscaled, without_sign};
use crate::value::Value;

/// Appends a value of this kind; null appends nothing.
pub(super) fn write(kind: &Kind, value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => {}
        Value::Boolean(b) => out.push(u8::from(*b)),
        Value::Integer(number) => put::long(*number, out),
        Value::Float(number) => out.extend_from_slice(&number.to_le_bytes()),
        Value::Double(number) => out.extend_from_slice(&number.to_le_bytes()),
        Value::Text(text) => write_text(kind, text, out),
        Value::Bytes(bytes) => match kind {
            Kind::Fixed { .. } => out.extend_from_slice(bytes),
            _ => put::bytes(bytes, out),
        },
        Value::Json(_) => debug_assert!(false, "nested values are written by their shape"),
    }
}

fn write_text(kind: &Kind, text: &str, out: &mut Vec<u8>) {
    match kind {
        Kind::Enum { symbols } => {
            let index = symbols.iter().position(|symbol| symbol == text);
            debug_assert!(index.is_some(), "a record holds known symbols only");
            put::long(index.unwrap_or(0) as i64, out);
        }
        Kind::Uuid { form: UuidForm::Fixed } => {
            out.extend_from_slice(uuid::Uuid::try_parse(text).unwrap_or_default().as_bytes());
        }
        Kind::Decimal { form: DecimalForm::Bytes, .. } => put::bytes(&unscaled(text), out),
        Kind::Decimal { form: DecimalForm::Fixed(size), .. } => extended(&unscaled(text), *size, out),
        Kind::BigDecimal => {
            let (number, scale) = big_to_avro(text);
            let mut inner = Vec::with_capacity(number.len() + 4);
            put::bytes(&number, &mut inner);
            put::long(scale, &mut inner);
            put::bytes(&inner, out);
        }
        _ => put::bytes(text.as_bytes(), out),
    }
}

/// The number in so many bytes, its sign repeated in front. `compile` made sure that every number fits.
fn extended(number: &[u8], size: usize, out: &mut Vec<u8>) {
    let fill = if number.first().is_some_and(|first| *first >= 0x80) { 0xFF } else { 0 };
    out.extend(std::iter::repeat_n(fill, size.saturating_sub(number.len())));
    out.extend_from_slice(number);
}

/// Reads a value of this kind to its place.
pub(super) fn read<'a>(kind: &Kind, cursor: &mut Cursor<'a>, place: &mut Value<'a>) -> Result<(), Broken> {
    *place = match kind {
        Kind::Boolean => match cursor.array()? {
            [0] => Value::Boolean(false),
            [1] => Value::Boolean(true),
            _ => return Err("a boolean is neither 0 nor 1"),
        },
        Kind::Int | Kind::Date | Kind::TimeMillis => Value::Integer(within(kind, i64::from(cursor.int()?))?),
        Kind::Float => Value::Float(without_sign(finite(f32::from_le_bytes(cursor.array()?), f32::is_finite)?)),
        Kind::Double => Value::Double(without_sign(finite(f64::from_le_bytes(cursor.array()?), f64::is_finite)?)),
        Kind::String => Value::Text(Cow::Borrowed(cursor.text()?)),
        Kind::Bytes => Value::Bytes(Cow::Borrowed(cursor.bytes()?)),
        Kind::Fixed { size } => Value::Bytes(Cow::Borrowed(cursor.take(*size)?)),
        Kind::Enum { symbols } => {
            let symbol = symbols.get(cursor.index()?).ok_or("an enum has no such symbol")?;
            Value::Text(Cow::Owned(symbol.clone()))
        }
        Kind::Uuid { form } => Value::Text(uuid(*form, cursor)?),
        Kind::Decimal { precision, scale, form } => {
            let bytes = match form {
                DecimalForm::Bytes => cursor.bytes()?,
                DecimalForm::Fixed(size) => cursor.take(*size)?,
            };
            let text = from_unscaled(bytes, *precision, *scale).ok_or("a decimal has too many digits")?;
            Value::Text(Cow::Owned(text))
        }
        Kind::BigDecimal => Value::Text(Cow::Owned(big_decimal(cursor.bytes()?)?)),
        Kind::Json(_) => return Err("nested values are read by their shape"),
        // Long, and all the times that are one.
        _ => Value::Integer(within(kind, cursor.long()?)?),
    };
    Ok(())
}

fn within(kind: &Kind, number: i64) -> Result<i64, Broken> {
    if in_range(kind, number) { Ok(number) } else { Err("a date or time is out of range") }
}

fn finite<T: Copy>(number: T, is_finite: impl Fn(T) -> bool) -> Result<T, Broken> {
    if is_finite(number) { Ok(number) } else { Err("a number is not finite") }
}

fn uuid<'a>(form: UuidForm, cursor: &mut Cursor<'a>) -> Result<Cow<'a, str>, Broken> {
    Ok(match form {
        UuidForm::Fixed => Cow::Owned(uuid::Uuid::from_bytes(cursor.array()?).hyphenated().to_string()),
        UuidForm::Text => {
            let text = cursor.text()?;
            let uuid = uuid::Uuid::try_parse(text).map_err(|_| "a string is no UUID")?;
            let mut shown = [0; 36];
            let shown = uuid.hyphenated().encode_lower(&mut shown);
            if *shown == *text { Cow::Borrowed(text) } else { Cow::Owned(shown.to_owned()) }
        }
    })
}

fn big_decimal(bytes: &[u8]) -> Result<String, Broken> {
    let mut inner = Cursor(bytes);
    let number = inner.bytes()?;
    let scale = inner.long()?;
    if !inner.0.is_empty() {
        return Err("a decimal is longer than it says");
    }
    big_from_avro(number, scale).ok_or("a decimal has too many digits")
}
