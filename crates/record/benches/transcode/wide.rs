//! An entity of fifty fields: what real tables look like. Texts, numbers, times and decimals, some of them null.

/// A row is a field: its name, its type in the plain struct and in Avro, and its value in JSON.
macro_rules! wide {
    ($($name:ident: $plain:ty, $avro:literal, $json:literal;)*) => {
        #[derive(serde::Deserialize)]
        #[expect(dead_code, reason = "made, and not looked at")]
        pub(crate) struct Wide {
            $($name: $plain,)*
        }

        const FIELDS: &[(&str, &str, &str)] = &[$((stringify!($name), $avro, $json)),*];
    };
}

wide! {
    first_name: String, r#""string""#, r#""Johannes""#;
    last_name: String, r#""string""#, r#""Doe-Meyer""#;
    street: String, r#""string""#, r#""Long Winding Road 1234""#;
    city: String, r#""string""#, r#""Springfield""#;
    email: String, r#""string""#, r#""johannes.doe@example.org""#;
    phone: String, r#""string""#, r#""+49 30 1234567""#;
    occupation: String, r#""string""#, r#""Engineer for turbines""#;
    note: String, r#""string""#, r#""called twice about it, \"urgent\"""#;
    birthplace: String, r#""string""#, r#""Zürich""#;
    currency: String, r#""string""#, r#""EUR""#;
    tag_0: Option<String>, r#"["null", "string"]"#, r#""tag number 0 of this record""#;
    tag_1: Option<String>, r#"["null", "string"]"#, r#""tag number 1 of this record""#;
    tag_2: Option<String>, r#"["null", "string"]"#, r#"null"#;
    tag_3: Option<String>, r#"["null", "string"]"#, r#""tag number 3 of this record""#;
    tag_4: Option<String>, r#"["null", "string"]"#, r#""tag number 4 of this record""#;
    tag_5: Option<String>, r#"["null", "string"]"#, r#"null"#;
    tag_6: Option<String>, r#"["null", "string"]"#, r#""tag number 6 of this record""#;
    tag_7: Option<String>, r#"["null", "string"]"#, r#""tag number 7 of this record""#;
    tag_8: Option<String>, r#"["null", "string"]"#, r#"null"#;
    tag_9: Option<String>, r#"["null", "string"]"#, r#""tag number 9 of this record""#;
    count_0: i32, r#""int""#, r#"1"#;
    count_1: i32, r#""int""#, r#"7"#;
    count_2: i32, r#""int""#, r#"49"#;
    count_3: i32, r#""int""#, r#"343"#;
    count_4: i32, r#""int""#, r#"2401"#;
    count_5: i32, r#""int""#, r#"16807"#;
    count_6: i32, r#""int""#, r#"117649"#;
    count_7: i32, r#""int""#, r#"823543"#;
    total_0: Option<i64>, r#"["null", "long"]"#, r#"1234567890123"#;
    total_1: Option<i64>, r#"["null", "long"]"#, r#"1234567890900"#;
    total_2: Option<i64>, r#"["null", "long"]"#, r#"1234567891677"#;
    total_3: Option<i64>, r#"["null", "long"]"#, r#"null"#;
    total_4: Option<i64>, r#"["null", "long"]"#, r#"1234567893231"#;
    share_0: f64, r#""double""#, r#"98.25"#;
    share_1: f64, r#""double""#, r#"0.1"#;
    share_2: f64, r#""double""#, r#"1234.5678"#;
    share_3: f64, r#""double""#, r#"3.5"#;
    share_4: f64, r#""double""#, r#"0.0078125"#;
    flag_0: bool, r#""boolean""#, r#"false"#;
    flag_1: bool, r#""boolean""#, r#"true"#;
    flag_2: bool, r#""boolean""#, r#"false"#;
    flag_3: bool, r#""boolean""#, r#"true"#;
    born: String, r#"{"type": "int", "logicalType": "date"}"#, r#""1984-02-29""#;
    created: String, r#"{"type": "long", "logicalType": "timestamp-millis"}"#, r#""2026-11-24T12:34:56.789Z""#;
    changed: String, r#"{"type": "long", "logicalType": "timestamp-millis"}"#, r#""2026-11-24T12:34:56.789Z""#;
    seen: Option<String>, r#"["null", {"type": "long", "logicalType": "timestamp-micros"}]"#, r#""2026-11-24T12:34:56.789012Z""#;
    balance: String, r#"{"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2}"#, r#""-1234567.89""#;
    limit: Option<String>, r#"["null", {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2}]"#, r#""5000.00""#;
    account: String, r#"{"type": "string", "logicalType": "uuid"}"#, r#""123e4567-e89b-12d3-a456-426614174000""#;
    state: String, r#"{"type": "enum", "name": "State", "symbols": ["OPEN", "HELD", "CLOSED"]}"#, r#""HELD""#;
}

pub(crate) fn schema() -> String {
    let fields: Vec<_> =
        FIELDS.iter().map(|(name, avro, _)| format!(r#"{{"name": "{name}", "type": {avro}}}"#)).collect();
    format!(r#"{{"type": "record", "name": "Wide", "fields": [{}]}}"#, fields.join(", "))
}

pub(crate) fn body() -> String {
    let members: Vec<_> = FIELDS.iter().map(|(name, _, json)| format!(r#""{name}":{json}"#)).collect();
    format!("{{{}}}", members.join(","))
}
