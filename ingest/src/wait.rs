//! `Prefer: wait`: waiting until MySQL holds a version. The cache learns of it from the settle; where it knows nothing of the
//! version any more, or cannot be asked, the row answers.

use std::time::Duration;

use cache::{Cache, State};
use record::{RecordId, Version};
use table::EntityTable;
use tokio::time::{Instant, sleep_until};

const FIRST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(250);

/// Whether the version, or a newer one, is persisted by `until`.
pub(crate) async fn persisted(
    cache: &Cache,
    table: &EntityTable,
    id: &RecordId,
    version: Version,
    until: Instant,
) -> bool {
    let mut pause = FIRST;
    loop {
        if holds(cache, table, id, version).await {
            return true;
        }
        if Instant::now() + pause >= until {
            return false;
        }
        sleep_until(Instant::now() + pause).await;
        pause = (pause * 2).min(LONGEST);
    }
}

async fn holds(cache: &Cache, table: &EntityTable, id: &RecordId, version: Version) -> bool {
    match cache.state(table.entity().name(), id).await {
        Ok(Some((known, State::Persisted))) if known >= version => true,
        Ok(Some((known, _))) if known == version => false,
        _ => table.select(id).await.is_ok_and(|row| row.is_some_and(|row| row.version >= version)),
    }
}
