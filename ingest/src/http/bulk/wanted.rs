//! What a line asks for: a record, as `POST` takes it, or that one is deleted.

use std::borrow::Cow;
use std::fmt;

use record::{Fault, FaultCode, RecordId};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The member that makes a line a deletion; no field of any record may be called so.
const DELETED: &str = "deleted";

/// The record that the line deletes; `None`: it holds a record, or what is to be told about it as one.
///
/// # Errors
/// Every fault of a deletion.
pub(super) fn deletion(line: &[u8]) -> Result<Option<RecordId>, Vec<Fault>> {
    // Nearly all lines hold a record, and are to be read once.
    if !line.windows(DELETED.len()).any(|bytes| bytes == DELETED.as_bytes()) {
        return Ok(None);
    }
    let Ok(members) = serde_json::from_slice::<Members>(line) else { return Ok(None) };
    if members.deleted.is_empty() { Ok(None) } else { members.deletion().map(Some) }
}

/// The members of an object, as far as they matter to a deletion.
#[derive(Debug, Default)]
struct Members {
    /// Whether each was `true`.
    deleted: Vec<bool>,
    ids: Vec<Option<String>>,
    others: bool,
}

/// Text or a whole number, as a record names its id.
fn id(value: &RawValue) -> Option<String> {
    let text = value.get();
    let number = || serde_json::from_str::<u64>(text).ok().map(|number| number.to_string());
    serde_json::from_str(text).ok().or_else(number)
}

impl Members {
    fn deletion(self) -> Result<RecordId, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut fault = |member: &str, code, detail: &str| {
            let pointer = if member.is_empty() { String::new() } else { format!("/{member}") };
            faults.push(Fault { pointer, code, detail: detail.to_owned() });
        };
        match self.deleted.as_slice() {
            [true] => {}
            [_] => fault(DELETED, FaultCode::Type, "expected true; for a record leave it out"),
            _ => fault(DELETED, FaultCode::Duplicate, "stands here twice; give it once"),
        }
        if self.others {
            fault("", FaultCode::Unknown, "a deletion has the members id and deleted alone; leave the others out");
        }
        let id = match <[_; 1]>::try_from(self.ids) {
            Ok([Some(text)]) => match RecordId::parse(&text) {
                Ok(id) => Some(id),
                Err(rule) => {
                    fault("id", FaultCode::Format, &rule.to_string());
                    None
                }
            },
            Ok([None]) => {
                fault("id", FaultCode::Type, "expected a string or a whole number");
                None
            }
            Err(ids) if ids.is_empty() => {
                fault("id", FaultCode::Missing, "is required; give it");
                None
            }
            Err(_) => {
                fault("id", FaultCode::Duplicate, "stands here twice; give it once");
                None
            }
        };
        id.filter(|_| faults.is_empty()).ok_or(faults)
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Members::default();
                while let Some(name) = map.next_key::<Cow<'de, str>>()? {
                    // Twice is enough to know.
                    match &*name {
                        DELETED if members.deleted.len() < 2 => {
                            members.deleted.push(map.next_value::<&RawValue>()?.get() == "true");
                        }
                        "id" if members.ids.len() < 2 => members.ids.push(id(map.next_value()?)),
                        name => {
                            members.others |= name != DELETED && name != "id";
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(line: &str) -> Result<Option<String>, Vec<(String, &'static str)>> {
        let faults =
            |faults: Vec<Fault>| faults.into_iter().map(|fault| (fault.pointer, fault.code.as_str())).collect();
        deletion(line.as_bytes()).map(|id| id.map(|id| id.to_string())).map_err(faults)
    }

    #[test]
    fn a_line_deletes_if_it_says_so_beside_the_id_and_nothing_else() {
        assert_eq!(told(r#"{"id":"a","deleted":true}"#), Ok(Some("a".to_owned())));
        assert_eq!(told(r#" { "deleted" : true , "id" : 17 } "#), Ok(Some("17".to_owned())));
        for record in [r#"{"id":"a","name":"deleted"}"#, r#"{"a":{"deleted":true}}"#, "deleted", "[\"deleted\"]", "{}"]
        {
            assert_eq!(told(record), Ok(None), "{record}");
        }
    }

    #[test]
    fn every_fault_of_a_deletion_is_told() {
        let fault = |line: &str| told(line).unwrap_err();
        let one = |pointer: &str, code| vec![(pointer.to_owned(), code)];
        assert_eq!(fault(r#"{"id":"a","deleted":false}"#), one("/deleted", "type"));
        assert_eq!(fault(r#"{"id":"a","deleted":"true"}"#), one("/deleted", "type"));
        assert_eq!(fault(r#"{"id":"a","deleted":true,"deleted":true,"deleted":true}"#), one("/deleted", "duplicate"));
        assert_eq!(fault(r#"{"deleted":true}"#), one("/id", "missing"));
        assert_eq!(fault(r#"{"id":"a","id":"b","deleted":true}"#), one("/id", "duplicate"));
        assert_eq!(fault(r#"{"id":"a b","deleted":true}"#), one("/id", "format"));
        assert_eq!(fault(r#"{"id":1.5,"deleted":true}"#), one("/id", "type"));
        let all = fault(r#"{"id":[],"deleted":1,"name":"Ada"}"#);
        assert_eq!(all, [one("/deleted", "type"), one("", "unknown"), one("/id", "type")].concat());
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in prop::collection::vec(any::<u8>(), 0..60), id in ".{0,9}") {
            drop(deletion(&line));
            drop(deletion(format!("{{\"id\":{id},\"deleted\":true}}").as_bytes()));
        }
    }
}
