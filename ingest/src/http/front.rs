//! What all handlers stand on: the entities that there are, and who may do what with them.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::HttpRequest;
use cache::Cache;
use record::RecordId;
use table::EntityTable;
use topic::LagMetrics;

use super::authenticate::caller;
use super::{Bulks, Described, Problem, Room};
use crate::callers::Right;
use crate::turns::Turns;
use crate::write::WritePath;

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) entities: BTreeMap<String, EntityTable>,
    pub(crate) writes: WritePath,
    pub(crate) cache: Cache,
    pub(crate) lag: LagMetrics,
    pub(crate) turns: Turns,
    /// R16: longer than any request takes.
    pub(crate) grace: Duration,
    pub(crate) body_bytes_most: usize,
    pub(crate) bodies: Room,
    pub(crate) bulks: Bulks,
    pub(crate) body_deadline: Duration,
    pub(crate) wait_most: Duration,
    pub(crate) event_bytes_most: usize,
    pub(crate) described: Described,
}

impl Front {
    fn table(&self, name: &str) -> Result<&EntityTable, Problem> {
        self.entities.get(name).ok_or_else(|| {
            let known: Vec<_> = self.entities.keys().map(String::as_str).collect();
            Problem::unknown_entity(&known)
        })
    }

    /// The entity's table, to a caller that may do this with it. To others it makes no difference whether it is there.
    pub(super) fn opened(&self, request: &HttpRequest, name: &str, right: Right) -> Result<&EntityTable, Problem> {
        if caller(request)?.may(right, name) { self.table(name) } else { Err(Problem::forbidden(right)) }
    }

    /// Counts a refusal. An entity that does not exist must not become a label.
    pub(super) fn counted<T>(&self, name: &str, answer: Result<T, Problem>) -> Result<T, Problem> {
        answer.inspect_err(|problem| {
            let entity = if self.entities.contains_key(name) { name } else { "unknown" };
            self.writes.metrics.rejected.with_label_values(&[entity, problem.kind().as_str()]).inc();
        })
    }
}

/// Whether the path's entity is one, before anything else is said about the path. An alias names none.
pub(super) fn known(front: &Front, request: &HttpRequest) -> Result<(), Problem> {
    let Some(name) = request.match_info().get("entity") else { return Ok(()) };
    if caller(request)?.sees(name) { front.table(name).map(drop) } else { Err(Problem::forbidden(Right::Read)) }
}

pub(super) fn segment<'r>(request: &'r HttpRequest, name: &str) -> &'r str {
    request.match_info().query(name)
}

pub(super) fn record_id(text: &str) -> Result<RecordId, Problem> {
    RecordId::parse(text).map_err(|fault| Problem::id(fault.to_string()))
}
