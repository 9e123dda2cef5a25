//! Errors as RFC 9457 problem details. A closed set, each with a stable type; never a value of the client's, never an
//! inside of ours.

mod help;
mod kind;
mod refused;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, Responder};
use record::{Fault, FaultCode, RecordId, Version, VersionFault};
use serde_json::{Map, Value, json};
use table::Letter;

pub(crate) use kind::Kind;

use super::fate;
use crate::callers::Right;
use crate::fate::Untold;
use crate::intent::Refusal;

/// When to try again where what is away may be back, or room free, at any moment.
const RETRY_AFTER_SECONDS: u32 = 1;

/// What a client is told when its request was not done.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    kind: Kind,
    detail: Box<str>,
    errors: Box<[Fault]>,
    allow: Option<&'static str>,
    /// How to show who one is.
    challenge: Option<Challenge>,
    /// Whose write it was, where that must be known to send it again.
    id: Option<Box<RecordId>>,
    /// The version that the record has, or that the write has if it happened.
    version: Option<Version>,
    /// Of a dead letter: why it is one, and where that is told.
    dead: Option<Box<Dead>>,
    /// When to try again, in seconds, where that is known.
    retry_after: Option<u32>,
    /// There was a key, and nobody has looked it up or kept it.
    key_unchecked: bool,
}

#[derive(Clone, Debug)]
struct Dead {
    reason: String,
    fate: String,
}

/// What is asked for where no known key was shown (RFC 6750).
#[derive(Clone, Copy, Debug)]
enum Challenge {
    Missing,
    Unknown,
}

impl Challenge {
    fn as_str(self) -> &'static str {
        match self {
            Self::Missing => r#"Bearer realm="write-behind""#,
            Self::Unknown => r#"Bearer realm="write-behind", error="invalid_token""#,
        }
    }
}

impl Problem {
    fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let detail = detail.into().into_boxed_str();
        Self {
            kind,
            detail,
            errors: Box::default(),
            allow: None,
            challenge: None,
            id: None,
            version: None,
            dead: None,
            retry_after: None,
            key_unchecked: false,
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn record(errors: Vec<Fault>) -> Self {
        let malformed = errors.iter().any(|fault| fault.code == FaultCode::Syntax);
        let problem = if malformed {
            Self::new(Kind::MalformedJson, "correct the body as `errors` says")
        } else {
            let detail = format!("{} fault(s), each with its place in `errors`; nothing was written", errors.len());
            Self::new(Kind::InvalidRecord, detail)
        };
        Self { errors: errors.into(), ..problem }
    }

    /// The faults that were found first, and those of the record that came of it all the same.
    pub(crate) fn record_behind(first: &[Fault], record: Option<Self>) -> Self {
        let record = record.filter(|problem| problem.kind == Kind::InvalidRecord);
        let errors = record.map(|problem| problem.errors).unwrap_or_default();
        Self::record(first.iter().cloned().chain(errors).collect())
    }

    pub(crate) fn event_too_large(most: usize) -> Self {
        let detail =
            format!("as an event it would have more than {most} bytes (--event-bytes-most); nothing was written");
        Self::new(Kind::EventTooLarge, detail)
    }

    /// A write that was not accepted. Where it may have happened all the same, the answer names its id, and its version where
    /// that is known.
    pub(crate) fn write(refusal: Refusal, id: &RecordId) -> Self {
        let unknown = matches!(refusal, Refusal::OutcomeUnknown(_) | Refusal::KeyNotKept(_));
        Self { id: unknown.then(|| Box::new(id.clone())), ..Self::from(refusal) }
    }

    pub(crate) fn condition(detail: impl Into<String>) -> Self {
        Self::new(Kind::InvalidCondition, detail)
    }

    /// `shown`: there was something in its header, but no key that is known.
    pub(crate) fn unauthenticated(shown: bool) -> Self {
        let (challenge, detail) = if shown {
            (Challenge::Unknown, "this key is not known, or not any more")
        } else {
            (Challenge::Missing, "send an API key: Authorization: Bearer wb_…")
        };
        Self { challenge: Some(challenge), ..Self::new(Kind::Unauthenticated, detail) }
    }

    pub(crate) fn forbidden(right: Right) -> Self {
        Self::new(Kind::Forbidden, format!("the key does not open this entity to {}", right.as_str()))
    }

    /// A write that the table refused, after it was accepted.
    pub(crate) fn dead_lettered((entity, id, version): (&str, &RecordId, Version), letter: &Letter) -> Self {
        let detail = "the write was accepted and the database can never hold it: the record is what it was before. It is kept among \
                      the dead letters, from where an operator may bring it back; correct it and write again";
        let dead = Dead { reason: letter.reason.clone(), fate: fate::address(entity, id, version) };
        let problem = Self::new(Kind::DeadLettered, detail);
        Self { id: Some(Box::new(id.clone())), version: Some(version), dead: Some(Box::new(dead)), ..problem }
    }

    /// `Min-Version`, in vain.
    pub(crate) fn not_there_yet() -> Self {
        let detail =
            "what is there is older than Min-Version, and nothing newer came in time; try again after the time given";
        Self::new(Kind::NotThereYet, detail)
    }

    /// Nothing is said of a write.
    pub(crate) fn untold(untold: Untold) -> Self {
        let (kind, detail) = match untold {
            Untold::Unknown => (
                Kind::UnknownWrite,
                "nothing is known of it: it was never made, or nothing is left of its record, or the cache was lost with it before \
                 the topic had it",
            ),
            Untold::CacheAway => (Kind::CacheAway, "what became of the write cannot be told without it; try again"),
            Untold::TableAway => (Kind::DatabaseAway, "what became of the write cannot be told without it; try again"),
            Untold::Incomplete => (
                Kind::CacheIncomplete,
                "it has lost something that may have been this write; try again until all that was on its way is in the database",
            ),
            Untold::NotThereYet => (
                Kind::NotThereYet,
                "the write may be on its way to the database, past the cache; try again after the time given",
            ),
        };
        Self::new(kind, detail)
    }

    pub(crate) fn version(fault: VersionFault) -> Self {
        Self::new(Kind::UnknownWrite, fault.to_string())
    }

    pub(crate) fn contended() -> Self {
        let detail = "others wrote the record every time between reading it and writing what the patch makes of it; nothing was \
                      written, try again after the time given";
        Self::new(Kind::Contended, detail)
    }

    pub(crate) fn newer_schema() -> Self {
        let detail = "it was written with a schema that this instance does not have yet, and a patch would lose what is new in it; \
                      nothing was written, try again after the time given";
        Self::new(Kind::NewerSchema, detail)
    }

    pub(crate) fn unreadable() -> Self {
        Self::new(Kind::UnreadableRecord, "it does not fit its schema")
    }

    pub(crate) fn id(detail: impl Into<String>) -> Self {
        Self::new(Kind::InvalidId, detail)
    }

    pub(crate) fn ids_differ() -> Self {
        let detail = "leave it out, or repeat the path's".to_owned();
        let fault = Fault { pointer: "/id".to_owned(), code: FaultCode::Format, detail };
        Self { errors: Box::new([fault]), ..Self::new(Kind::IdsDiffer, "the path names the record") }
    }

    pub(crate) fn unknown_entity(known: &[&str]) -> Self {
        Self::new(Kind::UnknownEntity, format!("there is no such entity; known are: {}", known.join(", ")))
    }

    /// To a read with `If-Match`.
    pub(crate) fn other_version(version: Version) -> Self {
        Self { version: Some(version), ..Self::new(Kind::PreconditionFailed, "the record has the version given here") }
    }

    /// With the version at which it was deleted, where that is known.
    pub(crate) fn not_found(deleted: Option<Version>) -> Self {
        Self { version: deleted, ..Self::new(Kind::NotFound, "there is no such record") }
    }

    pub(crate) fn no_route() -> Self {
        Self::new(Kind::NoRoute, "/openapi.json lists the paths that there are, /docs shows them")
    }

    /// For a resource's other methods.
    pub(crate) fn method(allow: &'static str) -> Self {
        Self { allow: Some(allow), ..Self::new(Kind::MethodNotAllowed, format!("allowed here: {allow}")) }
    }

    pub(crate) fn media_type(taken: &str) -> Self {
        Self::new(Kind::UnsupportedMediaType, format!("send Content-Type: {taken}"))
    }

    pub(crate) fn encoding() -> Self {
        Self::new(Kind::UnsupportedEncoding, "send the body with one Content-Encoding of gzip and zstd, or with none")
    }

    pub(crate) fn too_large(most: usize) -> Self {
        Self::new(Kind::BodyTooLarge, format!("the most is {most} bytes (--body-bytes-most)"))
    }

    pub(crate) fn bodies_full() -> Self {
        let detail = "the bodies of the requests in progress fill their room (--bodies-bytes-most); nothing was written, try \
                      again after the time given";
        Self::new(Kind::BodiesFull, detail)
    }

    pub(crate) fn answers_full() -> Self {
        let detail = "the records fill the room of what is in progress (--bodies-bytes-most); ask for fewer, or again after the time \
                      given";
        Self::new(Kind::BodiesFull, detail)
    }

    /// There are as many requests in progress as there may be.
    pub(crate) fn crowded() -> Self {
        let detail = "as many requests are in progress as may be (--in-flight-most); nothing was done, try again after the time given";
        Self::new(Kind::Busy, detail)
    }

    pub(crate) fn stopping() -> Self {
        let detail = "this line was not written, and none that has no result: send them in another request";
        Self::new(Kind::Stopping, detail)
    }

    pub(crate) fn rate_limited(seconds: u32) -> Self {
        let detail = "the caller's rate is used up; nothing was done, try again after the time given";
        Self { retry_after: Some(seconds), ..Self::new(Kind::RateLimited, detail) }
    }

    /// `why`: as the Fetch standard's words have it.
    pub(crate) fn cross_origin(why: String) -> Self {
        Self::new(Kind::CrossOriginRefused, why)
    }

    pub(crate) fn slow_body() -> Self {
        Self::new(Kind::SlowBody, "send the body without pauses, or a smaller one")
    }

    pub(crate) fn internal() -> Self {
        let detail = "this service has broken off, and its log says more; a write may have happened, or may still happen: send it again \
                      with the same id and the same key or precondition";
        Self::new(Kind::InternalError, detail)
    }

    /// Of a bulk whose results end before its lines.
    pub(crate) fn cut_off(answered: u64) -> Self {
        let detail = format!(
            "this service has broken off behind line {answered}: nothing is told of the lines from here on, each may have been written, \
             or may still be. Send all lines again: with the same Idempotency-Key none is written twice"
        );
        Self::new(Kind::InternalError, detail)
    }

    pub(crate) fn broken_body() -> Self {
        Self::new(Kind::BrokenBody, "the connection or its framing broke, or it is not what Content-Encoding says")
    }

    pub(crate) fn bulk_too_large(most: u64) -> Self {
        let detail = format!(
            "the most is {most} bytes for all lines (--bulk-bytes-most); nothing was written from this line on: send these \
             lines in another request"
        );
        Self::new(Kind::BulkTooLarge, detail)
    }

    pub(crate) fn empty_line() -> Self {
        Self::new(Kind::MalformedJson, "the line is empty: leave it out, or send the record that belongs there")
    }

    pub(crate) fn query(detail: impl Into<String>) -> Self {
        Self::new(Kind::InvalidQuery, detail)
    }

    /// The members of the problem, with its status among them.
    pub(crate) fn members(&self) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("type".to_owned(), self.kind.uri().into());
        body.insert("title".to_owned(), self.kind.title().into());
        body.insert("status".to_owned(), self.kind.status().as_u16().into());
        body.insert("detail".to_owned(), (*self.detail).into());
        if !self.errors.is_empty() {
            let fault = |f: &Fault| json!({ "pointer": f.pointer, "code": f.code.as_str(), "detail": f.detail });
            body.insert("errors".to_owned(), self.errors.iter().map(fault).collect());
        }
        if let Some(id) = &self.id {
            body.insert("id".to_owned(), id.as_str().into());
        }
        if let Some(dead) = &self.dead {
            body.insert("reason".to_owned(), (*dead.reason).into());
            body.insert("fate".to_owned(), (*dead.fate).into());
        }
        if let Some(version) = self.version {
            body.insert("version".to_owned(), version.get().into());
        }
        body
    }

    pub(crate) fn response(&self) -> HttpResponse {
        let status = self.kind.status();
        let mut response = HttpResponse::build(status);
        response.content_type("application/problem+json");
        let soon = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER_SECONDS);
        if let Some(seconds) = self.retry_after.or(soon) {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        if let Some(version) = self.version.filter(|_| status == StatusCode::PRECONDITION_FAILED) {
            response.insert_header((header::ETAG, format!("\"{version}\"")));
        }
        if self.key_unchecked {
            response.insert_header(("Idempotency-Checked", "false"));
        }
        if let Some(challenge) = self.challenge {
            response.insert_header((header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge.as_str())));
        }
        if self.kind == Kind::UnsupportedEncoding {
            response.insert_header((header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd")));
        }
        if let Some(allow) = self.allow {
            response.insert_header((header::ALLOW, HeaderValue::from_static(allow)));
        }
        let mut response = response.body(Value::Object(self.members()).to_string());
        // For the edge, which names the request in it.
        response.extensions_mut().insert(self.kind);
        response
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind.status().as_u16(), self.kind.as_str())
    }
}

impl actix_web::ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.kind.status()
    }

    fn error_response(&self) -> HttpResponse {
        self.response()
    }
}

impl Responder for Problem {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        self.response()
    }
}
