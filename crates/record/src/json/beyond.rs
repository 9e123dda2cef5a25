//! A number beyond every double, such as `1e400`: JSON, but the parser stops at it. Off the hot path, its place is found all
//! the same, so that the fault names a field and not a column of text.

use serde_json::Value as Json;

use super::{Faults, Pointer};
use crate::fault::{Fault, FaultCode};
use crate::scalar::Refusal;

/// Stands for such a number; nobody may send it anyway.
const MARK: &str = "\u{0}";

/// The faults of a text at which the parser stopped; `None` when a number is not what it stopped at.
pub(super) fn faults(text: &str) -> Option<Vec<Fault>> {
    let tree: Json = serde_json::from_str(&marked(text)?).ok()?;
    let mut faults = Faults::default();
    find(&tree, &mut Pointer::default(), &mut faults);
    (!faults.is_empty()).then(|| faults.into_vec())
}

/// The text with a mark for every number beyond a double; `None` when there is none.
fn marked(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut found) = (text, false);
    while let Some(next) = rest.chars().next() {
        let length = match next {
            '"' => string(rest),
            '-' | '0'..='9' => {
                rest.find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E')).unwrap_or(rest.len())
            }
            other => other.len_utf8(),
        };
        let (token, behind) = rest.split_at(length);
        if token.parse().is_ok_and(f64::is_infinite) {
            out.push_str("\"\\u0000\"");
            found = true;
        } else {
            out.push_str(token);
        }
        rest = behind;
    }
    found.then_some(out)
}

/// Bytes up to the end of the string with which the text begins.
fn string(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 2)
}

fn find(tree: &Json, pointer: &mut Pointer, faults: &mut Faults) {
    match tree {
        Json::String(text) if text == MARK => {
            faults.push(pointer.to_string(), Refusal::new(FaultCode::Range, "at most 1.7976931348623157e308"));
        }
        Json::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let mark = pointer.enter_index(index);
                find(item, pointer, faults);
                pointer.leave(mark);
            }
        }
        Json::Object(members) => {
            for (name, member) in members {
                let mark = pointer.enter(name);
                find(member, pointer, faults);
                pointer.leave(mark);
            }
        }
        _ => {}
    }
}
