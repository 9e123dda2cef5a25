//! `PATCH /{entity}/{id}` (PROTOCOL R9): a merge patch (RFC 7396) over the record as it is, checked as any body, written only where
//! the record still is what it was merged into, and merged anew where it is not.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use cache::{Content, Precondition};
use record::{MergePatch, RecordId, Version};
use serde_json::Value;
use service::Backoff;
use table::EntityTable;
use tokio::time::{Instant, sleep, timeout_at};

use super::conditions::{Conditions, Sent};
use super::done::Done;
use super::front::{record_id, segment};
use super::{Answer, Front, Problem, body};
use crate::callers::Right;
use crate::intent::{Accepted, Intent, Refusal, Wish};
use crate::read::{self, Found, ReadError};

/// Between two tries, where others write the same record: so long that most of them are through.
const FIRST: Duration = Duration::from_millis(2);
const LONGEST: Duration = Duration::from_millis(64);

/// `PATCH /{entity}/{id}`.
pub(super) async fn patch(front: Data<Front>, request: HttpRequest, payload: Payload) -> Answer {
    let (name, id) = (segment(&request, "entity"), segment(&request, "id"));
    let written = front.counted(name, front.patch(name, id, &request, payload).await)?;
    Ok(written.answer(HttpResponse::build(written.status(StatusCode::OK))))
}

/// One patch of one record, as it was sent.
struct Patch<'r> {
    table: &'r EntityTable,
    id: RecordId,
    patch: MergePatch,
    conditions: &'r Conditions,
    sent: Sent<'r>,
}

impl Front {
    async fn patch(&self, name: &str, id: &str, request: &HttpRequest, payload: Payload) -> Result<Done, Problem> {
        // Whether a patch is accepted tells what the record is.
        self.opened(request, name, Right::Read)?;
        let table = self.opened(request, name, Right::Write)?;
        let id = record_id(id)?;
        let conditions = Conditions::of(request)?;
        if let Some(Precondition::NoneMatch) = conditions.precondition {
            return Err(Problem::condition("PATCH takes no If-None-Match: it changes what is there"));
        }
        let body = self.body(request, payload, body::MERGE_PATCH).await?;
        let merge = MergePatch::parse(&body).map_err(Problem::record)?;
        let patch = Patch { table, id, patch: merge, conditions: &conditions, sent: Sent::of(request, &body) };
        let accepted = self.merge(&patch).await?;
        let (id, op) = (patch.id, "upsert");
        self.finish(table, id, op, accepted, conditions).await
    }

    /// At most until the answer's deadline: others may be faster every time.
    async fn merge(&self, patch: &Patch<'_>) -> Result<Accepted, Problem> {
        let deadline = Instant::now() + self.writes.answer_deadline;
        let mut backoff = Backoff::new(FIRST, LONGEST);
        loop {
            let turn = timeout_at(deadline, self.turns.take(patch.table.entity().name(), &patch.id)).await;
            let Ok(turn) = turn else { return Err(Problem::contended()) };
            let (version, wish) = match self.merged(patch).await {
                Ok(merged) => merged,
                Err(problem) => return self.repeated(patch, problem, deadline).await,
            };
            let intent = Intent { turn, ..self.of(patch, wish, Precondition::Match(version)) };
            match self.writes.write_until(intent, deadline).await {
                Err(Refusal::Busy) if backoff.attempts() > 0 => return Err(Problem::contended()),
                Err(Refusal::PreconditionFailed(_)) if patch.conditions.precondition.is_none() => {
                    let pause = backoff.next(rand::random());
                    if Instant::now() + pause >= deadline {
                        return Err(Problem::contended());
                    }
                    self.writes.metrics.merged_again.with_label_values(&[patch.table.entity().name()]).inc();
                    sleep(pause).await;
                }
                written => return written.map_err(|refusal| Problem::write(refusal, &patch.id)),
            }
        }
    }

    /// What the record is to be, and the version that it has now.
    async fn merged(&self, patch: &Patch<'_>) -> Result<(Version, Wish), Problem> {
        let Patch { table, id, conditions, .. } = patch;
        let entity = table.entity();
        let current = self.writes.current(table, id).await.map_err(|refusal| Problem::write(refusal, id))?;
        if let Some(Content::Json { schema, .. }) = current.as_ref().map(|cached| &cached.content)
            && !entity.knows(*schema)
        {
            // Read in an older shape it would lose the fields that are new.
            return Err(Problem::newer_schema());
        }
        let found = current.map(|cached| read::shown(entity, cached)).transpose().map_err(ReadError::from)?;
        let wanted = match conditions.precondition {
            Some(Precondition::Match(version)) => Some(version),
            _ => None,
        };
        let failed = |version| Problem::write(Refusal::PreconditionFailed(version), id);
        match found {
            Some(Found { version, json: Some(json), .. }) if wanted.is_none_or(|wanted| wanted == version) => {
                let MergePatch { members, faults } = &patch.patch;
                let merged = self.wish(entity, over(&json, members)?.as_bytes());
                if !faults.is_empty() {
                    return Err(Problem::record_behind(faults, merged.err()));
                }
                let (named, wish) = merged?;
                if named.is_some_and(|named| named != *id) { Err(Problem::ids_differ()) } else { Ok((version, wish)) }
            }
            Some(Found { version, json: Some(_), .. }) => Err(failed(Some(version))),
            _ if wanted.is_some() => Err(failed(None)),
            gone => Err(Problem::not_found(gone.map(|found| found.version))),
        }
    }

    /// R7: what cannot be done to the record as it is now may have been done, with the same key, to what it was.
    async fn repeated(&self, patch: &Patch<'_>, problem: Problem, deadline: Instant) -> Result<Accepted, Problem> {
        if patch.conditions.key.is_none() {
            return Err(problem);
        }
        let nothing = Wish { content: Content::Tombstone, change: patch.table.entity().change(None) };
        match self.writes.write_until(self.of(patch, nothing, Precondition::Known), deadline).await {
            Err(Refusal::PreconditionFailed(_)) => Err(problem),
            written => written.map_err(|refusal| Problem::write(refusal, &patch.id)),
        }
    }

    fn of(&self, patch: &Patch<'_>, wish: Wish, precondition: Precondition) -> Intent {
        let intent = self.intent(patch.table, &patch.id, wish, patch.conditions, patch.sent);
        Intent { precondition: Some(precondition), merged: true, ..intent }
    }
}

/// The record's JSON with the patch merged into it.
pub(super) fn over(json: &str, patch: &Value) -> Result<String, Problem> {
    let mut merged: Value = serde_json::from_str(json).map_err(|_| Problem::unreadable())?;
    json_patch::merge(&mut merged, patch);
    Ok(merged.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// RFC 7396, appendix A, where target and patch are objects.
    #[test]
    fn members_are_replaced_added_removed_and_merged_below() {
        for (target, patch, expected) in [
            (json!({ "a": "b" }), json!({ "a": "c" }), json!({ "a": "c" })),
            (json!({ "a": "b" }), json!({ "b": "c" }), json!({ "a": "b", "b": "c" })),
            (json!({ "a": "b" }), json!({ "a": null }), json!({})),
            (json!({ "a": ["b"] }), json!({ "a": "c" }), json!({ "a": "c" })),
            (json!({ "a": { "b": "c" } }), json!({ "a": { "b": "d", "c": null } }), json!({ "a": { "b": "d" } })),
            (json!({ "a": [{ "b": "c" }] }), json!({ "a": [1] }), json!({ "a": [1] })),
            (json!({ "e": null }), json!({ "a": 1 }), json!({ "e": null, "a": 1 })),
            (json!({}), json!({ "a": { "bb": { "ccc": null } } }), json!({ "a": { "bb": {} } })),
        ] {
            let merged: Value = serde_json::from_str(&over(&target.to_string(), &patch).unwrap()).unwrap();
            assert_eq!(merged, expected, "{target} with {patch}");
        }
    }
}
