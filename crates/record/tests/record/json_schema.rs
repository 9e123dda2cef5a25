//! The JSON Schema of an entity against `parse_json`: two descriptions of the same bodies.

use apache_avro::Schema;
use jsonschema::Validator;
use proptest::prelude::*;
use record::{Entity, Fault, FaultCode, Form, Kind};
use serde_json::{Map, Value as Json, json};

use crate::generate::{Dice, Schemas, value};
use crate::house::{entity, schema, users};
use crate::oracle::{cases, encode, shown};

pub(crate) fn validator(entity: &Entity, form: Form) -> Validator {
    let schema = entity.json_schema(form, "#");
    assert!(jsonschema::meta::is_valid(&schema), "{schema:#}");
    jsonschema::draft202012::new(&schema).unwrap_or_else(|error| panic!("{error}: {schema:#}"))
}

/// Attributes, defaults and templates for fields that can have them.
fn with_attributes(mut schema: Json, dice: &mut Dice) -> Json {
    let mut plain: Vec<String> = Vec::new();
    for field in schema["fields"].as_array_mut().unwrap() {
        let name = field["name"].as_str().unwrap().to_owned();
        let of = match &field["type"] {
            Json::Array(branches) if branches.len() == 2 => branches.iter().find(|of| **of != json!("null")).unwrap(),
            other => other,
        };
        match of.as_str() {
            Some("string") => {
                if dice.below(2) == 0 {
                    field["minLength"] = json!(dice.below(3));
                    field["maxLength"] = json!(3 + dice.below(20));
                }
                if !plain.is_empty() && dice.below(2) == 0 {
                    let one = &plain[dice.below(plain.len() as u64) as usize];
                    field["template"] = json!(format!("{{{one}}}, {{{}}}", plain[0]));
                }
                plain.push(name);
            }
            Some("int" | "long") if dice.below(2) == 0 => {
                (field["minimum"], field["maximum"]) = (json!(-3), json!(64));
            }
            Some("float" | "double") if dice.below(2) == 0 => {
                (field["minimum"], field["maximum"]) = (json!(0.1), json!(1e9));
            }
            _ => {}
        }
        if dice.below(3) == 0 && field["type"][0] == json!("null") {
            field["default"] = Json::Null;
        }
        if dice.below(3) == 0 && field["type"] == json!("boolean") {
            field["default"] = json!(true);
        }
    }
    schema
}

/// Texts and numbers at the edges of what some type takes.
fn odd(dice: &mut Dice) -> Json {
    let texts = [
        "",
        "a",
        "a\u{0}b",
        "äöü",
        "a text of more than twenty letters",
        "0",
        "-0",
        "-0.50",
        "00.10",
        "1.",
        ".5",
        "1e2",
        "+1",
        "12345678901234567890.123456789",
        "0.00000001",
        "999",
        "AP8=",
        "AP9=",
        "AP8",
        "AA==",
        "AB==",
        "AAAA",
        "_-==",
        "A",
        "D",
        "123E4567-e89b-12d3-a456-426614174000",
        "123e4567e89b12d3a456426614174000",
        "2024-02-29",
        "2023-02-29",
        "0999-12-31",
        "9999-12-31",
        "2024-13-01",
        "2024-2-9",
        "23:59:59",
        "23:59:60",
        "24:00:00",
        "01:02:03.1230000",
        "01:02:03.1234",
        "01:02:03.",
        "2026-11-24T12:00:00Z",
        "2026-11-24t12:00:00.5z",
        "2026-11-24T12:00:00+02:00",
        "2026-11-24T12:00:00-24:00",
        "9999-12-31T23:59:59-01:00",
        "2300-01-01T00:00:00Z",
        "2026-11-24 12:00:00Z",
        "2026-11-24T12:00:00",
        "2026-11-24T12:00:00.1234567890",
        "2026-11-24T12:00:00.123456000Z",
        "a\n",
        "0\n",
        ".",
        "..",
    ];
    let others = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(65),
        json!(1.0),
        json!(0.1),
        json!(0.5),
        json!(1e2),
        json!(1e16),
        json!(1e300),
        json!(3.5e38),
        json!(3.402_823_5e38),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(2_147_483_648_u64),
        json!([]),
        json!({}),
        json!([null]),
        json!({"months": 1, "days": 2.0, "millis": 3}),
        json!({"months": 1, "days": -2, "millis": 3}),
        json!({"a\u{0}": 1}),
        json!({"a": 1}),
        json!([1, "a"]),
    ];
    let at = dice.below((texts.len() + others.len()) as u64) as usize;
    texts.get(at).map_or_else(|| others[at - texts.len()].clone(), |text| json!(text))
}

/// Something else somewhere in it.
fn spoil(body: &mut Json, dice: &mut Dice) {
    match body {
        Json::Object(members) if !members.is_empty() && dice.below(8) > 0 => {
            let at = dice.below(members.len() as u64) as usize;
            let name = members.keys().nth(at).unwrap().clone();
            match dice.below(6) {
                0 => drop(members.remove(&name)),
                1 => drop(members.insert("other".to_owned(), odd(dice))),
                _ => spoil(&mut members[&name], dice),
            }
        }
        Json::Array(items) if !items.is_empty() && dice.below(4) > 0 => {
            let at = dice.below(items.len() as u64) as usize;
            spoil(&mut items[at], dice);
        }
        other => *other = odd(dice),
    }
}

/// A day, perhaps one that no calendar has; or a whole number with an exponent.
fn unsaid(given: &Json) -> bool {
    match given {
        Json::String(text) => text.as_bytes().get(4) == Some(&b'-') && text.len() >= 10,
        Json::Number(number) => {
            number.as_f64().is_some_and(|number| number.fract() == 0.0 && number.abs() > 9_007_199_254_740_992.0)
        }
        // In a union, whose one fault does not say which of its items it is.
        Json::Array(items) => items.iter().any(unsaid),
        Json::Object(members) => members.values().any(unsaid),
        _ => false,
    }
}

/// The list of what the schema cannot say: the module's own, as faults of `parse_json`.
fn cannot_be_said(entity: &Entity, body: &Json, fault: &Fault) -> bool {
    let given = body.pointer(&fault.pointer);
    let field = entity.fields().iter().find(|field| fault.pointer == format!("/{}", field.name));
    let single = field.filter(|field| matches!(field.kind, Kind::Float));
    match fault.code {
        FaultCode::Format | FaultCode::Range | FaultCode::Type if single.is_none() && given.is_some_and(unsaid) => true,
        // A float that is rounded over its bound.
        FaultCode::Range => single.is_some_and(|field| field.limits != record::Limits::default()),
        // What a template puts together.
        FaultCode::Length => field.is_some_and(|field| field.template.is_some()) && given.is_none(),
        _ => false,
    }
}

pub(crate) fn agree(entity: &Entity, validator: &Validator, body: &Json) {
    let text = body.to_string();
    // What the text says, which is what both are asked about.
    let body: Json = serde_json::from_str(&text).unwrap();
    match (entity.parse_json(text.as_bytes()), validator.validate(&body)) {
        (Ok(_), Ok(())) | (Err(_), Err(_)) => {}
        (Ok(_), Err(error)) => panic!("accepted, but not valid: {error} at {}: {text}", error.instance_path()),
        (Err(faults), Ok(())) => {
            let said: Vec<_> = faults.iter().filter(|fault| !cannot_be_said(entity, &body, fault)).collect();
            assert!(said.is_empty(), "valid, but refused: {said:?}: {text}");
        }
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn what_is_accepted_is_valid_and_what_is_valid_is_accepted(seed: u64) {
        let mut dice = Dice::new(seed ^ 0x5A5A);
        let mut schemas = Schemas::new(seed);
        let schema = if seed % 4 == 0 { schemas.everything() } else { schemas.some() };
        let schema = with_attributes(schema, &mut dice).to_string();
        let (entity, avro) = (entity(&[&schema]), Schema::parse_str(&schema).unwrap());
        let (sent, answered) = (validator(&entity, Form::New), validator(&entity, Form::Shown));
        agree(&entity, &sent, &entity.example());
        prop_assert!(entity.parse_json(entity.example().to_string().as_bytes()).is_ok(), "{}", entity.example());
        for _ in 0..8 {
            let datum = encode(&avro, &value(&avro, &mut dice));
            let record = entity.read_avro(entity.newest_id(), &datum).unwrap();
            let mut body: Map<String, Json> = serde_json::from_str(&shown(&entity, &record)).unwrap();
            body.insert("id".to_owned(), json!("a.B_9~-"));
            // Whatever its bounds are by now: they were others when it was stored.
            if let Err(error) = answered.validate(&json!(body)) {
                panic!("not as it is said to be answered: {error}: {}", json!(body));
            }
            agree(&entity, &sent, &json!(body));
            for _ in 0..25 {
                let mut body = json!(body);
                for _ in 0..=dice.below(2) {
                    spoil(&mut body, &mut dice);
                }
                agree(&entity, &sent, &body);
            }
        }
    }
}

#[test]
fn users_as_they_are_described() {
    let text = |most: u64| json!({"type": "string", "pattern": r"^[^\x00]*$", "maxLength": most});
    let or_null = |mut of: Json| {
        of["type"] = json!([of["type"], "null"]);
        of["default"] = Json::Null;
        of
    };
    let mut occupation = or_null(text(255));
    let mut name = text(255);
    name["description"] = json!("Not given, it is put together: {first_name} {last_name}");
    occupation["maxLength"] = json!(255);
    let mut described = users().json_schema(Form::New, "#/components/schemas/users");
    let id = described["properties"].as_object_mut().unwrap().remove("id").unwrap();
    assert_eq!(id["anyOf"][0], record::id_schema());
    let given = |name: &str| json!({"required": [name], "properties": {name: {"type": "string"}}});
    let both = json!({"allOf": [given("first_name"), given("last_name")]});
    assert_eq!(
        described,
        json!({
            "title": "users",
            "description": "A user. A name that is not given is put together from first and last name.",
            "type": "object",
            "properties": {
                "name": name,
                "age": {"type": "integer", "format": "int32", "minimum": 0, "maximum": 150},
                "occupation": occupation,
                "first_name": or_null(text(100)),
                "last_name": or_null(text(100)),
            },
            "additionalProperties": false,
            "required": ["age"],
            "allOf": [{"anyOf": [given("name"), both]}],
        })
    );
    let answered = users().json_schema(Form::Shown, "#");
    assert_eq!(answered["required"], json!(["id", "name", "age", "occupation", "first_name", "last_name"]));
    assert_eq!(answered["properties"]["age"]["maximum"], json!(i32::MAX), "stored before the bound was set");
    let replaced = users().json_schema(Form::Replacement, "#");
    assert_eq!(replaced["properties"]["id"]["readOnly"], json!(true));
}

#[test]
fn a_record_that_refers_to_itself_and_descriptions_at_every_depth() {
    let thing = entity(&[&schema(&[
        r#""name":"next","type":["null","Thing"],"default":null,"doc":"The one behind it.""#,
        r#""name":"of","type":{"type":"record","name":"Other","doc":"Another.","fields":[
            {"name":"n","type":"int","default":7,"doc":"A number.","minimum":1}]}"#,
    ])]);
    let described = thing.json_schema(Form::New, "#");
    assert_eq!(described["properties"]["next"]["anyOf"][1], json!({"$ref": "#/$defs/Thing"}));
    assert_eq!(described["properties"]["next"]["description"], "The one behind it.");
    let number = json!({"type": "integer", "format": "int32", "minimum": 1, "maximum": i32::MAX, "default": 7, "description": "A number."});
    assert_eq!(described["$defs"]["Other"]["properties"]["n"], number);
    assert_eq!(described["$defs"]["Other"]["description"], "Another.");
    let sent = validator(&thing, Form::New);
    for body in [
        json!({"of": {}}),
        json!({"of": {"n": 0}}),
        json!({"of": {}, "next": {"of": {}, "next": {"of": {"n": 2}}}}),
        json!({"of": {}, "next": {"of": {}, "id": "1"}}),
        json!({"of": {}, "next": {}}),
    ] {
        agree(&thing, &sent, &body);
    }
    assert!(thing.parse_json(thing.example().to_string().as_bytes()).is_ok(), "{}", thing.example());
}

#[test]
fn templates_that_need_templates_are_followed_in_their_order() {
    let thing = entity(&[&schema(&[
        r#""name":"a","type":["null","string"]"#,
        r#""name":"b","type":"string","template":"<{a}>""#,
        r#""name":"c","type":"string","template":"{b}{d}""#,
        r#""name":"d","type":"string","template":"{a}!""#,
    ])]);
    let sent = validator(&thing, Form::New);
    for body in [
        json!({}),
        json!({"a": null}),
        json!({"a": "x"}),
        json!({"a": "x", "d": "y"}),
        json!({"b": "x", "d": "y"}),
        json!({"b": "x", "c": "z", "d": "y"}),
        json!({"a": "x", "c": "z"}),
        json!({"b": null, "c": "z", "d": "y"}),
    ] {
        agree(&thing, &sent, &body);
    }
    assert!(thing.parse_json(br#"{"a":"x"}"#).is_err(), "d is made after c");
    assert!(thing.parse_json(br#"{"a":"x","d":"y"}"#).is_ok());
}

#[test]
fn the_pattern_of_an_id_is_its_rule() {
    let described = jsonschema::draft202012::new(&record::id_schema()).unwrap();
    let long = |length: usize| ["a".repeat(length), ".a".repeat(length / 2), ".".repeat(length)];
    let ids = ["", ".", "..", "...", "a", ".a", "a.", "..a", "a b", "\u{e9}", "a\n", "a/b", "~_-"].map(str::to_owned);
    for id in
        ids.into_iter().chain(long(128)).chain(long(130)).chain(["x".repeat(129), format!(".{}", "x".repeat(128))])
    {
        assert_eq!(described.is_valid(&json!(id)), record::RecordId::parse(&id).is_ok(), "{id:?}");
    }
}
