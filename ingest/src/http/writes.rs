//! The handlers that write records: from a request to an intent, and from what became of it to an answer.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::web::{BytesMut, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use cache::{Content, Precondition, State};
use record::{Entity, RecordId};
use serde_json::json;
use table::EntityTable;
use tokio::time::Instant;
use uuid::Uuid;

use super::conditions::{Conditions, Sent};
use super::done::Done;
use super::front::{record_id, segment};
use super::{Answer, Front, Problem, body};
use crate::callers::Right;
use crate::intent::{Accepted, Intent, Wish};
use crate::wait::{self, Waited};

/// Key, frame and headers of an event, and the batch around it: an ample bound.
const ENVELOPE_BYTES: usize = 4096;

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

impl Front {
    async fn post(&self, name: &str, request: &HttpRequest, payload: Payload) -> Result<Done, Problem> {
        let table = self.opened(request, name, Right::Write)?;
        let mut conditions = Conditions::of(request)?;
        if let Some(Precondition::Match(_)) = conditions.precondition {
            return Err(Problem::condition("POST takes no If-Match: replace a record with PUT"));
        }
        let body = self.body(request, payload, body::JSON).await?;
        let (named, wish) = self.wish(table.entity(), &body)?;
        let id = posted_id(named, &mut conditions, name)?;
        self.write(table, id, wish, conditions, Sent::of(request, &body)).await
    }

    async fn put(&self, name: &str, id: &str, request: &HttpRequest, payload: Payload) -> Result<Done, Problem> {
        let table = self.opened(request, name, Right::Write)?;
        let id = record_id(id)?;
        let conditions = Conditions::of(request)?;
        let body = self.body(request, payload, body::JSON).await?;
        let (named, wish) = self.wish(table.entity(), &body)?;
        if named.is_some_and(|named| named != id) {
            return Err(Problem::ids_differ());
        }
        self.write(table, id, wish, conditions, Sent::of(request, &body)).await
    }

    async fn delete(&self, name: &str, id: &str, request: &HttpRequest) -> Result<Done, Problem> {
        let table = self.opened(request, name, Right::Write)?;
        let id = record_id(id)?;
        let conditions = Conditions::of(request)?;
        let wish = Wish { content: Content::Tombstone, change: table.entity().change(None) };
        self.write(table, id, wish, conditions, Sent::of(request, &[])).await
    }

    pub(super) async fn body(
        &self,
        request: &HttpRequest,
        payload: Payload,
        expected: &'static str,
    ) -> Result<BytesMut, Problem> {
        body::whole(request, payload, expected, self.body_bytes_most, &self.bodies, self.body_deadline).await
    }

    /// The body in the two forms that it travels in, and the id that it names. What the topic would never take must not
    /// get into the cache: it could not be promised to get further.
    pub(super) fn wish(&self, entity: &Entity, body: &[u8]) -> Result<(Option<RecordId>, Wish), Problem> {
        let input = entity.parse_json(body).map_err(Problem::record)?;
        let mut text = String::new();
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
        sent: Sent<'_>,
    ) -> Result<Done, Problem> {
        let intent = self.intent(table, &id, wish, &conditions, sent);
        self.carry_out(intent, conditions).await
    }

    /// The write itself, and what is told of it.
    pub(super) async fn carry_out(&self, intent: Intent, conditions: Conditions) -> Result<Done, Problem> {
        let (table, id, op) = (intent.table.clone(), intent.id.clone(), intent.wish.change.op());
        let accepted = self.writes.write(intent).await.map_err(|refusal| Problem::write(refusal, &id))?;
        self.finish(&table, id, op, accepted, conditions).await
    }

    pub(super) fn intent(
        &self,
        table: &EntityTable,
        id: &RecordId,
        wish: Wish,
        conditions: &Conditions,
        sent: Sent<'_>,
    ) -> Intent {
        Intent {
            table: table.clone(),
            id: id.clone(),
            wish,
            trace: sent.trace.map(str::to_owned),
            precondition: conditions.precondition,
            idempotency: conditions.idempotency(sent, table.entity().name(), id),
            merged: false,
            turn: None,
            prefers: conditions.prefer.state,
        }
    }

    /// Waits for the table where the client wants that.
    pub(super) async fn finish(
        &self,
        table: &EntityTable,
        id: RecordId,
        op: &str,
        mut accepted: Accepted,
        conditions: Conditions,
    ) -> Result<Done, Problem> {
        let wait = conditions.prefer.wait.filter(|_| conditions.prefer.state == Some(State::Persisted));
        let waited = wait.map(|wait| wait.min(self.wait_most));
        if let Some(wait) = waited {
            let Accepted { version, state, .. } = accepted;
            match wait::persisted(&self.cache, table, &id, (version, state), Instant::now() + wait).await {
                Waited::State(state) => accepted.state = state,
                Waited::Dead(letter) => {
                    return Err(Problem::dead_lettered((table.entity().name(), &id, version), &letter));
                }
            }
        }
        let entity = Arc::clone(table.entity());
        let metrics = &self.writes.metrics;
        metrics.accepted.with_label_values(&[entity.name(), op, accepted.state.as_str()]).inc();
        Ok(Done { entity, id, accepted, conditions, waited })
    }
}

/// The id of a record that is posted: the one that it names, else the one that its key makes, else a new one.
pub(super) fn posted_id(
    named: Option<RecordId>,
    conditions: &mut Conditions,
    entity: &str,
) -> Result<RecordId, Problem> {
    match (named, conditions.derived_id(entity)) {
        (Some(id), _) => Ok(id),
        // Never over anything: the key itself may be forgotten by now (R5).
        (None, Some(derived)) => {
            conditions.precondition = Some(Precondition::Unused);
            record_id(&derived.to_string())
        }
        (None, None) => record_id(&Uuid::now_v7().to_string()),
    }
}
