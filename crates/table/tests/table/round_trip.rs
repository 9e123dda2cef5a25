//! Every kind of value makes the round trip: record → apply → select → the same record.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use record::{Field, Kind, Record, Shape, Value};
use table::Incoming;

use crate::house::{House, at, delete, key, runtime, stamp};

/// Every Avro type and every logical type, nullable; what is not flat at the end.
const EVERYTHING: &str = r#"{"type": "record", "name": "Thing", "fields": [
    {"name": "boolean", "type": ["null", "boolean"]},
    {"name": "int", "type": ["null", "int"]},
    {"name": "long", "type": ["null", "long"]},
    {"name": "float", "type": ["null", "float"]},
    {"name": "double", "type": ["null", "double"]},
    {"name": "string", "type": ["null", "string"]},
    {"name": "short", "type": ["null", "string"], "maxLength": 20},
    {"name": "bytes", "type": ["null", "bytes"]},
    {"name": "fixed", "type": ["null", {"type": "fixed", "name": "F5", "size": 5}]},
    {"name": "large", "type": ["null", {"type": "fixed", "name": "F300", "size": 300}]},
    {"name": "enum", "type": ["null", {"type": "enum", "name": "E", "symbols": ["A", "B_2"]}]},
    {"name": "uuid", "type": ["null", {"type": "string", "logicalType": "uuid"}]},
    {"name": "uuid16", "type": ["null", {"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}]},
    {"name": "decimal", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 65, "scale": 30}]},
    {"name": "whole", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 65, "scale": 0}]},
    {"name": "price", "type": ["null", {"type": "fixed", "name": "D", "size": 8, "logicalType": "decimal", "precision": 18, "scale": 2}]},
    {"name": "big", "type": ["null", {"type": "bytes", "logicalType": "big-decimal"}]},
    {"name": "date", "type": ["null", {"type": "int", "logicalType": "date"}]},
    {"name": "time3", "type": ["null", {"type": "int", "logicalType": "time-millis"}]},
    {"name": "time6", "type": ["null", {"type": "long", "logicalType": "time-micros"}]},
    {"name": "stamp3", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]},
    {"name": "stamp6", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}]},
    {"name": "stamp9", "type": ["null", {"type": "long", "logicalType": "timestamp-nanos"}]},
    {"name": "local3", "type": ["null", {"type": "long", "logicalType": "local-timestamp-millis"}]},
    {"name": "local6", "type": ["null", {"type": "long", "logicalType": "local-timestamp-micros"}]},
    {"name": "local9", "type": ["null", {"type": "long", "logicalType": "local-timestamp-nanos"}]},
    {"name": "duration", "type": ["null", {"type": "fixed", "name": "P", "size": 12, "logicalType": "duration"}]},
    {"name": "numbers", "type": ["null", {"type": "array", "items": "double"}]},
    {"name": "singles", "type": ["null", {"type": "array", "items": "float"}]},
    {"name": "map", "type": ["null", {"type": "map", "values": ["null", "string", "long"]}]},
    {"name": "union", "type": ["null", "long", "string", "boolean", {"type": "array", "items": "string"}]},
    {"name": "nested", "type": ["null", {"type": "record", "name": "N", "fields": [
        {"name": "b", "type": "int"}, {"name": "a", "type": ["null", "N"]},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "raw", "type": "bytes"}]}]},
    {"name": "tree", "type": ["null", {"type": "record", "name": "T", "fields": [
        {"name": "kids", "type": {"type": "map", "values": "T"}}]}]}
]}"#;

const DAY: i64 = 86_400;
const FIRST_DAY: i64 = -354_285;
const LAST_DAY: i64 = 2_932_896;

fn integers(low: i64, high: i64) -> BoxedStrategy<Value<'static>> {
    // Bounds and the neighbourhood of zero come often.
    prop_oneof![Just(low), Just(high), (-2_i64..3).prop_map(move |n| n.clamp(low, high)), low..=high]
        .prop_map(Value::Integer)
        .boxed()
}

/// Any text but U+0000; quotes, escapes, astral characters and combining marks come often.
fn texts(most: usize) -> BoxedStrategy<String> {
    let odd =
        prop::sample::select(vec!['"', '\\', '\'', '%', '\n', '\r', '\u{1}', '\u{7f}', '\u{1d11e}', '\u{301}', ' ']);
    let one = prop_oneof![odd, any::<char>().prop_filter("U+0000", |c| *c != '\0')];
    prop::collection::vec(one, 0..=most).prop_map(|chars| chars.into_iter().collect()).boxed()
}

fn finite() -> BoxedStrategy<f64> {
    let odd = vec![0.0, -0.0, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 0.1, 1e23, 9_007_199_254_740_993.0, 1.0 / 3.0];
    prop_oneof![prop::sample::select(odd), prop::num::f64::NORMAL].boxed()
}

fn single() -> BoxedStrategy<f32> {
    let odd = vec![0.0, -0.0, f32::MAX, f32::MIN, f32::MIN_POSITIVE, 0.1, 16_777_217.0, 1.0 / 3.0];
    prop_oneof![prop::sample::select(odd), prop::num::f32::NORMAL].boxed()
}

fn digits(count: std::ops::RangeInclusive<usize>) -> BoxedStrategy<String> {
    prop::collection::vec(0..10_u8, count).prop_map(|d| d.into_iter().map(|d| char::from(b'0' + d)).collect()).boxed()
}

fn decimals(whole: usize, scale: usize) -> BoxedStrategy<Value<'static>> {
    let sign = prop::sample::select(vec!["", "-"]);
    let whole = prop_oneof![Just("9".repeat(whole)), Just("0".to_owned()), digits(1..=whole)];
    let broken = prop_oneof![Just("9".repeat(scale)), Just("0".repeat(scale)), digits(scale..=scale)];
    let text = (sign, whole, broken).prop_map(move |(sign, whole, broken)| {
        let whole = whole.trim_start_matches('0');
        let whole = if whole.is_empty() { "0" } else { whole };
        if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{broken}") }
    });
    text.prop_map(|text| Value::Text(text.into())).boxed()
}

/// Plain JSON of one of the schema's nested fields.
fn json(field: &str) -> BoxedStrategy<String> {
    let quoted = || texts(12).prop_map(|text| serde_json::Value::from(text).to_string()).boxed();
    let list =
        |of: BoxedStrategy<String>| prop::collection::vec(of, 0..5).prop_map(|all| format!("[{}]", all.join(",")));
    let long = any::<i64>().prop_map(|n| n.to_string());
    match field {
        "duration" => (any::<u32>(), any::<u32>(), any::<u32>())
            .prop_map(|(m, d, ms)| format!(r#"{{"months":{m},"days":{d},"millis":{ms}}}"#))
            .boxed(),
        "numbers" => list(finite().prop_map(|n| format!("{n:?}")).boxed()).boxed(),
        "singles" => list(single().prop_map(|n| format!("{:?}", f64::from(n))).boxed()).boxed(),
        "map" => {
            let value = prop_oneof![Just("null".to_owned()), quoted(), long];
            let members = prop::collection::btree_map(quoted(), value, 0..5);
            let member = |(name, value)| format!("{name}:{value}");
            members
                .prop_map(move |all| format!("{{{}}}", all.into_iter().map(member).collect::<Vec<_>>().join(",")))
                .boxed()
        }
        "union" => prop_oneof![long, quoted(), Just("true".to_owned()), list(quoted())].boxed(),
        "nested" => {
            let leaf = any::<i32>().prop_map(|n| (n, "null".to_owned()));
            leaf.prop_map(|(n, inner)| nested(n, &inner))
                .prop_recursive(20, 20, 1, |inner| (any::<i32>(), inner).prop_map(|(n, inner)| nested(n, &inner)))
                .boxed()
        }
        "tree" => (0..8_usize).prop_map(tree).boxed(),
        other => panic!("no values for {other}"),
    }
}

fn tree(depth: usize) -> String {
    format!("{}{}{}", r#"{"kids":{"k":"#.repeat(depth), r#"{"kids":{}}"#, "}}".repeat(depth))
}

fn nested(n: i32, inner: &str) -> String {
    format!(r#"{{"raw":"AP8=","b":{n},"a":{inner},"at":"9999-12-31T23:59:59.999999Z"}}"#)
}

fn values(field: &Field) -> BoxedStrategy<Value<'static>> {
    let bytes = |length: std::ops::RangeInclusive<usize>| {
        prop::collection::vec(any::<u8>(), length).prop_map(|bytes| Value::Bytes(bytes.into())).boxed()
    };
    let stamps = |unit: i64| integers(FIRST_DAY * DAY * unit, (LAST_DAY + 1) * DAY * unit - 1);
    match &field.kind {
        Kind::Boolean => any::<bool>().prop_map(Value::Boolean).boxed(),
        Kind::Int => integers(i32::MIN.into(), i32::MAX.into()),
        Kind::Long | Kind::TimestampNanos | Kind::LocalTimestampNanos => integers(i64::MIN, i64::MAX),
        Kind::Float => single().prop_map(Value::Float).boxed(),
        Kind::Double => finite().prop_map(Value::Double).boxed(),
        Kind::String => texts(20).prop_map(|text| Value::Text(text.into())).boxed(),
        Kind::Bytes => bytes(0..=40),
        Kind::Fixed { size } => bytes(*size..=*size),
        Kind::Enum { symbols } => prop::sample::select(symbols.clone()).prop_map(|s| Value::Text(s.into())).boxed(),
        Kind::Uuid { .. } => any::<u128>()
            .prop_map(|bits| {
                let hex = format!("{bits:032x}");
                let text = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
                Value::Text(text.into())
            })
            .boxed(),
        Kind::Decimal { precision, scale, .. } => decimals((precision - scale) as usize, *scale as usize),
        Kind::BigDecimal => prop_oneof![decimals(1, 0), decimals(400, 500), decimals(3, 1)].boxed(),
        Kind::Date => integers(FIRST_DAY, LAST_DAY),
        Kind::TimeMillis => integers(0, DAY * 1000 - 1),
        Kind::TimeMicros => integers(0, DAY * 1_000_000 - 1),
        Kind::TimestampMillis | Kind::LocalTimestampMillis => stamps(1000),
        Kind::TimestampMicros | Kind::LocalTimestampMicros => stamps(1_000_000),
        Kind::Json(_) => json(&field.name).prop_map(|text| Value::Json(text.into())).boxed(),
    }
}

/// Records of the house's entity, a fifth of the values null.
fn records(house: &House) -> BoxedStrategy<Vec<Record<'static>>> {
    let entity = Arc::clone(&house.entity);
    let fields: Vec<_> = entity.fields().iter().map(|f| prop_oneof![1 => Just(Value::Null), 4 => values(f)]).collect();
    let record = fields.prop_map(move |values| entity.assemble(values).unwrap());
    prop::collection::vec(record, 1..12).boxed()
}

#[test]
fn a_record_of_any_values_comes_back_as_it_was() {
    let runtime = runtime();
    let house = runtime.block_on(House::of(EVERYTHING));
    let mut runner = TestRunner::new(Config { cases: 64, failure_persistence: None, ..Config::default() });
    let version = std::cell::Cell::new(0);
    let result = runner.run(&records(&house), |records| {
        version.set(version.get() + 1);
        let now = at(version.get());
        let row = |(n, record): (usize, &Record<'static>)| Incoming {
            version: now,
            record: Some(record.clone()),
            ..delete(&n.to_string(), 1, 1)
        };
        let batch: Vec<_> = records.iter().enumerate().map(row).collect();
        let read = runtime.block_on(async {
            house.table.apply(&batch, stamp()).await.map_err(|error| TestCaseError::fail(error.to_string()))?;
            let mut read = Vec::new();
            for row in &batch {
                let stored = house.table.select(&row.id).await;
                read.push(stored.map_err(|error| TestCaseError::fail(error.to_string()))?.unwrap());
            }
            Ok::<_, TestCaseError>(read)
        })?;
        for (wrote, read) in records.iter().zip(read) {
            prop_assert_eq!(read.version, now);
            let read = read.record.unwrap();
            for ((wrote, read), field) in wrote.values().iter().zip(read.values()).zip(house.entity.fields()) {
                // MariaDB keeps -0.0 as 0.0, which is the same number.
                prop_assert_eq!(wrote, read, "{}", &field.name);
            }
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[tokio::test]
async fn everything_missing_comes_back_missing() {
    let house = House::of(EVERYTHING).await;
    let nothing = house.entity.assemble(vec![Value::Null; house.entity.fields().len()]).unwrap();
    house.apply(&[Incoming { record: Some(nothing.clone()), ..delete("a", 1, 1) }]).await;
    assert_eq!(house.table.select(&key("a")).await.unwrap().unwrap().record, Some(nothing));
}

#[tokio::test]
async fn the_deepest_value_that_is_accepted_fits_the_column() {
    let house = House::of(EVERYTHING).await;
    let body = |depth| format!(r#"{{"tree":{}}}"#, tree(depth));
    let accepted = |depth: &usize| house.entity.parse_json(body(*depth).as_bytes()).is_ok();
    let deepest = body((0..1000).take_while(accepted).last().unwrap());
    let record = house.entity.parse_json(deepest.as_bytes()).unwrap().record;
    house.apply(&[Incoming { record: Some(record.clone()), ..delete("a", 1, 1) }]).await;
    let read = house.table.select(&key("a")).await.unwrap().unwrap().record.unwrap();
    assert_eq!(record, read);
}

#[tokio::test]
async fn a_text_as_long_as_a_body_may_be_fits_its_column() {
    let house = House::of(EVERYTHING).await;
    let mut values = vec![Value::Null; house.entity.fields().len()];
    let at = |name: &str| house.entity.position(name).unwrap();
    values[at("string")] = Value::Text("\u{1d11e}".repeat(260_000).into());
    values[at("bytes")] = Value::Bytes(vec![0xff; 780_000].into());
    values[at("short")] = Value::Text("\u{1d11e}".repeat(20).into());
    let record = house.entity.assemble(values).unwrap();
    house.apply(&[Incoming { record: Some(record.clone()), ..delete("a", 1, 1) }]).await;
    assert_eq!(house.table.select(&key("a")).await.unwrap().unwrap().record, Some(record));
}

#[test]
fn no_kind_and_no_shape_is_left_out() {
    let entity = crate::house::entity(&[EVERYTHING]);
    let kinds: std::collections::HashSet<_> = entity.fields().iter().map(|f| std::mem::discriminant(&f.kind)).collect();
    assert_eq!(kinds.len(), 22, "a kind was added to `record`: give it a field here and a column in `ddl`");
    let nested = entity.fields().iter().filter(|field| match &field.kind {
        Kind::Json(nested) => !matches!(nested.shape(), Shape::Scalar(_)),
        _ => false,
    });
    assert_eq!(nested.count(), 7);
}
