//! What comes back from the cache and from columns.

use record::{Entity, SchemaId, Value};

use crate::house::{entity, schema, users};

/// Written under version 1.
fn stored(entity: &Entity, text: &str) -> Result<String, String> {
    let record = entity.parse_stored(SchemaId::new(1), text).map_err(|fault| fault.to_string())?;
    let mut out = String::new();
    entity.write_json(&record, &mut out);
    Ok(out)
}

#[test]
fn a_record_of_version_1_reads_in_the_newest_shape() {
    assert_eq!(
        stored(&users(), r#"{"name":"a","age":1,"occupation":"b"}"#).unwrap(),
        r#"{"name":"a","age":1,"occupation":"b","first_name":null,"last_name":null}"#
    );
}

#[test]
fn what_a_schema_has_dropped_and_what_bounds_refuse_now_still_reads() {
    assert_eq!(
        stored(&users(), r#"{"gone":[{}],"id":7,"age":1000,"name":"\u0000"}"#).unwrap(),
        r#"{"name":"\u0000","age":1000,"occupation":null,"first_name":null,"last_name":null}"#
    );
}

#[test]
fn a_float_that_has_become_a_double_is_the_number_that_topic_and_table_make_of_it() {
    let of = |of: &str| schema(&[&format!(r#""name":"x","type":{of}"#)]);
    let thing = entity(&[&of(r#""float""#), &of(r#"["null","float"],"default":null"#), &of(r#"["null","double"]"#)]);
    for id in [1, 2] {
        let record = thing.parse_stored(SchemaId::new(id), r#"{"x":0.1}"#).unwrap();
        assert_eq!(record.values(), [Value::Double(f64::from(0.1_f32))]);
    }
    // The newest, and one that is newer still.
    for id in [3, 4] {
        let record = thing.parse_stored(SchemaId::new(id), r#"{"x":0.1}"#).unwrap();
        assert_eq!(record.values(), [Value::Double(0.1)]);
    }
}

#[test]
fn damage_is_told() {
    for text in ["", "{", "[]", r#"{"name":1,"age":1}"#, r#"{"age":1}"#, r#"{"name":"a","age":1}{}"#] {
        assert!(stored(&users(), text).is_err(), "{text}");
    }
}

#[test]
fn nested_values_grow_as_well() {
    let inner = |more: &str| {
        schema(&[&format!(
            r#""name":"f","type":{{"type":"record","name":"F","fields":[{{"name":"a","type":"int"}}{more}]}}"#
        )])
    };
    let thing =
        entity(&[&inner(r#",{"name":"b","type":"int"}"#), &inner(r#",{"name":"c","type":"string","default":"x"}"#)]);
    assert_eq!(stored(&thing, r#"{"f":{"a":1,"b":2}}"#).unwrap(), r#"{"f":{"a":1,"c":"x"}}"#);
}

#[test]
fn columns_assemble_to_a_record_or_say_which_does_not_fit() {
    let thing = entity(&[&schema(&[
        r#""name":"i","type":"int""#,
        r#""name":"d","type":["null",{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}]"#,
        r#""name":"e","type":{"type":"enum","name":"E","symbols":["A"]}"#,
        r#""name":"x","type":{"type":"fixed","name":"X","size":1}"#,
        r#""name":"j","type":{"type":"map","values":"int"}"#,
    ])]);
    let row = |i, d, e: &'static str, x: &'static [u8], j: &'static str| {
        vec![i, d, Value::Text(e.into()), Value::Bytes(x.into()), Value::Json(j.into())]
    };
    let good = row(Value::Integer(1), Value::Text("7".into()), "A", b"x", r#"{ "b": 2, "a": 1 }"#);
    let mut out = String::new();
    thing.write_json(&thing.assemble(good).unwrap(), &mut out);
    assert_eq!(out, r#"{"i":1,"d":"7.00","e":"A","x":"eA==","j":{"a":1,"b":2}}"#);

    let one = || Value::Integer(1);
    let bad = [
        (row(Value::Null, Value::Null, "A", b"x", "{}"), "i"),
        (row(Value::Integer(1 << 40), Value::Null, "A", b"x", "{}"), "i"),
        (row(Value::Text("1".into()), Value::Null, "A", b"x", "{}"), "i"),
        (row(one(), Value::Text("123.45".into()), "A", b"x", "{}"), "d"),
        (row(one(), Value::Null, "B", b"x", "{}"), "e"),
        (row(one(), Value::Null, "A", b"xx", "{}"), "x"),
        (row(one(), Value::Null, "A", b"x", "[]"), "j"),
        (row(one(), Value::Null, "A", b"x", "{"), "j"),
        (vec![one()], ""),
    ];
    for (values, field) in bad {
        assert_eq!(thing.assemble(values).unwrap_err().field, field);
    }
}

#[test]
#[should_panic(expected = "a record is written by its own entity only")]
fn a_record_is_not_written_as_another_entitys() {
    let thing = entity(&[&schema(&[r#""name":"i","type":"int""#])]);
    let other = users();
    let record = other.parse_stored(other.newest_id(), r#"{"name":"a","age":1}"#).unwrap();
    thing.write_json(&record, &mut String::new());
}
