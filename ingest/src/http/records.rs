//! The handlers of records: from a request to an intent, and from what became of it to an answer.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::web::{BytesMut, Data, Payload};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use cache::{Content, Precondition, State};
use record::{Entity, RecordId};
use serde_json::json;
use table::EntityTable;
use tokio::time::Instant;
use uuid::Uuid;

use super::authenticate::caller;
use super::conditions::{Conditions, Prefer};
use super::{Front, Problem, body};
use crate::callers::Right;
use crate::intent::{Accepted, How, Intent, Wish};
use crate::read::{self, Found};
use crate::wait;

/// Key, frame and headers of an event, and the batch around it: an ample bound.
const ENVELOPE_BYTES: usize = 4096;

/// Where a read was answered from ([`read::Source`]).
const SOURCE: HeaderName = HeaderName::from_static("write-behind-source");

type Answer = Result<HttpResponse, Problem>;

/// `POST /{entity}`: the id from the body, else a new one.
pub(super) async fn post(front: Data<Front>, request: HttpRequest, payload: Payload) -> Answer {
    let name = segment(&request, "entity");
    let written = front.counted(name, front.post(name, &request, payload).await)?;
    let mut answer = HttpResponse::build(written.status(StatusCode::CREATED));
    answer.insert_header((header::LOCATION, format!("/{name}/{}", written.id)));
    Ok(written.answer(answer))
}

/// `POST` to an alias: 200 and the message that the route's first owner answered.
pub(super) async fn post_alias(entity: &str, front: Data<Front>, request: HttpRequest, payload: Payload) -> Answer {
    let written = front.counted(entity, front.post(entity, &request, payload).await)?;
    let mut answer = HttpResponse::Ok();
    written.headers(&mut answer);
    Ok(answer.json(json!({
        "message": "Data write successful!",
        "id": written.id.as_str(),
        "version": written.accepted.version.get(),
        "state": written.accepted.state.as_str(),
    })))
}

/// `PUT /{entity}/{id}`.
pub(super) async fn put(front: Data<Front>, request: HttpRequest, payload: Payload) -> Answer {
    let (name, id) = (segment(&request, "entity"), segment(&request, "id"));
    let written = front.counted(name, front.put(name, id, &request, payload).await)?;
    let persisted = match written.conditions.precondition {
        Some(Precondition::NoneMatch) => StatusCode::CREATED,
        _ => StatusCode::OK,
    };
    Ok(written.answer(HttpResponse::build(written.status(persisted))))
}

/// `DELETE /{entity}/{id}`: 202 also for a record that is not there (R9).
pub(super) async fn delete(front: Data<Front>, request: HttpRequest) -> Answer {
    let (name, id) = (segment(&request, "entity"), segment(&request, "id"));
    let written = front.counted(name, front.delete(name, id, &request).await)?;
    Ok(written.answer(HttpResponse::build(written.status(StatusCode::OK))))
}

/// `GET /{entity}/{id}`; for `HEAD` the same without its body, which the server leaves out.
pub(super) async fn get(front: Data<Front>, request: HttpRequest) -> Answer {
    let table = front.opened(&request, segment(&request, "entity"), Right::Read)?;
    let id = record_id(segment(&request, "id"))?;
    let until = Instant::now() + front.writes.answer_deadline;
    let read::Answer { source, found } = read::read(&front.cache, table, &id, until).await?;
    let mut answer = match found {
        Some(Found { version, state, json: Some(json) }) => {
            // The fields are one JSON object, and an id needs no escaping.
            let fields = json.get(1..).unwrap_or("}");
            let comma = if fields == "}" { "" } else { "," };
            HttpResponse::Ok()
                .content_type("application/json")
                .insert_header((header::ETAG, format!("\"{version}\"")))
                .insert_header(("Write-Behind-State", state.as_str()))
                .body(format!("{{\"id\":\"{id}\"{comma}{fields}"))
        }
        _ => Problem::not_found().response(),
    };
    answer.headers_mut().insert(SOURCE, HeaderValue::from_static(source.as_str()));
    Ok(answer)
}

/// Whether the path's entity is one, before anything else is said about the path. An alias names none.
pub(super) fn known(front: &Front, request: &HttpRequest) -> Result<(), Problem> {
    let Some(name) = request.match_info().get("entity") else { return Ok(()) };
    if caller(request)?.sees(name) { front.table(name).map(drop) } else { Err(Problem::forbidden(Right::Read)) }
}

impl Front {
    fn table(&self, name: &str) -> Result<&EntityTable, Problem> {
        self.entities.get(name).ok_or_else(|| {
            let known: Vec<_> = self.entities.keys().map(String::as_str).collect();
            Problem::unknown_entity(&known)
        })
    }

    /// The entity's table, to a caller that may do this with it. To others it makes no difference whether it is there.
    fn opened(&self, request: &HttpRequest, name: &str, right: Right) -> Result<&EntityTable, Problem> {
        if caller(request)?.may(right, name) { self.table(name) } else { Err(Problem::forbidden(right)) }
    }

    async fn post(&self, name: &str, request: &HttpRequest, payload: Payload) -> Result<Done, Problem> {
        let table = self.opened(request, name, Right::Write)?;
        let mut conditions = Conditions::of(request)?;
        if let Some(Precondition::Match(_)) = conditions.precondition {
            return Err(Problem::condition("POST takes no If-Match: replace a record with PUT"));
        }
        let body = self.body(request, payload).await?;
        let (named, wish) = self.wish(table.entity(), &body)?;
        let id = match (named, conditions.derived_id(name)) {
            (Some(id), _) => id,
            // Never over anything: the key itself may be forgotten by now (R5).
            (None, Some(derived)) => {
                conditions.precondition = Some(Precondition::Unused);
                record_id(&derived.to_string())?
            }
            (None, None) => record_id(&Uuid::now_v7().to_string())?,
        };
        self.write(table, id, wish, conditions, Sent { request, body: &body }).await
    }

    async fn put(&self, name: &str, id: &str, request: &HttpRequest, payload: Payload) -> Result<Done, Problem> {
        let table = self.opened(request, name, Right::Write)?;
        let id = record_id(id)?;
        let conditions = Conditions::of(request)?;
        let body = self.body(request, payload).await?;
        let (named, wish) = self.wish(table.entity(), &body)?;
        if named.is_some_and(|named| named != id) {
            return Err(Problem::ids_differ());
        }
        self.write(table, id, wish, conditions, Sent { request, body: &body }).await
    }

    async fn delete(&self, name: &str, id: &str, request: &HttpRequest) -> Result<Done, Problem> {
        let table = self.opened(request, name, Right::Write)?;
        let id = record_id(id)?;
        let conditions = Conditions::of(request)?;
        let wish = Wish { content: Content::Tombstone, change: table.entity().change(None) };
        self.write(table, id, wish, conditions, Sent { request, body: &[] }).await
    }

    async fn body(&self, request: &HttpRequest, payload: Payload) -> Result<BytesMut, Problem> {
        body::json(request, payload, self.body_bytes_most, &self.bodies, self.body_deadline).await
    }

    /// The body in the two forms that it travels in, and the id that it names. What the topic would never take must not
    /// get into the cache: it could not be promised to get further.
    fn wish(&self, entity: &Entity, body: &[u8]) -> Result<(Option<RecordId>, Wish), Problem> {
        let input = entity.parse_json(body).map_err(Problem::record)?;
        let mut text = String::with_capacity(body.len());
        entity.write_json(&input.record, &mut text);
        let change = entity.change(Some(&input.record));
        if change.bytes() + ENVELOPE_BYTES > self.event_bytes_most {
            return Err(Problem::event_too_large(self.event_bytes_most));
        }
        Ok((input.id, Wish { content: Content::Json { text, schema: entity.newest_id() }, change }))
    }

    async fn write(
        &self,
        table: &EntityTable,
        id: RecordId,
        wish: Wish,
        conditions: Conditions,
        Sent { request, body }: Sent<'_>,
    ) -> Result<Done, Problem> {
        let op = wish.change.op();
        let name = table.entity().name();
        let trace = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
        let trace = trace.filter(|trace| trace.len() <= 128).map(str::to_owned);
        let intent = Intent {
            table: table.clone(),
            id: id.clone(),
            wish,
            trace,
            precondition: conditions.precondition,
            idempotency: conditions.idempotency(request, name, &id, body),
            prefers: conditions.prefer.state,
        };
        let accepted = self.writes.write(intent).await;
        let mut accepted = accepted.map_err(|refusal| Problem::write(refusal, &id))?;
        if let Prefer { state: Some(State::Persisted), wait: Some(wait) } = conditions.prefer
            && accepted.state < State::Persisted
        {
            let until = Instant::now() + wait.min(self.wait_most);
            if wait::persisted(&self.cache, table, &id, accepted.version, until).await {
                accepted.state = State::Persisted;
            }
        }
        let metrics = &self.writes.metrics;
        metrics.accepted.with_label_values(&[name, op, accepted.state.as_str()]).inc();
        Ok(Done { id, accepted, conditions })
    }

    /// Counts a refusal. An entity that does not exist must not become a label.
    fn counted<T>(&self, name: &str, answer: Result<T, Problem>) -> Result<T, Problem> {
        answer.inspect_err(|problem| {
            let entity = if self.entities.contains_key(name) { name } else { "unknown" };
            self.writes.metrics.rejected.with_label_values(&[entity, problem.kind()]).inc();
        })
    }
}

fn segment<'r>(request: &'r HttpRequest, name: &str) -> &'r str {
    request.match_info().query(name)
}

fn record_id(text: &str) -> Result<RecordId, Problem> {
    RecordId::parse(text).map_err(|fault| Problem::id(fault.to_string()))
}

/// A request with its body as it came.
struct Sent<'r> {
    request: &'r HttpRequest,
    body: &'r [u8],
}

/// A write that was accepted, and what its request had asked for.
struct Done {
    id: RecordId,
    accepted: Accepted,
    conditions: Conditions,
}

impl Done {
    /// 202: it is not finished yet.
    fn status(&self, persisted: StatusCode) -> StatusCode {
        if self.accepted.state == State::Persisted { persisted } else { StatusCode::ACCEPTED }
    }

    fn headers(&self, answer: &mut HttpResponseBuilder) {
        let Accepted { version, state, how } = self.accepted;
        answer
            .insert_header((header::ETAG, format!("\"{version}\"")))
            .insert_header(("Write-Behind-State", state.as_str()));
        match how {
            How::Replayed => {
                answer.insert_header(("Idempotent-Replayed", "true"));
            }
            // The record was there; whether it is what this request asks for, only its key could have told.
            How::Found => {
                answer.insert_header(("Idempotent-Replayed", "true")).insert_header(("Idempotency-Checked", "false"));
            }
            How::Past if self.conditions.key.is_some() => {
                answer.insert_header(("Idempotency-Checked", "false"));
            }
            How::New | How::Past => {}
        }
        if let Some(preferred) = self.conditions.prefer.state.filter(|preferred| *preferred <= state) {
            answer.insert_header(("Preference-Applied", format!("state={}", preferred.as_str())));
        }
    }

    fn answer(&self, mut answer: HttpResponseBuilder) -> HttpResponse {
        self.headers(&mut answer);
        let Accepted { version, state, .. } = self.accepted;
        answer.json(json!({ "id": self.id.as_str(), "version": version.get(), "state": state.as_str() }))
    }
}
