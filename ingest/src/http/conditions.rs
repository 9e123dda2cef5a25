//! What a request says about its write beside the record: preconditions, an idempotency key, preferences. What we do not take
//! is refused rather than ignored, except preferences, which nobody has to honour (RFC 7240).

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, IF_MATCH, IF_NONE_MATCH};
use cache::{Idempotency, Precondition, State};
use record::{RecordId, Version};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::Problem;
use super::authenticate::caller;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// Longest idempotency key in bytes, without its quotes.
const KEY_BYTES_MOST: usize = 255;

/// What the headers of a write ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    pub(super) precondition: Option<Precondition>,
    pub(super) key: Option<String>,
    /// Whose key that is: each caller has its own.
    pub(super) caller: Arc<str>,
    pub(super) prefer: Prefer,
}

/// `Prefer: state=…, wait=…`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Prefer {
    pub(super) state: Option<State>,
    pub(super) wait: Option<Duration>,
}

/// What a client sent, as far as it tells one request from another (R5).
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent<'s> {
    pub(super) method: &'s str,
    pub(super) media: &'s [u8],
    /// As it came, but inflated.
    pub(super) body: &'s [u8],
    /// `traceparent`, which tells nothing apart.
    pub(super) trace: Option<&'s str>,
}

impl<'s> Sent<'s> {
    /// The request with its body.
    pub(super) fn of(request: &'s HttpRequest, body: &'s [u8]) -> Self {
        let media = request.headers().get(CONTENT_TYPE).map_or(&[][..], |value| value.as_bytes());
        Self { method: request.method().as_str(), media, body, trace: trace(request) }
    }
}

/// Longer than any real one: it is stored beside the record.
const TRACE_BYTES_MOST: usize = 128;

pub(super) fn trace(request: &HttpRequest) -> Option<&str> {
    let trace = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
    trace.filter(|trace| trace.len() <= TRACE_BYTES_MOST)
}

impl Conditions {
    pub(super) fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let headers = request.headers();
        let caller = caller(request)?.name();
        Ok(Self { precondition: precondition(headers)?, key: key(headers)?, caller, prefer: prefer(headers) })
    }

    /// The key and the request that it came with (R5).
    pub(super) fn idempotency(&self, sent: Sent<'_>, entity: &str, id: &RecordId) -> Option<Idempotency> {
        let key = self.key.as_ref()?;
        let wanted = match self.precondition {
            None => String::new(),
            Some(Precondition::Match(version)) => version.to_string(),
            Some(Precondition::NoneMatch) => "none".to_owned(),
            Some(Precondition::Unused | Precondition::Known) => "unused".to_owned(),
        };
        let parts = [sent.method.as_bytes(), entity.as_bytes(), id.as_str().as_bytes()];
        let fingerprint = hashed(parts.into_iter().chain([wanted.as_bytes(), sent.media, sent.body]));
        Some(Idempotency {
            key: hex::encode(hashed([self.caller.as_bytes(), key.as_bytes()])),
            fingerprint: hex::encode(fingerprint),
        })
    }

    /// The id of a record that came without one: the same for the same key, so that a request which is sent again meets its
    /// record even when the key itself is forgotten.
    pub(super) fn derived_id(&self, entity: &str) -> Option<Uuid> {
        let key = self.key.as_ref()?;
        let hash = hashed([entity.as_bytes(), self.caller.as_bytes(), key.as_bytes()]);
        let (bytes, _) = hash.split_first_chunk::<16>()?;
        Some(Uuid::new_v8(*bytes))
    }
}

/// Of parts that cannot run into each other.
fn hashed<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// The one value of a header, without the spaces around it.
pub(super) fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Problem> {
    let mut values = headers.get_all(name);
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().map_err(|_| Problem::condition(format!("{name} has bytes that are no ASCII text")))?;
    match values.next() {
        Some(_) => Err(Problem::condition(format!("{name} stands there twice"))),
        None => Ok(Some(text.trim())),
    }
}

fn precondition(headers: &HeaderMap) -> Result<Option<Precondition>, Problem> {
    match (headers.contains_key(IF_MATCH), single(headers, &IF_NONE_MATCH)?) {
        (true, Some(_)) => Err(Problem::condition("give If-Match or If-None-Match, not both")),
        (_, None) => Ok(matched(headers)?.map(Precondition::Match)),
        (false, Some("*")) => Ok(Some(Precondition::NoneMatch)),
        (false, Some(_)) => Err(Problem::condition("If-None-Match takes * alone: write only where no record is")),
    }
}

/// `If-Match`: one version, of reads as of writes.
pub(super) fn matched(headers: &HeaderMap) -> Result<Option<Version>, Problem> {
    let Some(tag) = single(headers, &IF_MATCH)? else { return Ok(None) };
    let version = tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).map(str::parse);
    match version {
        Some(Ok(version)) => Ok(Some(version)),
        _ if tag.starts_with("W/") => {
            Err(Problem::condition("If-Match takes no weak tags: give the ETag as it was answered"))
        }
        _ if tag == "*" => Err(Problem::condition("If-Match takes no *: give the version that is to be there")),
        _ if tag.contains(',') => Err(Problem::condition("If-Match takes one tag, no list")),
        _ => Err(Problem::condition("If-Match takes a version in quotes, as an ETag is answered")),
    }
}

/// Quoted, as the draft has it, or bare, as it is often sent: the same key.
fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(text) = single(headers, &IDEMPOTENCY_KEY)? else { return Ok(None) };
    let key = if text.starts_with('"') { unquoted(text) } else { bare(text) };
    let key = key.ok_or_else(|| {
        Problem::condition("Idempotency-Key takes a string in quotes, or a bare one of printable ASCII without spaces")
    })?;
    if key.is_empty() || key.len() > KEY_BYTES_MOST {
        return Err(Problem::condition(format!("Idempotency-Key has 1 to {KEY_BYTES_MOST} bytes")));
    }
    Ok(Some(key))
}

fn bare(text: &str) -> Option<String> {
    text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b',').then(|| text.to_owned())
}

/// A string of RFC 8941.
fn unquoted(text: &str) -> Option<String> {
    let inside = text.strip_prefix('"')?.strip_suffix('"')?;
    let (mut key, mut escaped) = (String::with_capacity(inside.len()), false);
    for letter in inside.chars() {
        match letter {
            '\\' if !escaped => escaped = true,
            '"' | '\\' if escaped => {
                key.push(letter);
                escaped = false;
            }
            ' '..='~' if !escaped && letter != '"' => key.push(letter),
            _ => return None,
        }
    }
    (!escaped && text.len() > 1).then_some(key)
}

/// The first of each name counts; what is unknown or makes no sense is not ours.
pub(super) fn prefer(headers: &HeaderMap) -> Prefer {
    let mut prefer = Prefer::default();
    let values = headers.get_all(PREFER).filter_map(|value| value.to_str().ok());
    for preference in values.flat_map(|value| value.split(',')) {
        let preference = preference.split(';').next().unwrap_or_default();
        let Some((name, value)) = preference.split_once('=') else { continue };
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "state" if prefer.state.is_none() => {
                let states = [State::Cached, State::Logged, State::Persisted];
                prefer.state = states.into_iter().find(|state| state.as_str() == value);
            }
            "wait" if prefer.wait.is_none() => prefer.wait = value.parse().ok().map(Duration::from_secs),
            _ => {}
        }
    }
    prefer
}

#[cfg(test)]
mod tests {
    use actix_web::HttpMessage as _;
    use actix_web::test::TestRequest;

    use super::*;
    use crate::callers::Caller;

    fn read(headers: &[(&'static str, &str)]) -> Result<Conditions, Problem> {
        let request = headers.iter().fold(TestRequest::put(), |request, header| request.append_header(*header));
        Conditions::of(&let_pass(request))
    }

    fn let_pass(request: TestRequest) -> HttpRequest {
        let request = request.to_http_request();
        request.extensions_mut().insert(Arc::new(Caller::anybody()));
        request
    }

    #[test]
    fn a_key_is_the_same_bare_and_in_quotes() {
        let key = |text: &str| read(&[("Idempotency-Key", text)]).map(|read| read.key).ok().flatten();
        assert_eq!(key("8e03978e-40d5-43dd-bc93-6894a57f9324"), key("\"8e03978e-40d5-43dd-bc93-6894a57f9324\""));
        assert_eq!(key(r#""a \"b\" \\ c""#).as_deref(), Some(r#"a "b" \ c"#));
        assert_eq!(key(&"k".repeat(255)).map(|key| key.len()), Some(255), "at the bound");
        for malformed in ["", "\"\"", "\"", "\"a", "a\"", "a b", "a,b", "\"a\\\"", r#""a\b""#, "\"a\"b\"", "\"ä\"", "ä"]
        {
            assert_eq!(key(malformed), None, "{malformed:?}");
        }
        assert_eq!(key(&"k".repeat(256)), None, "past the bound");
        assert!(read(&[("Idempotency-Key", "a"), ("Idempotency-Key", "a")]).is_err(), "twice");
    }

    #[test]
    fn a_precondition_is_one_strong_version_or_a_star_and_anything_else_is_refused() {
        let wanted = |name, text: &str| read(&[(name, text)]).map(|read| read.precondition).map_err(|p| p.to_string());
        let version = "1700000000000016".parse().unwrap();
        assert_eq!(wanted("If-Match", "\"1700000000000016\""), Ok(Some(Precondition::Match(version))));
        assert_eq!(wanted("If-None-Match", "*"), Ok(Some(Precondition::NoneMatch)));
        for refused in ["W/\"16\"", "*", "16", "\"16\", \"32\"", "\"x\"", "\"\"", "\"9007199254740992\""] {
            assert_eq!(wanted("If-Match", refused), Err("400 invalid-condition".to_owned()), "{refused}");
        }
        assert!(wanted("If-None-Match", "\"16\"").is_err());
        assert!(read(&[("If-Match", "\"16\""), ("If-None-Match", "*")]).is_err());
    }

    #[test]
    fn preferences_that_are_not_understood_are_not_ours() {
        let preferred = |text: &str| read(&[("Prefer", text)]).unwrap().prefer;
        let both = Prefer { state: Some(State::Persisted), wait: Some(Duration::from_secs(3)) };
        assert_eq!(preferred("respond-async, wait=3; x=y, State=\"persisted\", wait=9"), both);
        assert_eq!(preferred("state=gone, wait=soon, return=minimal"), Prefer::default());
        assert_eq!(preferred("state=logged").state, Some(State::Logged));
    }

    #[test]
    fn r5_the_fingerprint_is_that_of_everything_that_makes_two_requests_the_same() {
        let print = |method: &str, entity: &str, id: &str, condition: &str, media: &str, body: &str| {
            let request = TestRequest::default().method(method.parse().unwrap());
            let request = request.append_header(("Idempotency-Key", "k")).append_header(("If-Match", condition));
            let request = let_pass(request.append_header(("Content-Type", media)));
            let conditions = Conditions::of(&request).unwrap();
            let id = RecordId::parse(id).unwrap();
            conditions.idempotency(Sent::of(&request, body.as_bytes()), entity, &id).unwrap().fingerprint
        };
        let first = print("PUT", "users", "1", "\"16\"", "application/json", "{}");
        assert_eq!(first, print("PUT", "users", "1", "\"16\"", "application/json", "{}"));
        let others = [
            print("DELETE", "users", "1", "\"16\"", "application/json", "{}"),
            print("PUT", "orders", "1", "\"16\"", "application/json", "{}"),
            print("PUT", "users", "2", "\"16\"", "application/json", "{}"),
            print("PUT", "users", "1", "\"32\"", "application/json", "{}"),
            print("PUT", "users", "1", "\"16\"", "application/json; charset=utf-8", "{}"),
            print("PUT", "users", "1", "\"16\"", "application/json", "{ }"),
        ];
        assert!(others.iter().all(|other| *other != first), "{first}, {others:?}");
    }

    #[test]
    fn r5_a_derived_id_is_a_uuid_of_version_8_and_of_key_and_entity() {
        let id = |key: &str, entity: &str| read(&[("Idempotency-Key", key)]).unwrap().derived_id(entity).unwrap();
        assert_eq!(id("a", "users").get_version_num(), 8);
        assert_eq!(id("a", "users"), id("\"a\"", "users"));
        assert_ne!(id("a", "users"), id("b", "users"));
        assert_ne!(id("a", "users"), id("a", "orders"));
        assert_eq!(read(&[]).unwrap().derived_id("users"), None);
    }
}
