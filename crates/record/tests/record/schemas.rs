//! What a schema may say, how it may grow, and how it is published: one row per rule.

use record::{Bound, Catalog, Cli, Kind, Part, SchemaFault, SchemaId, pin};

use crate::house::{compile, entity, schema, users};

/// Field and rule of every fault.
fn rules(versions: &[&str]) -> Vec<(String, &'static str)> {
    match compile(versions) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.into_iter().map(|fault| (fault.field, fault.rule)).collect(),
    }
}

#[test]
fn users_are_what_the_original_projects_had() {
    let users = users();
    let names: Vec<_> = users.fields().iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["name", "age", "occupation", "first_name", "last_name"]);
    assert_eq!(users.versions().collect::<Vec<_>>(), [(1, SchemaId::new(1)), (2, SchemaId::new(2))]);
    assert_eq!(users.newest_id(), SchemaId::new(2));
    assert!(users.schema_text(SchemaId::new(1)).unwrap().contains("as the original project had it"));
    let [name, age, occupation, first, last] = users.fields() else { panic!() };
    assert_eq!(name.limits.max_length, Some(255));
    assert_eq!(name.template.as_ref().unwrap().parts, [Part::Field(3), Part::Literal(" ".to_owned()), Part::Field(4)]);
    assert_eq!((age.limits.minimum, age.limits.maximum), (Some(Bound::Integer(0)), Some(Bound::Integer(150))));
    assert!(occupation.nullable && matches!(occupation.kind, Kind::String));
    let flag = |long: &str, short| Some(Cli { long: long.to_owned(), short: Some(short) });
    assert_eq!(
        [&age.cli, &first.cli, &last.cli],
        [&flag("age", 'a'), &flag("first-name", 'f'), &flag("last-name", 'l')]
    );
}

#[test]
fn what_nobody_would_act_on_is_refused() {
    let string = |rest: &str| schema(&[&format!(r#""name":"f","type":"string"{rest}"#)]);
    let of = |of: &str| schema(&[&format!(r#""name":"f","type":{of}"#)]);
    let table: &[(String, &str)] = &[
        (string(r#","maxLenght":5"#), "attribute"),
        (string(r#","logicalType":"uuid""#), "attribute"),
        (string(r#","aliases":["g"]"#), "rename"),
        (string(r#","maxLength":"5""#), "maxLength"),
        (string(r#","maxLength":-1"#), "maxLength"),
        (string(r#","maxLength":1,"minLength":2"#), "minLength"),
        (string(r#","minimum":1"#), "minimum"),
        (string(r#","default":5"#), "avro"),
        (string(r#","default":"abc","maxLength":2"#), "default"),
        (string(r#","cli":{"long":"x"}"#), "cli"),
        (string(r#","cli":{"long":"name","short":"nn"}"#), "cli"),
        (string(r#","cli":{"long":"name","shrot":"n"}"#), "cli"),
        (string(r#","template":"{g}""#), "template"),
        (string(r#","template":"{f}""#), "template"),
        (string(r#","template":"{f""#), "template"),
        (string(r#","template":"plain""#), "template"),
        (of(r#"{"type":"string","maxLength":5}"#), "attribute"),
        (of(&format!(r#"{{"type":"enum","name":"E","symbols":["A","{}"]}}"#, "B".repeat(256))), "symbols"),
        (of(r#"{"type":"string","logicalType":"date"}"#), "logicalType"),
        (of(r#"{"type":"long","logicalType":"timestamp-milis"}"#), "logicalType"),
        (of(r#"{"type":"bytes","logicalType":"uuid"}"#), "logicalType"),
        (of(r#"{"type":"fixed","name":"F","size":15,"logicalType":"uuid"}"#), "logicalType"),
        (of(r#"{"type":"fixed","name":"F","size":11,"logicalType":"duration"}"#), "logicalType"),
        (of(r#"{"type":"bytes","logicalType":"decimal"}"#), "decimal"),
        (of(r#"{"type":"bytes","logicalType":"decimal","precision":66}"#), "decimal"),
        (of(r#"{"type":"bytes","logicalType":"decimal","precision":2,"scale":3}"#), "decimal"),
        (of(r#"{"type":"fixed","name":"F","size":2,"logicalType":"decimal","precision":5}"#), "decimal"),
        (of(r#"["string"]"#), "union"),
        (of(r#"{"type":"array","items":"null"}"#), "array"),
        (of(r#"{"type":"fixed","name":"F","size":0}"#), "fixed"),
        (of(r#""Unknown""#), "avro"),
        (
            of(r#"{"type":"record","name":"R","fields":[{"name":"g","type":"string","cli":{"long":"gg"}}]}"#),
            "attribute",
        ),
        (of(r#"{"type":"record","name":"R","aliases":["S"],"fields":[{"name":"g","type":"string"}]}"#), "rename"),
        (schema(&[r#""name":"f","type":["null","string"],"default":"x""#]), "default"),
        (schema(&[r#""name":"f","type":{"type":"int","logicalType":"time-millis"},"default":86400000"#]), "default"),
        (schema(&[r#""name":"f","type":"bytes","default":"€""#]), "default"),
        (schema(&[r#""name":"f","type":"long","minimum":1.5"#]), "minimum"),
        (schema(&[r#""name":"f","type":"int","minimum":2,"maximum":1"#]), "minimum"),
        (schema(&[]), "fields"),
        (r#"{"type":"array","items":"int"}"#.to_owned(), "record"),
        ("{".to_owned(), "json"),
        (r#"{"type":"record","name":"T","fields":[{"name":"f"}]}"#.to_owned(), "avro"),
    ];
    for (text, rule) in table {
        let found = rules(&[text]);
        assert!(found.iter().any(|(_, found)| found == rule), "{rule} expected, {found:?} found: {text}");
    }
}

#[test]
fn field_names_are_columns() {
    let long = "f".repeat(65);
    for name in ["id", "Version", "DELETED", "log_offset", "updated_at", long.as_str()] {
        let found = rules(&[&schema(&[&format!(r#""name":"{name}","type":"int""#)])]);
        assert_eq!(found, [(name.to_owned(), "name")]);
    }
    let twice = schema(&[r#""name":"a","type":"int""#, r#""name":"A","type":"int""#]);
    assert_eq!(rules(&[&twice]), [("A".to_owned(), "name")]);
    let flags =
        schema(&[r#""name":"a","type":"int","cli":{"long":"aa"}"#, r#""name":"b","type":"int","cli":{"long":"aa"}"#]);
    assert_eq!(rules(&[&flags]), [("b".to_owned(), "cli")]);
}

#[test]
fn faults_inside_of_nested_types_name_their_place() {
    let text = schema(&[r#""name":"a","type":{"type":"array","items":{"type":"record","name":"R","fields":[
        {"name":"b","type":{"type":"string","logicalType":"uid"},"maxlength":1}]}}"#]);
    assert_eq!(rules(&[&text]), [("a.b".to_owned(), "attribute"), ("a.b".to_owned(), "logicalType")]);
}

#[test]
fn all_faults_come_at_once_and_name_their_file() {
    let text = schema(&[r#""name":"id","type":"int","maxLength":1"#, r#""name":"b","type":"string","x":1"#]);
    let faults = compile(&[&text]).unwrap_err();
    let shown: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(faults.len(), 3, "{shown:#?}");
    assert!(shown.iter().all(|text| text.starts_with("schemas/things/v1.avsc field ")), "{shown:#?}");
}

fn one(path: &str, ids: &str) -> Vec<(String, &'static str)> {
    let text = schema(&[r#""name":"a","type":"int""#]);
    Catalog::compile([(path, text)], ids).unwrap_err().into_iter().map(|fault| (fault.file, fault.rule)).collect()
}

#[test]
fn files_are_named_by_entity_and_version() {
    for path in [
        "v1.avsc",
        "things/v0.avsc",
        "things/v01.avsc",
        "things/1.avsc",
        "things/v1.json",
        "a/things/v1.avsc",
        "things/v.avsc",
    ] {
        assert_eq!(one(path, ""), [(path.to_owned(), "path")]);
    }
    assert_eq!(one("docs/v1.avsc", ""), [("docs/v1.avsc".to_owned(), "name")]);
    assert_eq!(one("things/v2.avsc", ""), [("things/v2.avsc".to_owned(), "gap")]);
}

#[test]
fn a_file_without_a_pin_says_who_publishes_it() {
    let text = schema(&[r#""name":"a","type":"int""#]);
    let faults = Catalog::compile([("things/v1.avsc", &text)], "{}").unwrap_err();
    assert_eq!(faults[0].rule, "published");
    assert!(faults[0].detail.contains("`persister migrate` publishes it"), "{}", faults[0]);
}

#[test]
fn what_is_published_never_changes() {
    let v1 = schema(&[r#""name":"a","type":"int""#]);
    let v2 = schema(&[r#""name":"a","type":"long""#]);
    let pinned = pin([("things/v1.avsc", &v1)], "").unwrap();
    assert_eq!(pinned.added.len(), 1);

    // One space is a change, and a file that is gone is one as well.
    let changed =
        |files: &[(&str, &str)]| -> Vec<SchemaFault> { pin(files.iter().copied(), &pinned.text).unwrap_err() };
    assert_eq!(changed(&[("things/v1.avsc", &format!("{v1} "))])[0].rule, "published");
    assert!(changed(&[]).iter().any(|fault| fault.rule == "published" && fault.file == "things/v1.avsc"));

    let more = pin([("things/v2.avsc", &v2), ("things/v1.avsc", &v1), ("others/v1.avsc", &v1)], &pinned.text).unwrap();
    let added: Vec<_> = more.added.iter().map(|added| (added.file.as_str(), added.id.get())).collect();
    assert_eq!(added, [("others/v1.avsc", 2), ("things/v2.avsc", 3)]);
    assert!(more.text.starts_with(pinned.text.trim_end().trim_end_matches(['\n', '}'])), "{}", more.text);

    let again = pin([("things/v2.avsc", &v2), ("things/v1.avsc", &v1), ("others/v1.avsc", &v1)], &more.text).unwrap();
    assert_eq!((again.text.as_str(), again.added.len()), (more.text.as_str(), 0));
    // What the gate refuses is not published.
    assert!(pin([("things/v1.avsc", &v2), ("things/v2.avsc", &v1)], "").is_err());
}

#[test]
fn the_list_of_ids_is_checked_itself() {
    let sum = "0".repeat(64);
    for ids in [
        "[]".to_owned(),
        "{".to_owned(),
        format!(r#"{{"a/v1.avsc":{{"id":0,"sha256":"{sum}"}}}}"#),
        format!(r#"{{"a/v1.avsc":{{"id":1,"sha256":"{sum}"}},"a/v1.avsc":{{"id":2,"sha256":"{sum}"}}}}"#),
        format!(r#"{{"a/v1.avsc":{{"id":1,"sha256":"{sum}"}},"b/v1.avsc":{{"id":1,"sha256":"{sum}"}}}}"#),
        format!(r#"{{"a/v1.avsc":{{"id":1,"sha":"{sum}"}}}}"#),
    ] {
        let faults = Catalog::compile(Vec::<(&str, &str)>::new(), &ids).unwrap_err();
        assert_eq!(faults[0].file, "ids.json", "{ids}");
    }
}

#[test]
fn types_may_refer_to_each_other_across_namespaces() {
    let text = r#"{"type":"record","name":"Thing","namespace":"of.tests","fields":[
        {"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"]}},
        {"name":"f","type":["null","E"],"default":null},
        {"name":"r","type":{"type":"record","name":"R","namespace":"elsewhere","fields":[{"name":"u","type":"of.tests.E"}]}},
        {"name":"s","type":{"type":"array","items":"elsewhere.R"}}]}"#;
    let thing = entity(&[text]);
    let body = br#"{"e":"A","f":"B","r":{"u":"A"},"s":[{"u":"B"}]}"#;
    let record = thing.parse_json(body).unwrap().record;
    let mut datum = Vec::new();
    thing.write_avro(&record, &mut datum);
    assert_eq!(thing.read_avro(thing.newest_id(), &datum).unwrap(), record);
    assert_eq!(datum, [0, 2, 2, 0, 2, 2, 0]);
}

#[test]
fn a_record_may_hold_an_array_of_itself_and_no_array_of_nothing() {
    let tree = r#"{"type":"record","name":"Node","fields":[
        {"name":"children","type":{"type":"array","items":"Node"}},
        {"name":"inner","type":["null",{"type":"record","name":"Inner","fields":[
            {"name":"nodes","type":{"type":"array","items":{"type":"record","name":"Held","fields":[
                {"name":"node","type":"Node"}]}}}]}]}]}"#;
    let thing = entity(&[&schema(&[&format!(r#""name":"root","type":{tree}"#)])]);
    let leaf = r#"{"children":[],"inner":null}"#;
    let body = format!(r#"{{"root":{{"children":[{leaf},{leaf}],"inner":{{"nodes":[{{"node":{leaf}}}]}}}}}}"#);
    let record = thing.parse_json(body.as_bytes()).unwrap().record;
    let mut datum = Vec::new();
    thing.write_avro(&record, &mut datum);
    assert_eq!(thing.read_avro(thing.newest_id(), &datum).unwrap(), record);

    for nothing in ["[]", r#"[{"name":"n","type":"null"}]"#] {
        let items = format!(r#"{{"type":"record","name":"Nothing","fields":{nothing}}}"#);
        let text = schema(&[&format!(r#""name":"f","type":{{"type":"array","items":{items}}}"#)]);
        assert_eq!(rules(&[&text]), [("f".to_owned(), "array")], "{nothing}");
    }
}
