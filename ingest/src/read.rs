//! THE read path (PROTOCOL R12): the cache, else the row, and the row into the cache under a lease.

use std::sync::Arc;
use std::time::Duration;

use cache::{Cache, CacheError, Cached, Content, Entry, Lease, Looked, State};
use record::{Change, Entity, RecordId, StoredFault, Version};
use service::FailureClass;
use table::{EntityTable, StoredRow, TableError};
use tokio::time::{Instant, sleep_until, timeout_at};

/// Between two looks for a version that is not there yet.
const FIRST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(250);

/// What a client is told of a record.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) source: Source,
    /// `None`: the source knows of no such record.
    pub(crate) found: Option<Found>,
}

/// Where an answer comes from, and so what it can vouch for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumIter)]
pub(crate) enum Source {
    /// The newest version that was written through the cache.
    Cache,
    /// The cache was asked, and has nothing newer than the row.
    Table,
    /// The cache is away or in doubt: a newer version may be on its way to the table.
    TableUnchecked,
}

/// A record as a client sees it.
#[derive(Debug)]
pub(crate) struct Found {
    /// Its newest version there, also where that is a deletion.
    pub(crate) version: Version,
    pub(crate) state: State,
    /// The fields as one JSON object, without the id; `None`: it is deleted.
    pub(crate) json: Option<String>,
}

/// Why a record can be neither shown nor denied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the cache may have a newer version than the table and does not answer")]
    Cache(#[source] CacheError),
    #[error("the record is not cached and the database cannot be asked")]
    Table(#[from] TableError),
    #[error("the cached record does not fit its schema: {0}")]
    Stored(#[from] StoredFault),
}

/// What a precondition is decided on, once the cache has missed it.
#[derive(Debug)]
pub(crate) enum Brought {
    /// In the cache; or in its row, which is in the cache now if nobody was faster.
    Here(Cached),
    /// There is no row, and there was nothing in the cache when it gave the lease; without one the cache is in doubt.
    Nowhere(Option<Lease>),
    /// Redis keeps no lease.
    Unleased(FailureClass),
}

impl Source {
    /// As the answer names it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Table => "table",
            Self::TableUnchecked => "table-unchecked",
        }
    }
}

/// R12: the newest version that the cache has, else the row. The row is asked without the cache only where Redis is known to
/// be away: for a connection that has just broken, or is not there yet, this waits until `until`.
///
/// # Cancellation
/// Whatever was done stands, and nothing is left half-done.
pub(crate) async fn read(
    cache: &Cache,
    table: &EntityTable,
    id: &RecordId,
    until: Instant,
) -> Result<Answer, ReadError> {
    let entity = table.entity();
    let (source, lease) = match look(cache, entity, id, until).await? {
        Some(Looked::Hit(cached)) => {
            return Ok(Answer { source: Source::Cache, found: Some(shown(entity, cached)?) });
        }
        Some(Looked::Miss(Some(lease))) => (Source::Table, Some(lease)),
        Some(Looked::Unleased(FailureClass::Saturated)) => (Source::Table, None),
        Some(Looked::Miss(None) | Looked::Unleased(_)) | None => (Source::TableUnchecked, None),
    };
    let Some(row) = table.select(id).await? else { return Ok(Answer { source, found: None }) };
    let cached = persisted(entity, row);
    if let Some(lease) = lease {
        fill(cache, &lease, entry(entity, id, &cached)).await;
    }
    Ok(Answer { source, found: Some(shown(entity, cached)?) })
}

/// The same, once it is no older than `least`; `None`: it was not until `until`. What is nowhere is as new as the mark up to which
/// such records were purged.
///
/// # Cancellation
/// As of [`read`].
pub(crate) async fn read_at_least(
    cache: &Cache,
    table: &EntityTable,
    id: &RecordId,
    least: Version,
    until: Instant,
) -> Result<Option<Answer>, ReadError> {
    let mut pause = FIRST;
    loop {
        let answer = read(cache, table, id, until).await?;
        let version = match &answer.found {
            Some(found) => found.version,
            None => table.held(std::slice::from_ref(id)).await?.first().copied().unwrap_or_default(),
        };
        if version >= least {
            return Ok(Some(answer));
        }
        let now = Instant::now();
        if now >= until {
            return Ok(None);
        }
        sleep_until(until.min(now + pause)).await;
        pause = (pause * 2).min(LONGEST);
    }
}

/// `None`: Redis is away.
pub(crate) async fn look(
    cache: &Cache,
    entity: &Entity,
    id: &RecordId,
    until: Instant,
) -> Result<Option<Looked>, ReadError> {
    loop {
        let error = match cache.look(entity.name(), id).await {
            Ok(looked) => return Ok(Some(looked)),
            Err(error) => error,
        };
        // Where Redis is there and refuses, waiting for it is no use.
        if !matches!(error, CacheError::Away | CacheError::Unanswered(_)) || Instant::now() >= until {
            return Err(ReadError::Cache(error));
        }
        match timeout_at(until, cache.is_there()).await {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(_) => return Err(ReadError::Cache(error)),
        }
    }
}
/// R12, for a precondition: the row into the cache, or the lease under which there is none.
pub(crate) async fn bring(cache: &Cache, table: &EntityTable, id: &RecordId) -> Result<Brought, ReadError> {
    let entity = table.entity();
    let lease = match cache.look(entity.name(), id).await.map_err(ReadError::Cache)? {
        Looked::Hit(cached) => return Ok(Brought::Here(cached)),
        Looked::Miss(None) => return Ok(Brought::Nowhere(None)),
        Looked::Miss(Some(lease)) => lease,
        Looked::Unleased(class) => return Ok(Brought::Unleased(class)),
    };
    let Some(row) = table.select(id).await? else { return Ok(Brought::Nowhere(Some(lease))) };
    let cached = persisted(entity, row);
    fill(cache, &lease, entry(entity, id, &cached)).await;
    Ok(Brought::Here(cached))
}

/// Only under the lease; and not at all is no harm.
pub(crate) async fn fill(cache: &Cache, lease: &Lease, entry: Entry) {
    if let Err(error) = cache.fill(lease, &entry).await {
        tracing::debug!(%error, "a row that was read could not be cached");
    }
}

pub(crate) fn entry(entity: &Entity, id: &RecordId, cached: &Cached) -> Entry {
    let Cached { version, content, .. } = cached.clone();
    Entry { entity: entity.name().to_owned(), id: id.clone(), version, content }
}

pub(crate) fn persisted(entity: &Entity, row: StoredRow) -> Cached {
    let content = row.record.map_or(Content::Tombstone, |record| {
        let mut text = String::new();
        entity.write_json(&record, &mut text);
        Content::Json { text, schema: entity.newest_id() }
    });
    Cached { version: row.version, state: State::Persisted, content }
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
pub(crate) fn shown(entity: &Arc<Entity>, cached: Cached) -> Result<Found, StoredFault> {
    let Cached { version, state, content } = cached;
    let json = match content {
        Content::Tombstone => None,
        Content::Json { text, schema } if schema == entity.newest_id() => Some(text),
        Content::Json { text, schema } => {
            let mut json = String::new();
            entity.write_json(&entity.parse_stored(schema, &text)?, &mut json);
            Some(json)
        }
    };
    Ok(Found { version, state, json })
}
