//! apache-avro as the oracle: over every type and logical type our bytes are its bytes, and our resolution its resolution.
//!
//! Every case is a seed; a failure prints it.

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use proptest::prelude::*;
use record::{DatumFault, Entity, Record, SchemaId};
use serde_json::Value as Json;

use crate::generate::{Dice, Schemas, value};
use crate::house::entity;

pub(crate) fn encode(schema: &Schema, value: &Avro) -> Vec<u8> {
    GenericDatumWriter::builder(schema).build().unwrap().write_value_to_vec(value.clone()).unwrap()
}

fn decode(schema: &Schema, mut datum: &[u8]) -> Avro {
    let value = GenericDatumReader::builder(schema).build().unwrap().read_value(&mut datum).unwrap();
    assert!(datum.is_empty(), "our datum is longer than its schema");
    value
}

fn written(entity: &Entity, record: &Record<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    entity.write_avro(record, &mut out);
    out
}

pub(crate) fn shown(entity: &Entity, record: &Record<'_>) -> String {
    let mut out = String::new();
    entity.write_json(record, &mut out);
    out
}

/// So many cases, or as many as `PROPTEST_CASES` asks for.
pub(crate) fn cases(count: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|asked| asked.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(count),
        failure_persistence: None,
        max_shrink_iters: 0,
        ..ProptestConfig::default()
    }
}

/// One schema, many values: compiling costs more than the rest.
fn each_value(seed: u64, schema: &Json, check: impl Fn(&Entity, &Schema, Avro)) {
    let text = schema.to_string();
    let (entity, avro) = (entity(&[&text]), Schema::parse_str(&text).unwrap());
    let mut dice = Dice::new(seed ^ 0xA5A5);
    for _ in 0..20 {
        let value = value(&avro, &mut dice);
        check(&entity, &avro, value);
    }
}

fn both_ways(entity: &Entity, avro: &Schema, value: Avro) {
    let theirs = encode(avro, &value);
    let record = entity.read_avro(entity.newest_id(), &theirs).unwrap_or_else(|fault| panic!("{fault}: {value:?}"));
    same(decode(avro, &written(entity, &record)), value);
}

/// Field by field, so that a failure shows one field and not fifty.
fn same(ours: Avro, theirs: Avro) {
    let (Avro::Record(ours), Avro::Record(theirs)) = (ours, theirs) else { panic!("an entity is a record") };
    assert_eq!(ours.len(), theirs.len());
    for (our, their) in ours.iter().zip(&theirs) {
        assert_eq!(our, their, "our bytes mean another value");
    }
}

fn through_json(entity: &Entity, avro: &Schema, value: Avro) {
    let theirs = encode(avro, &value);
    let record = entity.read_avro(entity.newest_id(), &theirs).unwrap();
    let text = shown(entity, &record);
    serde_json::from_str::<Json>(&text).unwrap_or_else(|error| panic!("no JSON: {error}: {text}"));
    let stored = entity.parse_stored(entity.newest_id(), &text).unwrap_or_else(|fault| panic!("{fault}: {text}"));
    assert_eq!(stored, record, "parse_stored(write_json(r)) is not r: {text}");
    let parsed = entity.parse_json(text.as_bytes()).unwrap_or_else(|faults| panic!("{faults:?}: {text}"));
    assert_eq!(parsed.record, record, "parse_json(write_json(r)) is not r: {text}");
    assert_eq!(shown(entity, &parsed.record), text);
    // As a merge patch takes it: a tree of what is there, written out again.
    let tree: Json = serde_json::from_str(&text).unwrap();
    let tree = tree.to_string();
    let merged = entity.parse_json(tree.as_bytes()).unwrap_or_else(|faults| panic!("{faults:?}: {tree}"));
    assert_eq!(shown(entity, &merged.record), text, "an empty merge patch changes it");
    assert_eq!(written(entity, &parsed.record), written(entity, &record));
    let assembled = entity.assemble(record.clone().into_values()).unwrap();
    assert_eq!(assembled, record, "a record does not assemble from its own values");
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn an_entity_of_every_type_travels_both_ways(seed: u64) {
        let schema = Schemas::new(seed).everything();
        each_value(seed, &schema, both_ways);
        each_value(seed, &schema, through_json);
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn any_entity_travels_both_ways(seed: u64) {
        let schema = Schemas::new(seed).some();
        each_value(seed, &schema, both_ways);
        each_value(seed, &schema, through_json);
    }

    #[test]
    fn an_older_datum_resolves_as_apache_avro_resolves_it(seed: u64) {
        let mut schemas = Schemas::new(seed);
        let old = schemas.some();
        let new = schemas.evolve(&old);
        let newest = schemas.evolve(&new);
        schemas.dice.pad_decimals = true;
        let entity = entity(&[&old.to_string(), &new.to_string(), &newest.to_string()]);
        let reader = Schema::parse_str(&newest.to_string()).unwrap();
        let texts = [&old, &new, &newest].map(ToString::to_string);
        for (id, writer) in [(1, &old), (2, &new), (3, &newest)] {
            let then = crate::house::entity(&texts[..id as usize].iter().map(String::as_str).collect::<Vec<_>>());
            let writer = Schema::parse_str(&writer.to_string()).unwrap();
            for _ in 0..10 {
                let value = value(&writer, &mut schemas.dice);
                let datum = encode(&writer, &value);
                let record = entity.read_avro(SchemaId::new(id), &datum).unwrap();
                let expected = value.resolve(&reader).unwrap();
                same(decode(&reader, &written(&entity, &record)), expected);
                // What that version left in the cache means the same.
                let text = shown(&then, &then.read_avro(then.newest_id(), &datum).unwrap());
                prop_assert_eq!(entity.parse_stored(then.newest_id(), &text).unwrap(), record, "{}", text);
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_never_allocate_beyond_their_size(seed: u64, noise: Vec<u8>) {
        let mut schemas = Schemas::new(seed);
        let schema = schemas.some().to_string();
        let (entity, avro) = (entity(&[&schema]), Schema::parse_str(&schema).unwrap());
        let mut mangled = encode(&avro, &value(&avro, &mut schemas.dice));
        for _ in 0..3 {
            let length = mangled.len() as u64;
            if length > 0 {
                mangled[schemas.dice.below(length) as usize] = schemas.dice.next() as u8;
            }
        }
        for datum in [noise, mangled] {
            let mut outcome = Ok(0);
            let cost = allocation_counter::measure(|| {
                outcome = entity.read_avro(entity.newest_id(), &datum).map(|record| record.into_values().len());
            });
            // A byte becomes a node of a tree at most, on its way to text, with growth's doubling.
            let bound = 4096 + 1024 * datum.len() + 256 * entity.fields().len();
            prop_assert!(cost.bytes_max <= bound as u64, "{} bytes allocated for {}", cost.bytes_max, datum.len());
            prop_assert_ne!(outcome, Err(DatumFault::UnknownSchema(entity.newest_id())));
        }
    }
}

#[test]
fn hostile_lengths_and_counts_are_refused_cheaply() {
    let huge = [0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];
    for of in [r#""string""#, r#""bytes""#, r#"{"type":"array","items":"int"}"#, r#"{"type":"map","values":"long"}"#] {
        let entity = entity(&[&crate::house::schema(&[&format!(r#""name":"f","type":{of}"#)])]);
        let cost =
            allocation_counter::measure(|| assert!(entity.read_avro(entity.newest_id(), &huge).is_err(), "{of}"));
        assert!(cost.bytes_total < 4096, "{of}: {cost:?}");
    }
}

#[test]
fn a_schema_id_of_nobody_is_told_apart_from_a_broken_datum() {
    let entity = crate::house::users();
    assert_eq!(entity.read_avro(SchemaId::new(99), b""), Err(DatumFault::UnknownSchema(SchemaId::new(99))));
    let Err(DatumFault::Malformed { field, .. }) = entity.read_avro(SchemaId::new(1), b"\x02a") else { panic!() };
    assert_eq!(field, "age");
    let Err(DatumFault::Malformed { what, .. }) = entity.read_avro(SchemaId::new(1), b"\x02a\x02\x02b\x00") else {
        panic!()
    };
    assert_eq!(what, "the datum is longer than its schema");
}
