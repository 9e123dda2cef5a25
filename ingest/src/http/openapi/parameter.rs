//! What a request may say beside its body.

use record::id_schema;
use serde_json::{Value as Json, json};

use super::answer::{TAG, version};

/// All of them, by name.
pub(super) fn all(ids_most: usize) -> Json {
    let header = |name: &str, about: &str, schema: Json| json!({"name": name, "in": "header", "description": about, "schema": schema});
    let tag = json!({"type": "string", "pattern": TAG, "example": "\"1795534722374816\""});
    json!({
        "id": {"name": "id", "in": "path", "required": true, "description": "The record's id.", "schema": id_schema()},
        "version": {
            "name": "version", "in": "path", "required": true, "description": "The version of a write, as it was answered.",
            "schema": version(),
        },
        "ids": {
            "name": "ids", "in": "query", "required": true, "style": "form", "explode": false,
            "description": "The ids of the records, with commas between.",
            "schema": {"type": "array", "minItems": 1, "maxItems": ids_most, "items": id_schema()},
        },
        "IfNoneMatch": header(
            "If-None-Match", "304 if the record has one of these versions, or at all (`*`).",
            json!({"type": "string", "anyOf": [{"enum": ["*"]}, {"pattern": TAG}]}),
        ),
        "IfNoneMatchTag": header(
            "If-None-Match", "304 if the document still has this `ETag`.",
            json!({"type": "string", "anyOf": [{"enum": ["*"]}, {"pattern": "^\"[0-9a-f]{32}\"$"}]}),
        ),
        "IfMatchRead": header("If-Match", "Only if the record has this version: its `ETag`. Else 412.", tag.clone()),
        "MinVersion": header(
            "Min-Version",
            "Never answer an older version than this one: wait for it, then 503. Bare, or in quotes as the `ETag` has it.",
            json!({"type": "string", "anyOf": [{"pattern": TAG}, {"pattern": "^[0-9]{1,15}$"}]}),
        ),
        "IdempotencyKey": header(
            "Idempotency-Key",
            "Makes it safe to send the request again: the same key with the same request is answered with the version of the first, \
             and `Idempotent-Replayed: true`; with another request 422. In quotes or bare; at most 255 bytes.",
            json!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!#-+./0-9:-~-]+$"}),
        ),
        "IfMatch": header("If-Match", "Write only if the record has this version: its `ETag`. Else 412.", tag),
        "IfNoneMatchAny": header(
            "If-None-Match", "`*`: write only if there is no such record. Else 412.", json!({"type": "string", "enum": ["*"]}),
        ),
        "Prefer": header(
            "Prefer",
            "`state=logged`: 503 rather than an answer that rests on the cache alone. `state=persisted, wait=5`: wait so many seconds \
             until the database has it. What is granted stands in `Preference-Applied`.",
            json!({"type": "string", "examples": ["state=logged", "state=persisted, wait=5"]}),
        ),
        "XRequestId": header(
            "X-Request-Id",
            "What the client calls this request: 1 to 128 visible characters of ASCII. Left out, or anything else, and it is given a name.",
            json!({"type": "string"}),
        ),
        "traceparent": header(
            "traceparent",
            "Trace context (W3C), which travels with the event. One that is none is nobody's fault.",
            json!({"type": "string"}),
        ),
    })
}
