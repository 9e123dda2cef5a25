//! What the targets of `fuzz/` feed, and no build of the service has: the parts of the front that read what strangers send, and do
//! no I/O. A refusal is its status; what is accepted comes back as one would write it, so that it can be fed again.

use std::sync::Arc;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::test::TestRequest;
use actix_web::{HttpMessage, HttpRequest};
use cache::Precondition;
use record::{Entity, MergePatch, RecordId};

use super::Problem;
use super::asked::Asked;
use super::authenticate::bearer;
use super::conditions::{Conditions, Prefer, Sent};
use super::inflate::{Coding, media};
use super::tags::Tags;
use super::{body, patch, reads_many};
use crate::callers::Caller;

pub use super::bulk::fuzzing::{Cut, cut, deletion, refused_line};

/// Name and value of each header, as one would write it.
pub type Written = Vec<(&'static str, String)>;

/// The headers of these that could come in over a connection.
#[must_use]
pub fn headers<'h>(sent: impl IntoIterator<Item = (&'static str, &'h [u8])>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in sent {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    headers
}

fn status(problem: &Problem) -> u16 {
    problem.kind().status().as_u16()
}

fn request(headers: &HeaderMap) -> HttpRequest {
    let request = headers.iter().fold(TestRequest::post(), |request, header| request.append_header(header));
    let request = request.to_http_request();
    request.extensions_mut().insert(Arc::new(Caller::anybody()));
    request
}

/// What a write says beside the record.
///
/// # Errors
/// The status of its refusal.
pub fn conditions(headers: &HeaderMap, id: &RecordId) -> Result<Written, u16> {
    let request = request(headers);
    let conditions = Conditions::of(&request).map_err(|problem| status(&problem))?;
    let mut written = preferred(conditions.prefer);
    match conditions.precondition {
        None => {}
        Some(Precondition::Match(version)) => written.push(("if-match", format!("\"{version}\""))),
        Some(_) => written.push(("if-none-match", "*".to_owned())),
    }
    if let Some(key) = &conditions.key {
        written.push(("idempotency-key", format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""))));
    }
    let kept = conditions.idempotency(Sent::of(&request, b"{}"), "users", id);
    assert_eq!(kept.is_some(), conditions.key.is_some(), "a key and no other request is kept");
    let derived = conditions.derived_id("users").map(|id| RecordId::parse(&id.to_string()));
    assert!(derived.is_none_or(|id| id.is_ok()), "a derived id is an id");
    Ok(written)
}

/// What a read says beside the record.
///
/// # Errors
/// The status of its refusal.
pub fn asked(headers: &HeaderMap) -> Result<Written, u16> {
    let Asked { only, unless, least, wait } = Asked::of(headers).map_err(|problem| status(&problem))?;
    let mut written = preferred(Prefer { state: None, wait });
    written.extend(only.map(|only| ("if-match", format!("\"{only}\""))));
    match unless {
        Tags::Any => written.push((IF_NONE_MATCH_NAME, "*".to_owned())),
        Tags::These(tags) => written.extend(tags.iter().map(|tag| (IF_NONE_MATCH_NAME, format!("W/\"{tag}\"")))),
    }
    written.extend(least.map(|least| ("min-version", least.to_string())));
    Ok(written)
}

const IF_NONE_MATCH_NAME: &str = "if-none-match";

fn preferred(Prefer { state, wait }: Prefer) -> Written {
    let state = state.map(|state| ("prefer", format!("state={}", state.as_str())));
    let wait = wait.map(|wait| ("prefer", format!("wait={}", wait.as_secs())));
    state.into_iter().chain(wait).collect()
}

/// The key that is shown.
#[must_use]
pub fn shown(headers: &HeaderMap) -> Written {
    bearer(headers).map(|key| ("authorization", format!("Bearer {key}"))).into_iter().collect()
}

/// What the head says of the body.
///
/// # Errors
/// The status of its refusal.
pub fn of_body(headers: &HeaderMap) -> Result<Written, u16> {
    media(headers, &[body::JSON]).map_err(|problem| status(&problem))?;
    let coding = match Coding::of(headers).map_err(|problem| status(&problem))? {
        Coding::Identity => "identity",
        Coding::Gzip => "gzip",
        Coding::Zstd => "zstd",
    };
    Ok(vec![("content-type", body::JSON.to_owned()), ("content-encoding", coding.to_owned())])
}

/// The query that names these records, written again.
///
/// # Errors
/// The status of its refusal.
pub fn ids(query: &str, most: usize) -> Result<String, u16> {
    let ids = reads_many::ids(query, most).map_err(|problem| status(&problem))?;
    Ok(format!("ids={}", ids.iter().map(RecordId::as_str).collect::<Vec<_>>().join(",")))
}

/// The record as it is after a patch.
///
/// # Errors
/// The status of its refusal.
pub fn patched(entity: &Entity, json: &str, body: &[u8]) -> Result<String, u16> {
    let refused = |faults| status(&Problem::record(faults));
    let patch = MergePatch::parse(body).map_err(refused)?;
    let merged = patch::over(json, &patch.members).map_err(|problem| status(&problem))?;
    if patch.faults.is_empty() { record(entity, merged.as_bytes()) } else { Err(refused(patch.faults)) }
}

/// A body's record, as it is kept.
///
/// # Errors
/// The status of its refusal.
pub fn record(entity: &Entity, body: &[u8]) -> Result<String, u16> {
    let input = entity.parse_json(body).map_err(|faults| status(&Problem::record(faults)))?;
    let mut text = String::new();
    entity.write_json(&input.record, &mut text);
    Ok(text)
}
