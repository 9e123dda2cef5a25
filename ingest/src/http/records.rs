//! The handlers of records: from a request to an intent, and from what became of it to an answer.

use std::sync::Arc;

use actix_web::http::header;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use cache::Content;
use record::{Entity, RecordId};
use serde_json::json;
use table::EntityTable;
use uuid::Uuid;

use super::{Front, Problem, body};
use crate::read;
use crate::write::{Accepted, Intent, Wish};

/// Key, frame and headers of an event, and the batch around it: an ample bound.
const ENVELOPE_BYTES: usize = 4096;

type Answer = Result<HttpResponse, Problem>;

/// `POST /{entity}`: the id from the body, else a new one.
pub(super) async fn post(front: Data<Front>, request: HttpRequest, payload: Payload) -> Answer {
    let name = segment(&request, "entity");
    let (id, accepted) = front.counted(name, front.post(name, &request, payload).await)?;
    let mut answer = HttpResponse::Accepted();
    answer.insert_header((header::LOCATION, format!("/{name}/{id}")));
    Ok(answered(answer, &id, &accepted))
}

/// `POST` to an alias: 200 and the message that the route's first owner answered.
pub(super) async fn post_alias(entity: &str, front: Data<Front>, request: HttpRequest, payload: Payload) -> Answer {
    let (id, accepted) = front.counted(entity, front.post(entity, &request, payload).await)?;
    Ok(HttpResponse::Ok().json(json!({
        "message": "Data write successful!",
        "id": id.as_str(),
        "version": accepted.version.get(),
        "state": accepted.state.as_str(),
    })))
}

/// `PUT /{entity}/{id}`.
pub(super) async fn put(front: Data<Front>, request: HttpRequest, payload: Payload) -> Answer {
    let (name, id) = (segment(&request, "entity"), segment(&request, "id"));
    let (id, accepted) = front.counted(name, front.put(name, id, &request, payload).await)?;
    Ok(answered(HttpResponse::Accepted(), &id, &accepted))
}

/// `DELETE /{entity}/{id}`: 202 also for a record that is not there (R9).
pub(super) async fn delete(front: Data<Front>, request: HttpRequest) -> Answer {
    let (name, id) = (segment(&request, "entity"), segment(&request, "id"));
    let (id, accepted) = front.counted(name, front.delete(name, id, &request).await)?;
    Ok(answered(HttpResponse::Accepted(), &id, &accepted))
}

/// `GET /{entity}/{id}`; for `HEAD` the same without its body, which the server leaves out.
pub(super) async fn get(front: Data<Front>, request: HttpRequest) -> Answer {
    let table = front.table(segment(&request, "entity"))?;
    let id = record_id(segment(&request, "id"))?;
    let found = read::read(&front.cache, table, &id).await?.ok_or_else(Problem::not_found)?;
    // The fields are one JSON object, and an id needs no escaping.
    let fields = found.json.get(1..).unwrap_or("}");
    let comma = if fields == "}" { "" } else { "," };
    Ok(HttpResponse::Ok()
        .content_type("application/json")
        .insert_header((header::ETAG, format!("\"{}\"", found.version)))
        .insert_header(("Write-Behind-State", found.state.as_str()))
        .body(format!("{{\"id\":\"{id}\"{comma}{fields}")))
}

/// Whether the path's entity is one, before anything else is said about the path. An alias names none.
pub(super) fn known(front: &Front, request: &HttpRequest) -> Result<(), Problem> {
    request.match_info().get("entity").map_or(Ok(()), |name| front.table(name).map(drop))
}

impl Front {
    fn table(&self, name: &str) -> Result<&EntityTable, Problem> {
        self.entities.get(name).ok_or_else(|| {
            let known: Vec<_> = self.entities.keys().map(String::as_str).collect();
            Problem::unknown_entity(&known)
        })
    }

    async fn post(&self, name: &str, request: &HttpRequest, payload: Payload) -> Result<(RecordId, Accepted), Problem> {
        let entity = Arc::clone(self.table(name)?.entity());
        let (named, wish) = self.wish(&entity, request, payload).await?;
        let id = match named {
            Some(id) => id,
            None => record_id(&Uuid::now_v7().to_string())?,
        };
        self.write(entity, id, wish, request).await
    }

    async fn put(
        &self,
        name: &str,
        id: &str,
        request: &HttpRequest,
        payload: Payload,
    ) -> Result<(RecordId, Accepted), Problem> {
        let entity = Arc::clone(self.table(name)?.entity());
        let id = record_id(id)?;
        let (named, wish) = self.wish(&entity, request, payload).await?;
        if named.is_some_and(|named| named != id) {
            return Err(Problem::ids_differ());
        }
        self.write(entity, id, wish, request).await
    }

    async fn delete(&self, name: &str, id: &str, request: &HttpRequest) -> Result<(RecordId, Accepted), Problem> {
        let entity = Arc::clone(self.table(name)?.entity());
        let wish = Wish { content: Content::Tombstone, change: entity.change(None) };
        self.write(entity, record_id(id)?, wish, request).await
    }

    /// The body in the two forms that it travels in, and the id that it names. What the topic would never take must not
    /// get into the cache: it could not be promised to get further.
    async fn wish(
        &self,
        entity: &Entity,
        request: &HttpRequest,
        payload: Payload,
    ) -> Result<(Option<RecordId>, Wish), Problem> {
        let body = body::json(request, payload, self.body_bytes_most, self.body_deadline).await?;
        let input = entity.parse_json(&body).map_err(Problem::record)?;
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
        entity: Arc<Entity>,
        id: RecordId,
        wish: Wish,
        request: &HttpRequest,
    ) -> Result<(RecordId, Accepted), Problem> {
        let op = wish.change.op();
        let name = entity.name().to_owned();
        let trace = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
        let trace = trace.filter(|trace| trace.len() <= 128).map(str::to_owned);
        let accepted = self.writes.write(Intent { entity, id: id.clone(), wish, trace }).await;
        let accepted = accepted.map_err(|refusal| Problem::write(refusal, &id))?;
        let metrics = &self.writes.metrics;
        metrics.accepted.with_label_values(&[&*name, op, accepted.state.as_str()]).inc();
        Ok((id, accepted))
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

fn answered(mut answer: HttpResponseBuilder, id: &RecordId, accepted: &Accepted) -> HttpResponse {
    let Accepted { version, state } = accepted;
    answer
        .insert_header((header::ETAG, format!("\"{version}\"")))
        .insert_header(("Write-Behind-State", state.as_str()))
        .json(json!({ "id": id.as_str(), "version": version.get(), "state": state.as_str() }))
}
