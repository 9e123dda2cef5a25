//! Problems as the document shows them: one schema, an example of each, and which may come of an operation.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use record::{FaultCode, id_schema};
use serde_json::{Map, Value as Json, json};
use strum::IntoEnumIterator as _;

use super::answer::{fate, state, version, with};
use crate::http::ProblemKind as Kind;

/// The schemas that all entities share.
pub(super) fn schemas() -> Map<String, Json> {
    let codes: Vec<_> = FaultCode::iter().map(FaultCode::as_str).collect();
    let fault = json!({
        "type": "object",
        "properties": {
            "pointer": {"type": "string", "description": "Where, as a JSON pointer."},
            "code": {"type": "string", "enum": codes},
            "detail": {"type": "string"},
        },
        "required": ["pointer", "code", "detail"],
    });
    let kinds: Vec<_> = Kind::iter().map(Kind::uri).collect();
    let problem = json!({
        "type": "object",
        "description": "Why something was not done (RFC 9457).",
        "properties": {
            "type": {"type": "string", "enum": kinds, "description": "A name that keeps its meaning."},
            "title": {"type": "string"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string", "description": "What is the matter this time, and what to do."},
            "instance": {
                "type": "string", "format": "uri", "pattern": "^urn:write-behind:request:",
                "description": "The request, by its `X-Request-Id`; what a URN has no room for is escaped with %.",
            },
            "errors": {"type": "array", "items": fault, "description": "Every fault of the body."},
            "id": id_schema(),
            "version": version(),
            "reason": {"type": "string", "description": "Of a dead letter: why the table refuses it."},
            "fate": {"type": "string", "description": "Of a dead letter: the path that tells what became of it."},
        },
        "required": ["type", "title", "status", "detail"],
    });
    let written = json!({
        "type": "object",
        "description": "A write that will not be lost.",
        "properties": {"id": id_schema(), "version": version(), "state": state()},
        "required": ["id", "version", "state"],
        "additionalProperties": false,
    });
    Map::from_iter(
        [("problem", problem), ("written", written), ("fate", fate())].map(|(name, schema)| (name.to_owned(), schema)),
    )
}

/// One of each kind.
pub(super) fn examples() -> Json {
    let one = |kind: Kind| {
        let help = kind.help();
        let value = json!({
            "type": kind.uri(),
            "title": kind.title(),
            "status": kind.status().as_u16(),
            "detail": help.remedy,
        });
        let (again, written) = (help.again.as_str(), help.written.as_str());
        let about = format!("{} Sent again as it is: {again}. Written: {written}.", help.when);
        (kind.as_str().to_owned(), json!({"summary": kind.title(), "description": about, "value": value}))
    };
    Json::Object(Kind::iter().map(one).collect())
}

pub(super) fn by_status(kinds: Vec<Kind>) -> BTreeMap<StatusCode, Vec<Kind>> {
    let mut by_status: BTreeMap<_, Vec<Kind>> = BTreeMap::new();
    kinds.into_iter().for_each(|kind| by_status.entry(kind.status()).or_default().push(kind));
    by_status
}

/// The answer of one status, whichever of these kinds it is.
pub(super) fn answer(status: StatusCode, kinds: &[Kind], bodiless: bool) -> Json {
    let says: Vec<_> = kinds.iter().map(|kind| format!("`{}`: {}", kind.as_str(), kind.help().when)).collect();
    let headers: &[&str] = match status {
        StatusCode::UNAUTHORIZED => &["WWW-Authenticate"],
        StatusCode::PRECONDITION_FAILED => &["ETag"],
        StatusCode::UNSUPPORTED_MEDIA_TYPE => &["Accept-Encoding"],
        StatusCode::SERVICE_UNAVAILABLE => &["Retry-After"],
        StatusCode::TOO_MANY_REQUESTS => &["Retry-After", "RateLimit", "RateLimit-Policy"],
        StatusCode::GATEWAY_TIMEOUT => &["Idempotency-Checked"],
        _ => &[],
    };
    let mut answer = json!({"description": says.join("\n\n")});
    if !headers.is_empty() {
        answer["headers"] = with(headers);
    }
    if !bodiless {
        let example = |kind: &Kind| {
            let name = kind.as_str();
            (name.to_owned(), json!({"$ref": format!("#/components/examples/{name}")}))
        };
        let examples: Map<_, _> = kinds.iter().map(example).collect();
        answer["content"] = json!({
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/problem"}, "examples": examples},
        });
    }
    answer
}
