//! What each target begins with, made from the schemas by the target's own program: a schema that changes changes them.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use record::{Entity, encode_frame};
use serde_json::{Map, Value as Json, json};

use crate::message::Message;
use crate::{edges, entities, versions, words};

/// Names the folder that a target's program puts its seeds and its dictionary into when it starts.
const FOLDER: &str = "FUZZ_SEEDS";
/// Bodies of bulks by what is done to them; what their bytes mean says the target `lines`.
pub const CODINGS: [&str; 3] = ["identity", "gzip", "zstd"];
/// Levels below a field: the last is one too many.
const LEVELS: [usize; 4] = [3, 28, 30, 31];

/// Writes the seeds and the dictionary of a target, if anybody asks for them.
///
/// # Panics
/// They cannot be written.
pub fn plant(target: &str, seeds: impl FnOnce() -> Vec<Vec<u8>>) {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let own = folder.join(target);
    fs::create_dir_all(&own).expect("the folder of the seeds");
    fs::write(folder.join(format!("{target}.dict")), words::of(target)).expect("the dictionary");
    for (number, seed) in seeds().into_iter().enumerate() {
        fs::write(own.join(format!("{number:04}")), seed).expect("a seed");
    }
}

/// For `body`: records, and what is none.
#[must_use]
pub fn bodies() -> Vec<Vec<u8>> {
    let of = |(chosen, entity): (u8, &_)| {
        let bodies = records(entity).into_iter().map(|record| record.to_string()).chain(broken(entity));
        bodies.map(|body| joined(&[&[chosen], body.as_bytes()])).collect::<Vec<_>>()
    };
    entities().flat_map(|(chosen, entity)| of((chosen, entity))).collect()
}

/// For `frame`: an event of every record in every version, and for each version those that are cut off, go on too long, have a
/// schema that nobody knows, or delete.
///
/// # Panics
/// A version has no record that it accepts.
#[must_use]
pub fn messages() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let version = Some(&b"1764000000000000"[..]);
    for (chosen, entity) in entities() {
        let mut put = |message: Message<'_>| seeds.push(joined(&[&[chosen], &message.write()]));
        for (id, then) in versions(entity) {
            let datums = datums(&then);
            assert!(!datums.is_empty(), "{} {id:?}: no record is accepted", entity.name());
            for datum in &datums {
                let value = framed(id, datum);
                put(Message {
                    key: Some(b"a"),
                    version,
                    value: Some(&value),
                    op: Some(b"upsert"),
                    origin: Some(b"write"),
                });
            }
            let whole = framed(id, &datums[0]);
            let cut = (0..whole.len()).step_by(1 + whole.len() / 16).map(|length| whole[..length].to_vec());
            let others =
                [joined(&[&whole, b"\0"]), joined(&[&[0, 0xff], &whole[2..]]), joined(&[b"\x01", &whole[1..]])];
            for value in cut.chain(others) {
                put(Message { key: Some(b"b"), version, value: Some(&value), ..Message::default() });
            }
            put(Message { key: Some(b"c"), version, value: Some(&whole), op: Some(b"delete"), origin: Some(b"relay") });
        }
        for (version, op, origin) in [
            ("1764000000000000", "delete", "write"),
            ("1764000000000015", "delete", "reassert"),
            ("1764000000000015", "upsert", "redrive"),
            ("0", "delete", "relay"),
            ("9007199254740992", "delete", "later"),
            ("-1", "delete", ""),
        ] {
            let (version, op, origin) = (Some(version.as_bytes()), Some(op.as_bytes()), Some(origin.as_bytes()));
            put(Message { key: Some(b"1.~_-A"), version, op, origin, value: None });
        }
        put(Message { version, ..Message::default() });
        put(Message { key: Some(b".."), version, ..Message::default() });
    }
    seeds
}

/// For `patch`: patches of every field over the example that the target has, and over a record that each brings along.
#[must_use]
pub fn patches() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (chosen, entity) in entities() {
        let stored = records(entity).into_iter().filter(|record| accepts(entity, record)).collect::<Vec<_>>();
        let all = patches_of(entity).into_iter().map(|patch| patch.to_string()).chain(broken(entity));
        for (number, patch) in all.enumerate() {
            seeds.push(joined(&[&[chosen], patch.as_bytes()]));
            let stored = stored[number % stored.len()].to_string();
            seeds.push(joined(&[&[chosen], stored.as_bytes(), b"\xff", patch.as_bytes()]));
        }
        seeds.push(joined(&[&[chosen], b"{\"\xed\xa0\x80\":\"\xc3\"}"]));
    }
    seeds
}

/// For `lines`: a bulk of records, deletions and faults in each coding, packed by the target or before, whole, cut off and with
/// rubbish behind it, in chunks and with bounds of several sizes.
#[must_use]
pub fn lines() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (chosen, entity) in entities() {
        let records = records(entity).into_iter().take(2).map(|record| record.to_string());
        let deletions = [
            r#"{"id":"a","deleted":true}"#,
            r#"{"id":17,"deleted":true}"#,
            r#"{"id":"a b","deleted":1}"#,
            "",
            "\r",
            "{",
        ];
        let lines: Vec<_> = records.chain(deletions.map(str::to_owned)).collect();
        let plain = lines.join("\n").into_bytes();
        for (flags, body) in (0..32).filter(|flags| flags & 3 < 3).map(|flags| (flags, plain.clone())).chain([
            (1, packed("gzip", &plain)),
            (2, packed("zstd", &plain)),
            (1, [packed("gzip", &plain), packed("gzip", b"\n{}")].concat()),
            (2, [packed("zstd", &plain), packed("zstd", b"\n{}")].concat()),
        ]) {
            for [chunk, line_most, total_most, hurt] in
                [[255, 255, 255, 60], [0, 255, 255, 5], [6, 9, 255, 0], [255, 255, 1, 9]]
            {
                seeds.push(joined(&[&[chosen, flags, chunk, line_most, total_most, hurt], &body]));
            }
        }
    }
    seeds
}

/// The bytes as a body in this coding has them.
///
/// # Panics
/// Memory refuses to be written.
#[must_use]
pub fn packed(coding: &str, plain: &[u8]) -> Vec<u8> {
    if coding == "zstd" {
        return zstd::encode_all(plain, 1).expect("it is in memory");
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).expect("it is in memory");
    encoder.finish().expect("it is in memory")
}

/// The example first, then one for every edge of every field, and one without what may be missing.
fn records(entity: &Entity) -> Vec<Json> {
    let example = example(entity);
    let mut records = vec![Json::Object(example.clone())];
    for field in entity.fields() {
        records.extend(edges::of_field(field).into_iter().map(|value| edges::with(&example, &field.name, value)));
    }
    let needed = |name: &str| entity.fields().iter().any(|field| field.name == name && field.default.is_none());
    records.push(
        example
            .iter()
            .filter(|(name, _)| needed(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect::<Map<_, _>>()
            .into(),
    );
    if example.contains_key("root") {
        let chain = |levels| (0..levels).fold(json!({"value": null}), |next, _| json!({"value": null, "next": next}));
        records.extend(LEVELS.map(|levels| edges::with(&example, "root", chain(levels))));
    }
    records
}

fn example(entity: &Entity) -> Map<String, Json> {
    match entity.example() {
        Json::Object(example) => example,
        other => panic!("an example is an object: {other}"),
    }
}

fn accepts(entity: &Entity, record: &Json) -> bool {
    entity.parse_json(record.to_string().as_bytes()).is_ok()
}

fn datums(entity: &Entity) -> Vec<Vec<u8>> {
    let texts: Vec<_> = records(entity).into_iter().map(|record| record.to_string()).collect();
    let accepted = texts.iter().filter_map(|text| entity.parse_json(text.as_bytes()).ok());
    let datum = |input: record::Input<'_>| {
        let mut datum = Vec::new();
        entity.write_avro(&input.record, &mut datum);
        datum
    };
    accepted.map(datum).collect()
}

fn framed(id: record::SchemaId, datum: &[u8]) -> Vec<u8> {
    let mut value = Vec::new();
    encode_frame(id, datum, &mut value);
    value
}

/// Every field to every edge, to nothing and to what it is not; members of what is nested to nothing and to something.
fn patches_of(entity: &Entity) -> Vec<Json> {
    let example = example(entity);
    let mut patches = vec![json!({}), json!([]), Json::Null, json!({"id": "a", "nobodys": {"a": {"b": null}}})];
    for field in entity.fields() {
        let name = field.name.as_str();
        let wrong = [Json::Null, json!(true), json!(-1), json!("\u{0}"), json!([[]]), json!({"a": {"b": null}})];
        patches.extend(edges::of_field(field).into_iter().chain(wrong).map(|value| json!({ name: value })));
        if let Some(Json::Object(inner)) = example.get(name) {
            for (member, value) in inner {
                patches.extend([json!({name: {member: null}}), json!({name: {member: value, "further": value}})]);
                patches.push(json!({name: {member: u64::MAX}}));
            }
        }
    }
    patches
}

/// What no tree of values can say: members twice, escaped names, numbers beyond every type, too much depth, no JSON at all.
fn broken(entity: &Entity) -> Vec<String> {
    let deep = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    let mut texts: Vec<_> =
        ["", "{", "{}{}", "\u{feff}{}", " \t\r\n{ } ", "{\"a\":01}", "{\"\\u0000\":1}", "{\"a\":\"\\ud834\"}"]
            .map(str::to_owned)
            .into();
    texts.extend([deep(100), deep(127), deep(128), deep(1000), format!("{{\"a\":{}", "[".repeat(2000))]);
    for field in entity.fields() {
        let name = &field.name;
        texts.push(format!("{{\"{name}\":1,\"{name}\":null,\"{name}\":\"a\"}}"));
        texts.push(format!("{{\"\\u{:04x}{}\":null}}", u32::from(name.as_bytes()[0]), &name[1..]));
        for number in [
            "1e400",
            "-1e-400",
            "1.0e0",
            "9223372036854775808",
            "18446744073709551616",
            "-9223372036854775809",
            "0.1e1",
        ] {
            texts.push(format!("{{\"{name}\":{number}}}"));
        }
    }
    texts
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}
