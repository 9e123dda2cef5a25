//! How a value shows as JSON.
//!
//! One pass into the caller's text. Must never fail: what cannot be shown is never in a record.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::time;
use crate::field::Kind;
use crate::value::Value;

/// Appends the value of a field of this kind.
pub(crate) fn show(kind: &Kind, value: &Value<'_>, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Boolean(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Integer(number) => match time::clock(kind) {
            Some(clock) => {
                out.push('"');
                time::show(clock, *number, out);
                out.push('"');
            }
            None => put(out, format_args!("{number}")),
        },
        Value::Float(number) => show_single(*number, out),
        // Debug is the shortest notation that reads back the same, with an exponent where that is short: valid JSON.
        Value::Double(number) => put(out, format_args!("{number:?}")),
        Value::Text(text) => show_text(text, out),
        Value::Bytes(bytes) => {
            out.push('"');
            STANDARD.encode_string(bytes, out);
            out.push('"');
        }
        Value::Json(json) => out.push_str(json),
    }
}

/// The shortest notation, unless a reader that goes through a double would come out beside it.
#[expect(clippy::cast_possible_truncation, reason = "that is what the reader does")]
fn show_single(number: f32, out: &mut String) {
    let start = out.len();
    put(out, format_args!("{number:?}"));
    let read = out.get(start..).and_then(|text| text.parse::<f64>().ok());
    if read.is_none_or(|read| read as f32 != number) {
        out.truncate(start);
        put(out, format_args!("{:?}", f64::from(number)));
    }
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a String cannot fail.
    out.write_fmt(text).unwrap_or_default();
}

/// Appends a JSON string: what needs no escape goes over in whole stretches.
pub(crate) fn show_text(text: &str, out: &mut String) {
    out.reserve(text.len() + 2);
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|b| b < 0x20 || b == b'"' || b == b'\\') {
        let (clean, tail) = rest.split_at(at);
        out.push_str(clean);
        let mut chars = tail.chars();
        if let Some(c) = chars.next() {
            escape(c, out);
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

fn escape(c: char, out: &mut String) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        _ => put(out, format_args!("\\u{:04x}", u32::from(c))),
    }
}
