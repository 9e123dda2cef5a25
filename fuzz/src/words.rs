//! A dictionary for each target: what a mutation would hardly ever come upon by itself.

use record::Kind;
use serde_json::Value as Json;

use crate::{edges, entities};

/// Longer ones are in the seeds.
const LONGEST: usize = 40;
const JSON: [&str; 12] = [
    "null",
    "true",
    "false",
    "1e400",
    "1e-400",
    "-0",
    "9223372036854775808",
    "18446744073709551616",
    "\\u0000",
    "\\ud834\\udd1e",
    "\"deleted\":true",
    "\"id\":",
];
const OF_MESSAGES: [&str; 8] =
    ["upsert", "delete", "write", "relay", "reassert", "redrive", "1764000000000000", "9007199254740991"];
const OF_HEADS: [&str; 24] = [
    "W/\"",
    "\"1764000000000000\"",
    "\"9007199254740991\"",
    "9007199254740992",
    "*",
    "state=",
    "cached",
    "logged",
    "persisted",
    "wait=",
    "Bearer ",
    "application/json",
    "; charset=utf-8",
    "gzip",
    "zstd",
    "identity",
    "x-gzip",
    "ids=",
    "&ids=",
    "%2C",
    "%00",
    "00-",
    "q=0",
    ", ",
];

/// The words of a target, each in libFuzzer's notation on a line of its own.
#[must_use]
pub fn of(target: &str) -> String {
    let mut words: Vec<Vec<u8>> = match target {
        "headers" => bytes(&OF_HEADS),
        "frame" => bytes(&OF_MESSAGES),
        _ => bytes(&JSON),
    };
    for (_, entity) in entities().filter(|_| target != "headers") {
        if target == "frame" {
            words.extend(entity.versions().map(|(_, id)| [&[0], &id.get().to_be_bytes()[..]].concat()));
            continue;
        }
        for field in entity.fields() {
            words.push(format!("\"{}\":", field.name).into());
            let values = if matches!(field.kind, Kind::Json(_)) { Vec::new() } else { edges::of_field(field) };
            words.extend(
                values.iter().filter(|value| !matches!(value, Json::Null)).map(|value| value.to_string().into()),
            );
        }
    }
    words.retain(|word| word.len() <= LONGEST);
    words.sort();
    words.dedup();
    words.iter().map(|word| line(word)).collect()
}

fn bytes(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

fn line(word: &[u8]) -> String {
    let escaped: String = word.iter().map(|byte| format!("\\x{byte:02X}")).collect();
    format!("\"{escaped}\"\n")
}
