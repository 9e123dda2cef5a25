//! Errors as RFC 9457 problem details. A closed set, each with a stable type; never a value of the client's, never an
//! inside of ours.

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, Responder};
use record::{Fault, FaultCode, RecordId, Version};
use serde_json::{Value, json};
use service::FailureClass;

use crate::callers::Right;
use crate::intent::Refusal;
use crate::read::ReadError;

/// The one refusal that no [`Refusal`] stands for and that is ours to answer for.
pub(crate) const BODIES_FULL: &str = "bodies-full";

/// What a client is told when its request was not done.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    /// The last part of the type URI, and the label `reason` of `rejected_total`.
    kind: &'static str,
    title: &'static str,
    detail: Box<str>,
    errors: Box<[Fault]>,
    retry_after_seconds: Option<u32>,
    allow: Option<&'static str>,
    /// How to show who one is.
    challenge: Option<Challenge>,
    /// Whose write it was, where that must be known to send it again.
    id: Option<Box<RecordId>>,
    /// The version that the record has, or that the write has if it happened.
    version: Option<Version>,
    /// There was a key, and nobody has looked it up or kept it.
    key_unchecked: bool,
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
    fn new(status: u16, kind: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let detail = detail.into().into_boxed_str();
        Self {
            status,
            kind,
            title,
            detail,
            errors: Box::default(),
            retry_after_seconds: None,
            allow: None,
            challenge: None,
            id: None,
            version: None,
            key_unchecked: false,
        }
    }

    fn away(kind: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { retry_after_seconds: Some(1), ..Self::new(503, kind, title, detail) }
    }

    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    pub(crate) fn record(errors: Vec<Fault>) -> Self {
        let malformed = errors.iter().any(|fault| fault.code == FaultCode::Syntax);
        let problem = if malformed {
            Self::new(400, "malformed-json", "The body is not JSON", "correct the body as `errors` says")
        } else {
            let detail = format!("{} fault(s), each with its place in `errors`; nothing was written", errors.len());
            Self::new(422, "invalid-record", "The record does not fit its schema", detail)
        };
        Self { errors: errors.into(), ..problem }
    }

    fn key_reused() -> Self {
        let detail =
            "the same key came with another method, path, precondition, content type or body; nothing was written";
        Self::new(422, "idempotency-key-reused", "The idempotency key belongs to another request", detail)
    }

    /// `version` is what the record has, if there is one.
    fn precondition_failed(version: Option<Version>) -> Self {
        let detail = match version {
            Some(_) => "the record has the version given here; nothing was written",
            None => "there is no such record; nothing was written",
        };
        Self { version, ..Self::new(412, "precondition-failed", "The precondition does not hold", detail) }
    }

    /// `version` is what the write has if it happened.
    fn outcome_unknown(version: Option<Version>) -> Self {
        let detail = "the write may have happened, or may still happen; while the cache is there it is harmless to send it \
                      again with the same id and the same key or precondition";
        Self { version, ..Self::new(504, "outcome-unknown", "No acknowledgement in time", detail) }
    }

    fn key_not_kept(version: Version) -> Self {
        let detail = "the cache is away: the write may have happened, or may still happen, and its key was neither looked up \
                      nor kept. Sent again it may be a second write, over what others have written since: read the record \
                      first, or send it again with If-Match";
        Self { key_unchecked: true, detail: detail.into(), ..Self::outcome_unknown(Some(version)) }
    }

    pub(crate) fn event_too_large(most: usize) -> Self {
        let detail =
            format!("as an event it would have more than {most} bytes (--event-bytes-most); nothing was written");
        Self::new(413, "event-too-large", "The record is too large for the topic", detail)
    }

    /// A write that was not accepted. Where it may have happened all the same, the answer names its id, and its version where
    /// that is known.
    pub(crate) fn write(refusal: Refusal, id: &RecordId) -> Self {
        let unknown = matches!(refusal, Refusal::OutcomeUnknown(_) | Refusal::KeyNotKept(_));
        Self { id: unknown.then(|| Box::new(id.clone())), ..Self::from(refusal) }
    }

    pub(crate) fn condition(detail: impl Into<String>) -> Self {
        Self::new(400, "invalid-condition", "A header of the request is not valid", detail)
    }

    /// `shown`: there was something in its header, but no key that is known.
    pub(crate) fn unauthenticated(shown: bool) -> Self {
        let (challenge, detail) = if shown {
            (Challenge::Unknown, "this key is not known, or not any more")
        } else {
            (Challenge::Missing, "send an API key: Authorization: Bearer wb_…")
        };
        Self { challenge: Some(challenge), ..Self::new(401, "unauthenticated", "Who asks is not known", detail) }
    }

    pub(crate) fn forbidden(right: Right) -> Self {
        let detail = format!("the key does not open this entity to {}", right.as_str());
        Self::new(403, "forbidden", "The key does not open this", detail)
    }

    pub(crate) fn id(detail: impl Into<String>) -> Self {
        Self::new(400, "invalid-id", "The id is not valid", detail)
    }

    pub(crate) fn ids_differ() -> Self {
        let detail = "leave it out, or repeat the path's".to_owned();
        let fault = Fault { pointer: "/id".to_owned(), code: FaultCode::Format, detail };
        let title = "Body and path name different ids";
        Self { errors: Box::new([fault]), ..Self::new(422, "ids-differ", title, "the path names the record") }
    }

    pub(crate) fn unknown_entity(known: &[&str]) -> Self {
        let detail = format!("there is no such entity; known are: {}", known.join(", "));
        Self::new(404, "unknown-entity", "Unknown entity", detail)
    }

    pub(crate) fn not_found() -> Self {
        Self::new(404, "not-found", "Not found", "there is no such record")
    }

    pub(crate) fn no_route() -> Self {
        Self::new(404, "no-route", "Not found", "the routes are /{entity} and /{entity}/{id}")
    }

    /// For a resource's other methods.
    pub(crate) fn method(allow: &'static str) -> Self {
        let detail = format!("allowed here: {allow}");
        Self { allow: Some(allow), ..Self::new(405, "method-not-allowed", "Method not allowed", detail) }
    }

    pub(crate) fn media_type() -> Self {
        Self::new(415, "unsupported-media-type", "Unsupported media type", "send Content-Type: application/json")
    }

    pub(crate) fn encoding() -> Self {
        Self::new(415, "unsupported-encoding", "Unsupported content encoding", "send the body without Content-Encoding")
    }

    pub(crate) fn too_large(most: usize) -> Self {
        Self::new(413, "body-too-large", "Body too large", format!("the most is {most} bytes (--body-bytes-most)"))
    }

    pub(crate) fn bodies_full() -> Self {
        let detail = "the bodies of the requests in progress fill their room (--bodies-bytes-most); nothing was written, try \
                      again after the time given";
        Self::away(BODIES_FULL, "Too many bodies at once", detail)
    }

    pub(crate) fn slow_body() -> Self {
        Self::new(408, "slow-body", "The body did not arrive in time", "send the body without pauses, or a smaller one")
    }

    pub(crate) fn broken_body() -> Self {
        Self::new(400, "broken-body", "The body could not be read", "the connection or its framing broke")
    }

    fn body(&self) -> Value {
        let mut body = json!({
            "type": format!("urn:write-behind:problem:{}", self.kind),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let (Some(body), false) = (body.as_object_mut(), self.errors.is_empty()) {
            let fault = |f: &Fault| json!({ "pointer": f.pointer, "code": f.code.as_str(), "detail": f.detail });
            body.insert("errors".to_owned(), self.errors.iter().map(fault).collect());
        }
        if let (Some(body), Some(id)) = (body.as_object_mut(), &self.id) {
            body.insert("id".to_owned(), json!(id.as_str()));
        }
        if let (Some(body), Some(version)) = (body.as_object_mut(), self.version) {
            body.insert("version".to_owned(), json!(version.get()));
        }
        body
    }

    pub(crate) fn response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        response.content_type("application/problem+json");
        if let Some(seconds) = self.retry_after_seconds {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        if let Some(version) = self.version.filter(|_| self.status == StatusCode::PRECONDITION_FAILED) {
            response.insert_header((header::ETAG, format!("\"{version}\"")));
        }
        if self.key_unchecked {
            response.insert_header(("Idempotency-Checked", "false"));
        }
        if let Some(challenge) = self.challenge {
            response.insert_header((header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge.as_str())));
        }
        if let Some(allow) = self.allow {
            response.insert_header((header::ALLOW, HeaderValue::from_static(allow)));
        }
        response.body(self.body().to_string())
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.status.as_u16(), self.kind)
    }
}

impl actix_web::ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
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

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::ClocksDisagree => Self::away(
                "clocks-disagree",
                "Writes are stopped",
                "the clocks of the servers disagree; nothing was written, try again",
            ),
            Refusal::Full => Self::away(
                "full",
                "No room for more writes",
                "too much waits for the topic or the database; nothing was written, try again later",
            ),
            Refusal::Busy => {
                Self::away("busy", "Too many requests at once", "nothing was written, try again after the time given")
            }
            Refusal::Quiet => Self::away(
                "cache-changed",
                "The cache has just changed",
                "no versions are given out for a moment; nothing was written, try again after the time given",
            ),
            Refusal::CacheAway => Self::away(
                "cache-away",
                "The cache is away",
                "nothing was written, try again after the time given; without the cache no precondition can be checked, nor \
                 whether a record without an id of its own is there already",
            ),
            Refusal::NoSlot => Self::away(
                "no-instance-slot",
                "The cache is away",
                "nothing was written: this instance may not give out versions without the cache, since it has no \
                 --instance-slot of its own and holds no lease of one; try again after the time given",
            ),
            Refusal::TopicAway => Self::away(
                "topic-away",
                "The topic is away",
                "Prefer: state=logged cannot be met; nothing was written, try again after the time given, or without it",
            ),
            Refusal::StoresAway => Self::away(
                "stores-away",
                "More than the cache is away",
                "nothing was written, try again after the time given",
            ),
            Refusal::RowUnknown => Self::away(
                "database-away",
                "The database is away",
                "the record is not cached, so the precondition cannot be checked; nothing was written, try again after the \
                 time given",
            ),
            Refusal::Incomplete => Self::away(
                "cache-incomplete",
                "The cache is incomplete",
                "after a loss of the cache, or after the database has refused a write to this record, no precondition can be \
                 checked until all that was on its way is in the database; nothing was written, try again after the time given",
            ),
            Refusal::KeyReused => Self::key_reused(),
            Refusal::PreconditionFailed(version) => Self::precondition_failed(version),
            Refusal::OutcomeUnknown(version) => Self::outcome_unknown(version),
            Refusal::KeyNotKept(version) => Self::key_not_kept(version),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Cache(error) => {
                tracing::debug!(%error, "a read");
                let detail =
                    "it may have a newer version than the database and does not answer; try again after the time given";
                Self::away("cache-away", "The cache is away", detail)
            }
            ReadError::Table(error) if error.class() == FailureClass::Fatal => {
                tracing::error!(%error, "a row cannot be read: {error}");
                let detail = "the table is not as this service expects it; its log says more";
                Self::new(500, "unreadable-row", "The row cannot be read", detail)
            }
            ReadError::Table(_) => Self::away(
                "database-away",
                "The database is away",
                "the record is not cached, so it cannot be told whether it exists; try again after the time given",
            ),
            ReadError::Stored(_) => {
                Self::new(500, "unreadable-record", "The stored record cannot be read", "it does not fit its schema")
            }
        }
    }
}
