//! THE read path (PROTOCOL R12): the cache, else the row, and the row into the cache under a lease.

use std::sync::Arc;

use cache::{Cache, Cached, Content, Entry, Looked, State};
use record::{Entity, RecordId, Version};
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

/// The newest version that cache or table have; `None` where there is no record or it is deleted.
pub(crate) async fn read(cache: &Cache, table: &EntityTable, id: &RecordId) -> Result<Option<Found>, ReadError> {
    let entity = table.entity();
    let lease = match cache.look(entity.name(), id).await {
        Ok(Looked::Hit(cached)) => return shown(entity, cached).map_err(Into::into),
        Ok(Looked::Miss(lease)) => lease,
        // Without Redis the row answers; nothing can be filled.
        Err(error) => {
            tracing::debug!(%error, "lookup");
            None
        }
    };
    let Some(row) = table.select(id).await? else { return Ok(None) };
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
    shown(entity, Cached { version, state: State::Persisted, content }).map_err(Into::into)
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
