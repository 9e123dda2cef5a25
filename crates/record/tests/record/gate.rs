//! How a schema may grow: what passes, and every rule with the exact text of its refusal.

use crate::house::{compile, schema};

const INT: &str = r#""name":"a","type":"int""#;

/// A field `a` of this type, with more attributes behind it.
fn a(of: &str) -> String {
    schema(&[&format!(r#""name":"a","type":{of}"#)])
}

/// A field `r` that is a record of these members.
fn record(members: &str) -> String {
    schema(&[&format!(r#""name":"r","type":{{"type":"record","name":"R","fields":[{members}]}}"#)])
}

fn decimal(precision: u32, scale: u32) -> String {
    a(&format!(r#"{{"type":"bytes","logicalType":"decimal","precision":{precision},"scale":{scale}}}"#))
}

fn symbols(list: &str) -> String {
    a(&format!(r#"{{"type":"enum","name":"E","symbols":[{list}]}}"#))
}

#[test]
fn growth_passes() {
    for (older, newer) in [
        (schema(&[INT]), schema(&[INT, r#""name":"b","type":"int","default":1"#])),
        (schema(&[INT]), schema(&[INT, r#""name":"b","type":["null","int"],"default":null"#])),
        (schema(&[INT]), schema(&[INT, r#""name":"b","type":["int","null"],"default":0"#])),
        (schema(&[INT, r#""name":"b","type":"int""#]), schema(&[INT])),
        (a(r#""int""#), a(r#""long""#)),
        (a(r#""int""#), a(r#""double""#)),
        (a(r#""float""#), a(r#""double""#)),
        (a(r#""int""#), a(r#"["null","int"],"default":null"#)),
        (a(r#""int""#), a(r#"["null","long"],"default":null"#)),
        (a(r#"["null","int"]"#), a(r#"["int","null"]"#)),
        (a(r#"["null","int","string"]"#), a(r#"["string","null","boolean","int"]"#)),
        (a(r#"{"type":"array","items":"int"}"#), a(r#"{"type":"array","items":"double"}"#)),
        (a(r#""string","maxLength":5"#), a(r#""string""#)),
        (a(r#""int","maximum":9"#), a(r#""long","maximum":10"#)),
        (a(r#""int","maximum":9"#), a(r#""double","maximum":9"#)),
        (symbols(r#""A","B""#), symbols(r#""C","B","A""#)),
    ] {
        assert!(compile(&[&older, &newer]).is_ok(), "{:?}\n{older}\n{newer}", compile(&[&older, &newer]));
    }
}

/// File, field, rule and text, as whoever runs `persister migrate` reads them.
#[test]
fn every_rule_says_file_field_and_what_is_wrong() {
    let kept = "(against v1); published records must stay readable: add a field instead";
    for (older, newer, refusal) in [
        (
            schema(&[INT]),
            schema(&[INT, r#""name":"b","type":"int""#]),
            "b: default: a new field needs a default, for the records that do not have it",
        ),
        (
            schema(&[INT]),
            schema(&[INT, r#""name":"b","type":["null","int"]"#]),
            "b: default: a new field needs a default, for the records that do not have it",
        ),
        (
            record(r#"{"name":"a","type":"int"}"#),
            record(r#"{"name":"a","type":"int"},{"name":"b","type":"int"}"#),
            "r.b: default: a new field needs a default, for the records that do not have it",
        ),
        (
            schema(&[INT]),
            schema(&[r#""name":"A","type":"int","default":1"#]),
            "A: rename: an older field differs in case only, which columns do not",
        ),
        (schema(&[INT]), schema(&[INT]).replace("Thing", "Other"), ": rename: the record has another name"),
        (a(r#""int""#), a(r#""string""#), "a: type: the type has changed"),
        (a(r#""long""#), a(r#""int""#), "a: type: the type has changed"),
        (a(r#""double""#), a(r#""float""#), "a: type: the type has changed"),
        (a(r#""string""#), a(r#""bytes""#), "a: type: the type has changed"),
        (a(r#""bytes""#), a(r#""string""#), "a: type: the type has changed"),
        (
            a(r#"{"type":"array","items":"long"}"#),
            a(r#"{"type":"array","items":"int"}"#),
            "a: type: the type has changed",
        ),
        (
            a(r#"{"type":"array","items":"int"}"#),
            a(r#"{"type":"map","values":"int"}"#),
            "a: type: the type has changed",
        ),
        (
            a(r#"{"type":"string","logicalType":"uuid"}"#),
            a(r#"{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}"#),
            "a: type: the uuid is written in another form",
        ),
        (
            decimal(5, 2),
            a(r#"{"type":"fixed","name":"D","size":4,"logicalType":"decimal","precision":5,"scale":2}"#),
            "a: type: the decimal is written in another form",
        ),
        (
            a(r#"{"type":"array","items":"float"}"#),
            a(r#"{"type":"array","items":"double"}"#),
            "a: type: a float inside of JSON must not become a double: 0.1 would be two numbers",
        ),
        (a(r#""int""#), a(r#"{"type":"int","logicalType":"date"}"#), "a: logicalType: the logical type has changed"),
        (a(r#"{"type":"int","logicalType":"date"}"#), a(r#""long""#), "a: logicalType: the logical type has changed"),
        (
            a(r#"{"type":"long","logicalType":"timestamp-millis"}"#),
            a(r#"{"type":"long","logicalType":"timestamp-micros"}"#),
            "a: logicalType: the logical type has changed",
        ),
        (a(r#"["null","int"]"#), a(r#""int""#), "a: union: a type of the union is gone"),
        (a(r#"["null","int","string"]"#), a(r#"["null","int","boolean"]"#), "a: union: a type of the union is gone"),
        (a(r#""string""#), a(r#"["string","int"]"#), "a: column: a plain column must not become one of JSON"),
        (a(r#""null""#), a(r#"["null","int"]"#), "a: column: a column of JSON must not become a plain one"),
        (a(r#""string","maxLength":5"#), a(r#""string","maxLength":4"#), "a: maxLength: must not shrink or appear"),
        (a(r#""string""#), a(r#""string","maxLength":4"#), "a: maxLength: must not shrink or appear"),
        (
            record(r#"{"name":"a","type":"string","maxLength":2}"#),
            record(r#"{"name":"a","type":"string","maxLength":1}"#),
            "r.a: maxLength: must not shrink or appear",
        ),
        (a(r#""string""#), a(r#""string","minLength":1"#), "a: minLength: must not grow or appear"),
        (a(r#""int","minimum":1"#), a(r#""int","minimum":2"#), "a: minimum: must not rise or appear"),
        (a(r#""int""#), a(r#""int","minimum":0"#), "a: minimum: must not rise or appear"),
        (a(r#""int","maximum":9"#), a(r#""int","maximum":8"#), "a: maximum: must not fall or appear"),
        (symbols(r#""A","B""#), symbols(r#""B","C""#), "a: symbols: the symbol A is gone"),
        (
            a(r#"{"type":"fixed","name":"F","size":2}"#),
            a(r#"{"type":"fixed","name":"F","size":3}"#),
            "a: size: the size of a fixed has changed",
        ),
        (decimal(5, 2), decimal(6, 2), "a: decimal: precision or scale have changed"),
        (decimal(5, 2), decimal(5, 1), "a: decimal: precision or scale have changed"),
    ] {
        let faults = compile(&[&older, &newer]).expect_err(refusal);
        let field = if refusal.starts_with(':') { "" } else { " field " };
        let expected = format!("schemas/things/v2.avsc{field}{refusal} {kept}");
        assert_eq!(faults.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected], "\n{older}\n{newer}");
    }
}

#[test]
fn what_only_avro_knows_is_refused_in_its_words() {
    let (older, newer) = (symbols(r#""A""#), symbols(r#""A""#).replace(r#""E""#, r#""F""#));
    let faults = compile(&[&older, &newer]).unwrap_err();
    let [fault] = faults.as_slice() else { panic!("{faults:#?}") };
    assert_eq!((fault.file.as_str(), fault.field.as_str(), fault.rule), ("things/v2.avsc", "", "avro"));
    assert!(fault.detail.starts_with("cannot read v1: "), "{fault}");
}

#[test]
fn every_version_reads_all_older_ones_not_only_the_one_before() {
    let with = schema(&[INT, r#""name":"b","type":"int""#]);
    let again = schema(&[INT, r#""name":"b","type":"string","default":"""#]);
    let faults = compile(&[&with, &schema(&[INT]), &again]).unwrap_err();
    assert_eq!((faults.len(), faults[0].file.as_str(), faults[0].rule), (1, "things/v3.avsc", "type"));
    assert!(faults[0].detail.contains("against v1"), "{}", faults[0]);
}
