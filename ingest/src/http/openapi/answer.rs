//! What is answered when something was done.

use serde_json::{Map, Value as Json, json};
use strum::IntoEnumIterator as _;

/// An entity tag of a record: its version in quotes.
pub(super) const TAG: &str = "^\"[0-9]{1,16}\"$";

/// The headers of answers, by name.
pub(super) fn headers() -> Json {
    let header = |about: &str, schema: Json| json!({"description": about, "schema": schema});
    let yes = |of: &str| json!({"type": "string", "enum": [of]});
    json!({
        "ETag": header("The record's version, in quotes: what `If-Match` takes.", json!({"type": "string", "pattern": TAG})),
        "Write-Behind-State": header("What the answer rests on.", state()),
        "Write-Behind-Source": header(
            "Where a read was answered from.",
            json!({"type": "string", "enum": sources()}),
        ),
        "Location": header("The record's path.", json!({"type": "string", "format": "uri-reference"})),
        "Idempotent-Replayed": header("The key was known: this is the answer to the first of these requests.", yes("true")),
        "Idempotency-Checked": header("The key was not looked up, or is forgotten.", yes("false")),
        "Preference-Applied": header("The preference that was granted.", json!({"type": "string", "pattern": "^state="})),
        "Retry-After": header("Seconds to wait before the next attempt.", json!({"type": "integer", "minimum": 0})),
        "WWW-Authenticate": header("How to show a key.", json!({"type": "string"})),
    })
}

fn sources() -> Vec<&'static str> {
    crate::read::Source::iter().map(crate::read::Source::as_str).collect()
}

/// The states of a record.
pub(super) fn state() -> Json {
    use cache::State;
    let states = [State::Cached, State::Logged, State::Persisted].map(State::as_str);
    json!({"type": "string", "enum": states})
}

pub(super) fn version() -> Json {
    json!({"type": "integer", "format": "int64", "minimum": 0, "maximum": 9_007_199_254_740_991_u64})
}

/// References to headers, for an answer that has some.
pub(super) fn with(names: &[&str]) -> Json {
    let reference = |name: &&str| ((*name).to_owned(), json!({"$ref": format!("#/components/headers/{name}")}));
    Json::Object(names.iter().map(reference).collect::<Map<_, _>>())
}

/// An accepted write.
pub(super) fn written(about: &str, located: bool) -> Json {
    let headers: &[&str] =
        &["ETag", "Write-Behind-State", "Idempotent-Replayed", "Idempotency-Checked", "Preference-Applied", "Location"];
    let headers = headers.split_last().filter(|_| !located).map_or(headers, |(_, others)| others);
    json!({
        "description": about,
        "headers": with(headers),
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/written"}}},
    })
}
