//! What is answered when something was done.

use serde_json::{Map, Value as Json, json};
use strum::IntoEnumIterator as _;

/// An entity tag of a record: its version in quotes, which is below 2^53; a pattern that ends at 2^53 itself would be unreadable, and
/// so this one ends some hours of the year 2255 before.
pub(super) const TAG: &str = "^\"([0-9]{1,15}|[0-8][0-9]{15}|900[0-6][0-9]{12})\"$";

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
        "Preference-Applied": header("The preference that was granted.", json!({"type": "string", "pattern": "^(state|wait)="})),
        "Link": header("With `rel=\"status\"`, the path that tells what became of the write.", json!({"type": "string"})),
        "RateLimit": header("What is left of the caller's rate.", json!({"type": "string"})),
        "RateLimit-Policy": header("The caller's rate.", json!({"type": "string"})),
        "Accept-Encoding": header("How a body may be packed.", json!({"type": "string"})),
        "X-Request-Id": {
            "description": "The request's name: what the client called it, else a new one. The service's log has it where the request failed.",
            "required": true,
            "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
        },
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
    let headers: &[&str] = &[
        "ETag",
        "Write-Behind-State",
        "Link",
        "Idempotent-Replayed",
        "Idempotency-Checked",
        "Preference-Applied",
        "Location",
    ];
    let headers = headers.split_last().filter(|_| !located).map_or(headers, |(_, others)| others);
    json!({
        "description": about,
        "headers": with(headers),
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/written"}}},
    })
}

/// The record has not changed.
pub(super) fn unchanged() -> Json {
    json!({"description": "The record has a version that was named.", "headers": with(&["ETag", "Write-Behind-State", "Write-Behind-Source"])})
}

/// What became of a write.
pub(super) fn fate() -> Json {
    let time = |about: &str| json!({"type": "string", "format": "date-time", "description": about});
    let number = |about: &str| json!({"type": "integer", "minimum": 0, "description": about});
    let object = |about: &str, properties: Json| {
        let names: Vec<_> = properties.as_object().into_iter().flat_map(Map::keys).cloned().collect();
        json!({"type": "object", "description": about, "properties": properties, "required": names, "additionalProperties": false})
    };
    let by = object("What stands over it, and how far that has come.", json!({"version": version(), "state": state()}));
    let dead = object(
        "Why the table refuses it, and where it lies.",
        json!({
            "reason": {"type": "string"}, "topic": {"type": "string"}, "partition": number("Of that topic."),
            "offset": number("In that partition."), "at": time("When it was moved there."),
        }),
    );
    json!({
        "type": "object",
        "description": "What became of a write. `superseded` may still become another: what is newer may be refused by the table.",
        "properties": {
            "id": record::id_schema(),
            "version": version(),
            "fate": {"type": "string", "enum": ["cached", "logged", "persisted", "superseded", "dead"]},
            "written_at": time("When it was taken."),
            "logged_at": time("When the topic acknowledged it."),
            "partition": number("Of the topic."),
            "offset": number("In that partition."),
            "persisted_at": time("When the table took it."),
            "by": by,
            "dead": dead,
        },
        "required": ["id", "version", "fate", "written_at"],
        "additionalProperties": false,
    })
}
