//! What apache-avro silently ignores: attributes with a typo, a logical type on the wrong type or in the wrong place.
//!
//! Walks the schema as plain JSON. Must never accept an attribute that nobody acts on.

use serde_json::{Map, Value as Json};

use super::Report;

/// What Avro and we know of a field.
const OF_A_FIELD: [&str; 11] =
    ["name", "type", "doc", "default", "order", "minLength", "maxLength", "minimum", "maximum", "cli", "template"];
/// Code generators leave these; they mean nothing to us and harm nobody.
const OF_GENERATORS: [&str; 2] = ["avro.java.string", "java-class"];

/// Which logical type stands on which type.
const LOGICAL: [(&str, &str); 15] = [
    ("bytes", "decimal"),
    ("fixed", "decimal"),
    ("bytes", "big-decimal"),
    ("string", "uuid"),
    ("fixed", "uuid"),
    ("int", "date"),
    ("int", "time-millis"),
    ("long", "time-micros"),
    ("long", "timestamp-millis"),
    ("long", "timestamp-micros"),
    ("long", "timestamp-nanos"),
    ("long", "local-timestamp-millis"),
    ("long", "local-timestamp-micros"),
    ("long", "local-timestamp-nanos"),
    ("fixed", "duration"),
];

pub(super) fn check(raw: &Json, report: &mut Report<'_>) {
    check_type(raw, "", report);
}

fn check_type(raw: &Json, path: &str, report: &mut Report<'_>) {
    match raw {
        Json::Array(branches) => {
            if branches.len() < 2 {
                report.push(path, "union", "a union has at least two types; write the type itself");
            }
            for branch in branches {
                check_type(branch, path, report);
            }
        }
        Json::Object(object) => match object.get("type") {
            Some(Json::String(base)) => check_object(base, object, path, report),
            Some(inner) => check_type(inner, path, report),
            None => {}
        },
        _ => {}
    }
}

fn check_object(base: &str, object: &Map<String, Json>, path: &str, report: &mut Report<'_>) {
    let own: &[&str] = match base {
        "record" => &["name", "namespace", "doc", "fields"],
        "enum" => &["name", "namespace", "doc", "symbols", "default"],
        "fixed" => &["name", "namespace", "doc", "size", "logicalType", "precision", "scale"],
        "array" => &["items"],
        "map" => &["values"],
        _ => &["logicalType", "precision", "scale"],
    };
    let known = |key: &str| key == "type" || own.contains(&key) || OF_GENERATORS.contains(&key);
    unknown_attributes(object, path, known, report);
    check_logical(base, object, path, report);
    for inner in [object.get("items"), object.get("values")].into_iter().flatten() {
        check_type(inner, path, report);
    }
    for field in object.get("fields").and_then(Json::as_array).into_iter().flatten() {
        check_field(field, path, report);
    }
}

fn check_field(raw: &Json, path: &str, report: &mut Report<'_>) {
    let Some(object) = raw.as_object() else { return };
    let name = object.get("name").and_then(Json::as_str).unwrap_or("");
    let inner = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    unknown_attributes(object, &inner, |key| OF_A_FIELD.contains(&key), report);
    if !path.is_empty() {
        for key in ["cli", "template"].into_iter().filter(|key| object.contains_key(*key)) {
            report.push(&inner, "attribute", format!("`{key}` is for fields of the entity itself"));
        }
    }
    if let Some(inner_type) = object.get("type") {
        check_type(inner_type, &inner, report);
    }
}

fn unknown_attributes(object: &Map<String, Json>, path: &str, known: impl Fn(&str) -> bool, report: &mut Report<'_>) {
    for key in object.keys().filter(|key| !known(key)) {
        match key.as_str() {
            "aliases" => report.push(path, "rename", "aliases are not supported; add a field and keep the old one"),
            "logicalType" => report.push(
                path,
                "attribute",
                "`logicalType` stands inside of the type: {\"type\": {\"type\": …, \"logicalType\": …}}",
            ),
            _ => report.push(
                path,
                "attribute",
                format!("`{key}` is no attribute that means anything here; is it misspelt?"),
            ),
        }
    }
}

fn check_logical(base: &str, object: &Map<String, Json>, path: &str, report: &mut Report<'_>) {
    let Some(logical) = object.get("logicalType").and_then(Json::as_str) else {
        for key in ["precision", "scale"].into_iter().filter(|key| object.contains_key(*key)) {
            report.push(path, "attribute", format!("`{key}` is for the logical type decimal"));
        }
        return;
    };
    if !LOGICAL.contains(&(base, logical)) {
        report.push(path, "logicalType", format!("`{logical}` does not stand on `{base}`; Avro would ignore it"));
    } else if logical == "decimal" {
        check_decimal(object, path, report);
    } else if base == "fixed" {
        let size = if logical == "uuid" { 16 } else { 12 };
        if object.get("size").and_then(Json::as_u64) != Some(size) {
            report.push(path, "logicalType", format!("`{logical}` is a fixed of {size} bytes"));
        }
    }
}

/// MySQL's DECIMAL bounds, and whether every number of the precision fits into the bytes.
fn check_decimal(object: &Map<String, Json>, path: &str, report: &mut Report<'_>) {
    let precision = object.get("precision").and_then(Json::as_u64).unwrap_or(0);
    let scale = object.get("scale").map_or(Some(0), Json::as_u64);
    if !(1..=65).contains(&precision) || scale.is_none_or(|scale| scale > 30 || scale > precision) {
        report.push(path, "decimal", "precision is 1 to 65, scale 0 to 30 and at most the precision");
    }
    if let Some(size) = object.get("size").and_then(Json::as_u64) {
        let digits = size.saturating_mul(8).saturating_sub(1).saturating_mul(30_103) / 100_000;
        if digits < precision {
            report.push(path, "decimal", format!("{size} bytes hold {digits} digits, not {precision}"));
        }
    }
}
