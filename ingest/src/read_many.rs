//! Many records at once, each by the read path (PROTOCOL R12), which share their round trips: all are looked for in the cache
//! at the same time, and the rows of those that it misses come by one statement.

use std::collections::HashMap;

use cache::{Cache, Lease, Looked};
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use futures_util::stream;
use record::RecordId;
use service::FailureClass;
use table::{EntityTable, StoredRow, TableError};
use tokio::time::Instant;

use crate::read::{Answer, ReadError, Source, entry, fill, look, persisted, shown};

/// Rows that are put into the cache at the same time.
const FILLS_AT_ONCE: usize = 32;

/// The newest version of each record, in the order of the ids, of which none may stand there twice. All or nothing: whatever
/// keeps one of them from being told keeps all.
///
/// # Cancellation
/// Whatever was done stands, and nothing is left half-done.
pub(crate) async fn read_many(
    cache: &Cache,
    table: &EntityTable,
    ids: &[RecordId],
    until: Instant,
) -> Result<Vec<Answer>, ReadError> {
    let entity = table.entity();
    let looked = try_join_all(ids.iter().map(|id| look(cache, entity, id, until))).await?;
    let missed = ids.iter().zip(&looked).filter(|(_, looked)| !matches!(looked, Some(Looked::Hit(_))));
    let missed: Vec<_> = missed.map(|(id, _)| id.as_str()).collect();
    let mut rows = rows(table, &missed).await?;
    let mut fills: Vec<(Lease, cache::Entry)> = Vec::new();
    let answers = ids.iter().zip(looked).map(|(id, looked)| {
        let (source, lease) = match looked {
            Some(Looked::Hit(cached)) => {
                return Ok(Answer { source: Source::Cache, found: Some(shown(entity, cached)?) });
            }
            Some(Looked::Miss(Some(lease))) => (Source::Table, Some(lease)),
            Some(Looked::Unleased(FailureClass::Saturated)) => (Source::Table, None),
            Some(Looked::Miss(None) | Looked::Unleased(_)) | None => (Source::TableUnchecked, None),
        };
        let Some(row) = rows.remove(id.as_str()) else { return Ok(Answer { source, found: None }) };
        let cached = persisted(entity, row);
        fills.extend(lease.map(|lease| (lease, entry(entity, id, &cached))));
        Ok(Answer { source, found: Some(shown(entity, cached)?) })
    });
    let answers = answers.collect::<Result<_, ReadError>>()?;
    let fills = stream::iter(fills);
    fills.for_each_concurrent(FILLS_AT_ONCE, async |(lease, entry)| fill(cache, &lease, entry).await).await;
    Ok(answers)
}

async fn rows(table: &EntityTable, ids: &[&str]) -> Result<HashMap<String, StoredRow>, TableError> {
    let mut rows = HashMap::with_capacity(ids.len());
    for row in table.rows(ids).await? {
        let record = row.content.map_err(TableError::Unreadable)?;
        rows.insert(row.id, StoredRow { version: row.version, record });
    }
    Ok(rows)
}
