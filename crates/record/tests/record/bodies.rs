//! What a client may send, and every fault with its pointer.

use record::{Entity, FaultCode, Form, Value};

use crate::house::{entity, schema, users};
use crate::json_schema::{agree, validator};

/// Pointer and code of every fault, in order.
fn faults(entity: &Entity, body: &str) -> Vec<(String, &'static str)> {
    match entity.parse_json(body.as_bytes()) {
        Ok(input) => panic!("accepted: {input:?}"),
        Err(faults) => faults.into_iter().map(|fault| (fault.pointer, fault.code.as_str())).collect(),
    }
}

fn json(entity: &Entity, body: &str) -> String {
    let input = entity.parse_json(body.as_bytes()).unwrap_or_else(|faults| panic!("{body}: {faults:?}"));
    let mut out = String::new();
    entity.write_json(&input.record, &mut out);
    out
}

#[test]
fn the_original_projects_body_becomes_a_user() {
    let users = users();
    let input = users.parse_json(br#"{"name":"John Doe","age":30,"occupation":"Engineer"}"#).unwrap();
    assert_eq!(input.id, None);
    let expected =
        [Value::Text("John Doe".into()), Value::Integer(30), Value::Text("Engineer".into()), Value::Null, Value::Null];
    assert_eq!(input.record.values(), expected);
}

#[test]
fn the_other_original_projects_flags_become_a_user_by_template() {
    assert_eq!(
        json(&users(), r#"{"last_name":"Smith","age":25,"first_name":"John"}"#),
        r#"{"name":"John Smith","age":25,"occupation":null,"first_name":"John","last_name":"Smith"}"#
    );
}

#[test]
fn every_fault_of_a_user_has_its_pointer() {
    let users = users();
    let long = "x".repeat(256);
    let table: [(&str, &[(&str, &str)]); 25] = [
        ("", &[("", "syntax")]),
        ("{", &[("", "syntax")]),
        (r#"{"name":"a","age":1} x"#, &[("", "syntax")]),
        (r#"{"name":"a","nope":1,"age":}"#, &[("", "syntax")]),
        // Which is why a text that stands in the body as it is needs no look for it.
        ("{\"name\":\"a\u{0}b\",\"age\":1}", &[("", "syntax")]),
        ("[]", &[("", "type")]),
        ("null", &[("", "type")]),
        ("\"{}\"", &[("", "type")]),
        ("7", &[("", "type")]),
        ("{}", &[("/name", "missing"), ("/age", "missing")]),
        (r#"{"first_name":"a"}"#, &[("/name", "missing"), ("/age", "missing")]),
        (r#"{"name":1,"age":"x","occupation":true}"#, &[("/name", "type"), ("/age", "type"), ("/occupation", "type")]),
        (r#"{"name":null,"age":null}"#, &[("/name", "type"), ("/age", "type")]),
        (r#"{"name":"a","age":-1}"#, &[("/age", "range")]),
        (r#"{"name":"a","age":151}"#, &[("/age", "range")]),
        (r#"{"name":"a","age":2147483648}"#, &[("/age", "range")]),
        (r#"{"name":"a","age":1e300}"#, &[("/age", "range")]),
        (r#"{"name":"a","age":1.5}"#, &[("/age", "type")]),
        (r#"{"name":"a","age":{"x":[1]}}"#, &[("/age", "type")]),
        (r#"{"name":"a","age":1,"a/b~c":2}"#, &[("/a~1b~0c", "unknown")]),
        (r#"{"name":"a","age":1,"name":"b"}"#, &[("/name", "duplicate")]),
        (r#"{"name":"a\u0000b","age":1}"#, &[("/name", "nul")]),
        (r#"{"id":"a b","name":"a","age":1}"#, &[("/id", "format")]),
        (r#"{"id":true,"name":"a","age":1}"#, &[("/id", "type")]),
        // The template does not run on a part that was refused: its own fault is enough.
        (r#"{"first_name":1,"last_name":"b","age":1}"#, &[("/first_name", "type")]),
    ];
    for (body, expected) in table {
        let expected: Vec<_> = expected.iter().map(|(pointer, code)| ((*pointer).to_owned(), *code)).collect();
        assert_eq!(faults(&users, body), expected, "{body}");
    }
    assert_eq!(faults(&users, &format!(r#"{{"name":"{long}","age":1}}"#)), [("/name".to_owned(), "length")]);
}

#[test]
fn details_never_echo_the_value() {
    for body in [
        r#"{"name":4711,"age":"geheim","first_name":["geheim"],"last_name":{"geheim":4711}}"#,
        r#"{"id":"geheim geheim","name":"geheim\u0000","age":4711}"#,
        r#"{"name":"geheim" geheim}"#,
    ] {
        for fault in users().parse_json(body.as_bytes()).unwrap_err() {
            assert!(!fault.detail.contains("geheim") && !fault.detail.contains("4711"), "{fault}");
            assert!(!fault.detail.is_empty());
        }
    }
}

#[test]
fn malformed_json_says_line_and_column_once() {
    let faults = users().parse_json(b"{\"nope\": 1,\n \"age\": x}").unwrap_err();
    assert_eq!(faults.len(), 1);
    assert!(faults[0].detail.contains("line 2 column 9"), "{}", faults[0].detail);
    let faults = users().parse_json(b"{\"name\": \"\xff\"}").unwrap_err();
    assert_eq!((faults[0].code, faults.len()), (FaultCode::Syntax, 1));
    assert!(faults[0].detail.contains("not UTF-8 at line 1 column 11"), "{}", faults[0].detail);
}

#[test]
fn a_number_beyond_every_double_names_its_field_and_is_no_malformed_json() {
    let found = |body: &str| -> Vec<(String, FaultCode)> {
        let faults = users().parse_json(body.as_bytes()).unwrap_err();
        faults.into_iter().map(|fault| (fault.pointer, fault.code)).collect()
    };
    let range = |pointers: &[&str]| pointers.iter().map(|p| ((*p).to_owned(), FaultCode::Range)).collect::<Vec<_>>();
    let long = format!(r#"{{"name":"a","age":{}.5}}"#, "9".repeat(400));
    for (body, pointers) in [
        (r#"{"name":"a","age":1e400}"#, &["/age"][..]),
        (r#"{"name":"-1e400 \" \\","age":-1E+400}"#, &["/age"]),
        (r#"{"age":1e400,"x":{"a/b":[1,1e999]},"name":"a"}"#, &["/age", "/x/a~1b/1"]),
        (&long, &["/age"]),
    ] {
        assert_eq!(found(body), range(pointers), "{body}");
    }
    // What is malformed stays so, whatever else stands there.
    for body in [r#"{"age":1e400"#, r#"{"age":1e400,}"#, r#"{"age":1e400 "name":1}"#, r#"{"name":"1e400,"age":x}"#] {
        assert_eq!(found(body), [(String::new(), FaultCode::Syntax)], "{body}");
    }
}

#[test]
fn there_is_one_zero() {
    let thing = entity(&[&schema(&[
        r#""name":"f","type":"float""#,
        r#""name":"d","type":"double""#,
        r#""name":"l","type":{"type":"array","items":"double"}"#,
    ])]);
    let shown = |record: &record::Record<'_>| {
        let mut text = String::new();
        thing.write_json(record, &mut text);
        text
    };
    let zero = r#"{"f":0.0,"d":0.0,"l":[0.0]}"#;
    let record = thing.parse_json(br#"{"f":-0.0,"d":-0e5,"l":[-0.0]}"#).unwrap().record;
    assert_eq!(shown(&record), zero);
    // A stranger's datum, and a column's values.
    let (single, double) = ((-0.0_f32).to_le_bytes(), (-0.0_f64).to_le_bytes());
    let datum = [&single[..], &double, &[2], &double, &[0]].concat();
    assert_eq!(shown(&thing.read_avro(thing.newest_id(), &datum).unwrap()), zero);
    let row = vec![record::Value::Float(-0.0), record::Value::Double(-0.0), record::Value::Json("[-0.0]".into())];
    assert_eq!(shown(&thing.assemble(row).unwrap()), zero);
}

#[test]
fn a_name_in_a_map_is_as_long_as_a_column_holds_it() {
    let thing = entity(&[&schema(&[r#""name":"m","type":{"type":"map","values":"int"}"#])]);
    let body = |length: usize| format!(r#"{{"m":{{"{}":1}}}}"#, "k".repeat(length));
    assert!(thing.parse_json(body(65_535).as_bytes()).is_ok());
    let faults = thing.parse_json(body(65_536).as_bytes()).unwrap_err();
    assert_eq!(faults.iter().map(|fault| fault.code).collect::<Vec<_>>(), [FaultCode::Length]);
}

#[test]
fn the_list_of_faults_is_bounded() {
    let members: Vec<String> = (0..5000).map(|n| format!("\"m{n}\":1")).collect();
    let faults = users().parse_json(format!("{{{}}}", members.join(",")).as_bytes()).unwrap_err();
    assert_eq!(faults.len(), 101);
    assert_eq!(faults[100].code, FaultCode::TooMany);
}

#[test]
fn an_id_is_a_string_or_a_whole_number() {
    let users = users();
    for (given, expected) in [
        (r#""a.B_9~-""#, "a.B_9~-"),
        ("17", "17"),
        ("17.0", "17"),
        ("-2e1", "-20"),
        ("18446744073709551615", "18446744073709551615"),
    ] {
        let body = format!(r#"{{"id":{given},"name":"a","age":1}}"#);
        let input = users.parse_json(body.as_bytes()).unwrap();
        assert_eq!(input.id.unwrap().as_str(), expected);
    }
}

#[test]
fn every_type_says_what_it_accepts() {
    type Row = (&'static str, &'static [(&'static str, &'static str)], &'static [(&'static str, &'static str)]);
    // type; given and shown; refused and code
    let table: &[Row] = &[
        (r#""boolean""#, &[("true", "true")], &[("1", "type"), ("\"true\"", "type"), ("null", "type")]),
        (
            r#""int""#,
            &[("1.0", "1"), ("1e2", "100"), ("-2147483648", "-2147483648")],
            &[("2147483648", "range"), ("0.5", "type")],
        ),
        (
            r#""long""#,
            &[
                ("9223372036854775807", "9223372036854775807"),
                ("-9223372036854775808", "-9223372036854775808"),
                ("1e15", "1000000000000000"),
            ],
            &[("9223372036854775808", "range"), ("1e16", "range"), ("-9223372036854775809", "range")],
        ),
        (
            r#""float""#,
            &[("0.1", "0.1"), ("16777217", "16777216.0"), ("1e-7", "1e-7"), ("3.4028235677973362e38", "3.4028235e38")],
            &[("1e39", "range"), ("3.4028235677973366e38", "range"), ("\"1\"", "type")],
        ),
        (r#""double""#, &[("0.1", "0.1"), ("3", "3.0"), ("1e300", "1e300"), ("-0.0", "0.0")], &[("true", "type")]),
        (r#""bytes""#, &[("\"AP8=\"", "\"AP8=\""), ("\"\"", "\"\"")], &[("\"AP8\"", "format"), ("\"_-==\"", "format")]),
        (
            r#"{"type":"fixed","name":"F","size":2}"#,
            &[("\"AP8=\"", "\"AP8=\"")],
            &[("\"AA==\"", "length"), ("\"?\"", "format")],
        ),
        (
            r#"{"type":"enum","name":"E","symbols":["A","B"]}"#,
            &[("\"B\"", "\"B\"")],
            &[("\"C\"", "symbol"), ("1", "type")],
        ),
        (
            r#"{"type":"string","logicalType":"uuid"}"#,
            &[("\"123E4567-E89B-12D3-A456-426614174000\"", "\"123e4567-e89b-12d3-a456-426614174000\"")],
            &[
                ("\"123e4567e89b12d3a456426614174000\"", "format"),
                ("\"{123e4567-e89b-12d3-a456-42661417400}\"", "format"),
            ],
        ),
        (
            r#"{"type":"bytes","logicalType":"decimal","precision":5,"scale":2}"#,
            &[
                ("\"1\"", "\"1.00\""),
                ("\"-0.5\"", "\"-0.50\""),
                ("\"-0\"", "\"0.00\""),
                ("\"00999.9900\"", "\"999.99\""),
            ],
            &[
                ("1", "type"),
                ("\"1000\"", "range"),
                ("\"0.001\"", "range"),
                ("\"1.\"", "format"),
                ("\".5\"", "format"),
                ("\"1e2\"", "format"),
                ("\"+1\"", "format"),
                ("\"\"", "format"),
            ],
        ),
        (
            r#"{"type":"bytes","logicalType":"big-decimal"}"#,
            &[("\"007.50\"", "\"7.50\""), ("\"-0.0\"", "\"0.0\"")],
            &[("\"1e5\"", "format"), ("7", "type")],
        ),
        (
            r#"{"type":"int","logicalType":"date"}"#,
            &[
                ("\"2024-02-29\"", "\"2024-02-29\""),
                ("\"1000-01-01\"", "\"1000-01-01\""),
                ("\"9999-12-31\"", "\"9999-12-31\""),
            ],
            &[
                ("\"2023-02-29\"", "format"),
                ("\"0999-12-31\"", "range"),
                ("\"2024-2-9\"", "format"),
                ("19000", "type"),
                ("\"2024-02-29Z\"", "format"),
            ],
        ),
        (
            r#"{"type":"int","logicalType":"time-millis"}"#,
            &[
                ("\"23:59:59.9\"", "\"23:59:59.900\""),
                ("\"00:00:00\"", "\"00:00:00.000\""),
                ("\"01:02:03.1230000\"", "\"01:02:03.123\""),
            ],
            &[
                ("\"24:00:00\"", "format"),
                ("\"23:59:60\"", "format"),
                ("\"01:02:03.1234\"", "format"),
                ("\"01:02:03.\"", "format"),
            ],
        ),
        (
            r#"{"type":"long","logicalType":"time-micros"}"#,
            &[("\"01:02:03.000001\"", "\"01:02:03.000001\"")],
            &[("\"1:2:3\"", "format")],
        ),
        (
            r#"{"type":"long","logicalType":"timestamp-millis"}"#,
            &[
                ("\"2026-11-24T12:00:00+02:00\"", "\"2026-11-24T10:00:00.000Z\""),
                ("\"1969-12-31t23:59:59.999z\"", "\"1969-12-31T23:59:59.999Z\""),
                ("\"2026-11-24T12:00:00-00:00\"", "\"2026-11-24T12:00:00.000Z\""),
            ],
            &[
                ("\"2026-11-24T12:00:00\"", "format"),
                ("\"2026-11-24 12:00:00Z\"", "format"),
                ("\"9999-12-31T23:59:59-01:00\"", "range"),
                ("\"1000-01-01T00:00:00+00:01\"", "range"),
                ("\"2026-11-24T12:00:00.0001Z\"", "format"),
            ],
        ),
        (
            r#"{"type":"long","logicalType":"timestamp-micros"}"#,
            &[("\"2026-11-24T12:00:00.000001Z\"", "\"2026-11-24T12:00:00.000001Z\"")],
            &[("1", "type")],
        ),
        (
            r#"{"type":"long","logicalType":"timestamp-nanos"}"#,
            &[("\"2026-11-24T12:00:00Z\"", "\"2026-11-24T12:00:00.000000000Z\"")],
            &[("\"2300-01-01T00:00:00Z\"", "range")],
        ),
        (
            r#"{"type":"long","logicalType":"local-timestamp-millis"}"#,
            &[("\"2026-11-24T12:00:00.5\"", "\"2026-11-24T12:00:00.500\"")],
            &[("\"2026-11-24T12:00:00Z\"", "format")],
        ),
        (
            r#"{"type":"long","logicalType":"local-timestamp-micros"}"#,
            &[("\"2026-11-24T12:00:00\"", "\"2026-11-24T12:00:00.000000\"")],
            &[],
        ),
        (
            r#"{"type":"long","logicalType":"local-timestamp-nanos"}"#,
            &[("\"2026-11-24T12:00:00\"", "\"2026-11-24T12:00:00.000000000\"")],
            &[],
        ),
        (r#"["null","int","string"]"#, &[("null", "null"), ("5", "5"), ("\"x\"", "\"x\"")], &[("true", "type")]),
        (
            r#"{"type":"array","items":"int"}"#,
            &[("[ 1, 2.0 ]", "[1,2]"), ("[]", "[]")],
            &[("1", "type"), ("null", "type")],
        ),
        (
            r#"{"type":"map","values":["null","long"]}"#,
            &[(r#"{"b":1,"a":null}"#, r#"{"a":null,"b":1}"#)],
            &[("[]", "type")],
        ),
        (
            r#"{"type":"fixed","name":"D","size":12,"logicalType":"duration"}"#,
            &[(r#"{"millis":3,"months":1,"days":4294967295}"#, r#"{"months":1,"days":4294967295,"millis":3}"#)],
            &[("1", "type")],
        ),
        (r#""null""#, &[("null", "null")], &[("1", "type")]),
    ];
    for (avro, accepted, refused) in table {
        let thing = entity(&[&schema(&[&format!(r#""name":"f","type":{avro}"#)])]);
        let described = validator(&thing, Form::New);
        for (given, shown) in *accepted {
            let body = format!(r#"{{"f":{given}}}"#);
            assert_eq!(json(&thing, &body), format!(r#"{{"f":{shown}}}"#), "{avro} given {given}");
            agree(&thing, &described, &serde_json::from_str(&body).unwrap());
        }
        for (given, code) in *refused {
            let body = format!(r#"{{"f":{given}}}"#);
            assert_eq!(faults(&thing, &body), [("/f".to_owned(), *code)], "{avro} given {given}");
            agree(&thing, &described, &serde_json::from_str(&body).unwrap());
        }
    }
}

#[test]
fn nested_faults_point_at_their_place() {
    let address = r#""name":"address","type":{"type":"record","name":"Address","fields":[
        {"name":"zip","type":"string","maxLength":5},
        {"name":"since","type":["null",{"type":"int","logicalType":"date"}],"default":null},
        {"name":"tags","type":{"type":"array","items":"string"},"default":[]}]}"#;
    let thing = entity(&[&schema(&[address])]);
    assert_eq!(
        faults(&thing, r#"{"address":{"zip":"123456","since":"x","tags":["a",1],"zap":1}}"#),
        [
            ("/address/zap".to_owned(), "unknown"),
            ("/address/zip".to_owned(), "length"),
            ("/address/since".to_owned(), "format"),
            ("/address/tags/1".to_owned(), "type"),
        ]
    );
    assert_eq!(faults(&thing, r#"{"address":{"zip":"1","zip":"2"}}"#), [("/address/zip".to_owned(), "duplicate")]);
    assert_eq!(faults(&thing, r#"{"address":{}}"#), [("/address/zip".to_owned(), "missing")]);
    assert_eq!(
        json(&thing, r#"{"address":{"tags":["a"],"zip":"äöüäö"}}"#),
        r#"{"address":{"zip":"äöüäö","since":null,"tags":["a"]}}"#
    );
}

#[test]
fn nesting_has_a_bottom() {
    let list = r#""name":"next","type":["null","Thing"],"default":null"#;
    let thing = entity(&[&schema(&[list])]);
    let deep = |n: usize| format!("{}null{}", "{\"next\":".repeat(n), "}".repeat(n));
    assert!(thing.parse_json(deep(20).as_bytes()).is_ok());
    assert!(thing.parse_json(deep(60).as_bytes()).is_err());
    assert!(thing.parse_json(deep(5000).as_bytes()).is_err());
}

#[test]
fn an_ambiguous_union_cannot_cost_more_than_its_bound() {
    let both = r#""name":"next","type":["null","Thing",{"type":"record","name":"Other","fields":[
        {"name":"next","type":["null","Thing","Other"],"default":null}]}],"default":null"#;
    let thing = entity(&[&schema(&[both])]);
    let start = std::time::Instant::now();
    let body = format!("{}7{}", "{\"next\":".repeat(30), "}".repeat(30));
    assert!(thing.parse_json(body.as_bytes()).is_err());
    assert!(start.elapsed() < std::time::Duration::from_secs(20));
}

#[test]
fn a_default_stands_for_what_is_missing_and_a_template_goes_first() {
    let thing = entity(&[&schema(&[
        r#""name":"a","type":["null","string"]"#,
        r#""name":"b","type":"string","default":"none","template":"<{a}>","maxLength":6"#,
        r#""name":"c","type":"bytes","default":"\u00ff\u0000""#,
        r#""name":"d","type":{"type":"int","logicalType":"date"},"default":1"#,
    ])]);
    assert_eq!(json(&thing, "{}"), r#"{"a":null,"b":"none","c":"/wA=","d":"1970-01-02"}"#);
    assert_eq!(json(&thing, r#"{"a":"x"}"#), r#"{"a":"x","b":"<x>","c":"/wA=","d":"1970-01-02"}"#);
    assert_eq!(faults(&thing, r#"{"a":"12345"}"#), [("/b".to_owned(), "length")]);
}

/// A chain of so many records that each level which is read twice makes more steps than any value may take.
const CHAIN: usize = 28;

#[test]
fn a_fault_at_the_end_of_a_long_chain_is_told_alone_and_at_its_place() {
    let node = r#"{"type":"record","name":"Node","fields":[
        {"name":"next","type":["null","Node"],"default":null},{"name":"number","type":"int","default":0}]}"#;
    let thing = entity(&[&schema(&[&format!(r#""name":"root","type":{node}"#)])]);
    let chain = |last: &str| {
        let next = (0..CHAIN).fold(last.to_owned(), |next, _| format!(r#"{{"next":{next}}}"#));
        format!(r#"{{"root":{next}}}"#)
    };
    assert!(thing.parse_json(chain(r#"{"number":1}"#).as_bytes()).is_ok());
    let body = chain(r#"{"number":"x"}"#);
    let faults = thing.parse_json(body.as_bytes()).unwrap_err();
    let pointers: Vec<_> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
    assert_eq!(pointers, [format!("/root{}/number", "/next".repeat(CHAIN))]);
}

#[test]
fn a_long_chain_of_records_that_only_their_last_member_tells_apart_is_read() {
    let pick = r#"["null",{"type":"record","name":"Left","fields":[
        {"name":"next","type":["null","Left",{"type":"record","name":"Right","fields":[
            {"name":"next","type":["null","Left","Right"]},{"name":"leaf","type":"boolean"}]}]},
        {"name":"leaf","type":"long"}]},"Right"]"#;
    let thing = entity(&[&schema(&[&format!(r#""name":"pick","type":{pick}"#)])]);
    let chain =
        |leaf: &str| (0..CHAIN).fold("null".to_owned(), |next, _| format!(r#"{{"next":{next},"leaf":{leaf}}}"#));
    let body = format!(r#"{{"pick":{}}}"#, chain("true"));
    let record = thing.parse_json(body.as_bytes()).unwrap().record;
    let mut datum = Vec::new();
    thing.write_avro(&record, &mut datum);
    assert_eq!(thing.read_avro(thing.newest_id(), &datum).unwrap(), record);
    assert!(thing.parse_json(format!(r#"{{"pick":{}}}"#, chain("\"x\"")).as_bytes()).is_err());
}
