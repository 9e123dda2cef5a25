//! THE read path (PROTOCOL R12): the cache, else the row, and the row into the cache under a lease.

use std::sync::Arc;

use cache::{Cache, Cached, Content, Entry, Lease, Looked, State};
use record::{Change, Entity, RecordId, Version};
use table::{EntityTable, StoredRow, TableError};

/// A record as a client sees it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) version: Version,
    pub(crate) state: State,
    /// The fields as one JSON object, without the id.
    pub(crate) json: String,
}

/// Why a record can be neither shown nor denied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the record is not cached and the database cannot be asked")]
    Table(#[from] TableError),
    #[error("the cached record does not fit its schema: {0}")]
    Stored(#[from] record::StoredFault),
}

/// What is known of a record once the cache was asked, and the table where the cache had nothing.
#[derive(Debug)]
pub(crate) enum Brought {
    /// This. If the cache could be filled it has it, too.
    Here(Cached),
    /// There is no row, and there was nothing in the cache when it gave the lease.
    Nowhere(Option<Lease>),
}

/// The newest version that cache or table have; `None` where there is no record or it is deleted.
pub(crate) async fn read(cache: &Cache, table: &EntityTable, id: &RecordId) -> Result<Option<Found>, ReadError> {
    match bring(cache, table, id).await? {
        Brought::Here(cached) => shown(table.entity(), cached).map_err(Into::into),
        Brought::Nowhere(_) => Ok(None),
    }
}

/// R12: the cache, else the row, and the row into the cache.
pub(crate) async fn bring(cache: &Cache, table: &EntityTable, id: &RecordId) -> Result<Brought, ReadError> {
    let entity = table.entity();
    let lease = match cache.look(entity.name(), id).await {
        Ok(Looked::Hit(cached)) => return Ok(Brought::Here(cached)),
        Ok(Looked::Miss(lease)) => lease,
        // Without Redis the row answers; nothing can be filled.
        Err(error) => {
            tracing::debug!(%error, "lookup");
            None
        }
    };
    let Some(row) = table.select(id).await? else { return Ok(Brought::Nowhere(lease)) };
    let StoredRow { version, record } = row;
    let content = match &record {
        Some(record) => {
            let mut text = String::new();
            entity.write_json(record, &mut text);
            Content::Json { text, schema: entity.newest_id() }
        }
        None => Content::Tombstone,
    };
    if let Some(lease) = lease {
        let entry = Entry { entity: entity.name().to_owned(), id: id.clone(), version, content: content.clone() };
        if let Err(error) = cache.fill(&lease, &entry).await {
            tracing::debug!(%error, "a row that was read could not be cached");
        }
    }
    Ok(Brought::Here(Cached { version, state: State::Persisted, content }))
}

/// What an event says that brings this content to the topic, `None` where this build does not understand it.
pub(crate) fn change(entity: &Entity, content: Content) -> Option<Change<'static>> {
    let Content::Json { text, schema } = content else { return Some(Change::Tombstone) };
    if !entity.knows(schema) {
        // Read in an older shape it would lose the fields that are new, under its own version.
        tracing::warn!(%schema, entity = entity.name(), "a record of a newer ingest stays in the outbox for one");
        return None;
    }
    match entity.parse_stored(schema, &text) {
        Ok(record) => Some(entity.change(Some(&record))),
        Err(fault) => {
            tracing::error!(%fault, entity = entity.name(), "a record does not fit its schema and stays in the outbox");
            None
        }
    }
}

/// In the newest shape, whichever version of the schema wrote it.
fn shown(entity: &Arc<Entity>, cached: Cached) -> Result<Option<Found>, record::StoredFault> {
    let Cached { version, state, content } = cached;
    let json = match content {
        Content::Tombstone => return Ok(None),
        Content::Json { text, schema } if schema == entity.newest_id() => text,
        Content::Json { text, schema } => {
            let mut json = String::new();
            entity.write_json(&entity.parse_stored(schema, &text)?, &mut json);
            json
        }
    };
    Ok(Some(Found { version, state, json }))
}
