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
            None => out.push_str(itoa::Buffer::new().format(*number)),
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
    out.push('"');
    let mut rest = text;
    while let Some(at) = first_to_escape(rest.as_bytes()) {
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

/// Where the first byte stands that no JSON string holds as it is: most texts have none, so eight are looked at together.
fn first_to_escape(bytes: &[u8]) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        if let Some(within) = first_within(*word) {
            return Some(at * 8 + within);
        }
    }
    let mut last = [b' '; 8];
    last.get_mut(..rest.len())?.copy_from_slice(rest);
    first_within(last).map(|within| words.len() * 8 + within)
}

/// Each of the three sets the high bit of a byte that it looks for, and maybe of bytes behind that one, never of one before it.
fn first_within(word: [u8; 8]) -> Option<usize> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * EACH;
    let word = u64::from_le_bytes(word);
    let below = |word: u64, least: u8| word.wrapping_sub(EACH * u64::from(least)) & !word;
    let equal = |byte: u8| below(word ^ (EACH * u64::from(byte)), 1);
    let found = (below(word, 0x20) | equal(b'"') | equal(b'\\')) & HIGH;
    (found != 0).then(|| (found.trailing_zeros() / 8) as usize)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_text_shows_as_one_character_after_another(text in r#"([ -~]|["\\\x00-\x1f\x7f-\u{ff}€𝄞]){0,40}"#) {
            let mut expected = String::from("\"");
            for c in text.chars() {
                if c < ' ' || c == '"' || c == '\\' { escape(c, &mut expected) } else { expected.push(c) }
            }
            expected.push('"');
            let mut shown = String::new();
            show_text(&text, &mut shown);
            prop_assert_eq!(&shown, &expected);
            prop_assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
        }
    }
}
