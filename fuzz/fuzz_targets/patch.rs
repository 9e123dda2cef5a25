//! Merge patches over a stored record, which the same input may bring along: what comes out is a record or a refusal with 4xx. The
//! same patch again changes nothing more, a patch without members changes nothing, and members that it does not name stay as they are.
#![no_main]

use std::borrow::Cow;
use std::collections::BTreeMap;

use ingest::http::fuzzing::{patched, record};
use libfuzzer_sys::{Corpus, fuzz_target};
use serde_json::value::RawValue;

/// Stands between record and patch; never in JSON.
const BETWEEN: u8 = 0xff;

fuzz_target!(init: fuzz::seeds::plant("patch", fuzz::seeds::patches), |data: &[u8]| -> Corpus {
    let Some((chosen, rest)) = data.split_first() else { return Corpus::Reject };
    let entity = fuzz::entity(*chosen);
    let (body, patch) = match rest.iter().position(|byte| *byte == BETWEEN) {
        Some(at) => (Cow::Borrowed(&rest[..at]), &rest[at + 1..]),
        None => (Cow::Owned(entity.example().to_string().into_bytes()), rest),
    };
    let Ok(stored) = record(entity, &body) else { return Corpus::Reject };
    assert_eq!(patched(entity, &stored, b"{}"), Ok(stored.clone()), "nothing was to change");
    match patched(entity, &stored, patch) {
        Ok(once) => {
            assert_eq!(patched(entity, &once, patch), Ok(once.clone()), "the same patch again");
            let named = members(std::str::from_utf8(patch).expect("JSON is UTF-8"));
            let (before, after) = (members(&stored), members(&once));
            for (name, value) in before.iter().filter(|(name, _)| !named.contains_key(*name)) {
                assert_eq!(after.get(name).map(|value| value.get()), Some(value.get()), "{name} is not named");
            }
        }
        Err(status) => fuzz::refused(status),
    }
    Corpus::Keep
});

fn members(text: &str) -> BTreeMap<String, &RawValue> {
    serde_json::from_str(text).expect("an object")
}
