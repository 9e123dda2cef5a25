//! `Prefer: wait`: waiting until MySQL holds a version, or has refused it. The cache learns of it from the settle; where it knows
//! nothing of the version any more, or cannot be asked, the database answers.

use std::time::Duration;

use cache::{Cache, State};
use record::{RecordId, Version};
use table::{EntityTable, Letter};
use tokio::time::{Instant, sleep_until};

const FIRST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(250);

/// What a wait has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// It has come this far, when last looked at.
    State(State),
    /// The table refused it.
    Dead(Letter),
}

/// Looks until the version is persisted, or a newer one over it, or it is a dead letter, or `until`; once at least. `state` is how
/// far it had come before.
pub(crate) async fn persisted(
    cache: &Cache,
    table: &EntityTable,
    id: &RecordId,
    (version, mut state): (Version, State),
    until: Instant,
) -> Waited {
    let mut pause = FIRST;
    loop {
        match look(cache, table, id, version).await {
            Some(Waited::State(seen)) => state = state.max(seen),
            Some(dead @ Waited::Dead(_)) => return dead,
            None => {}
        }
        let now = Instant::now();
        if state == State::Persisted || now >= until {
            return Waited::State(state);
        }
        sleep_until(until.min(now + pause)).await;
        pause = (pause * 2).min(LONGEST);
    }
}

/// What stands over it in the cache may stand over a dead letter, so that only its own version there needs no second word.
async fn look(cache: &Cache, table: &EntityTable, id: &RecordId, version: Version) -> Option<Waited> {
    match cache.state(table.entity().name(), id).await {
        Ok(Some((known, state))) if known == version => Some(Waited::State(state)),
        _ => {
            let known = table.fate(id, version).await.ok()?;
            let there = known.row.is_some_and(|row| row.version >= version);
            known.letter.map(Waited::Dead).or_else(|| there.then_some(Waited::State(State::Persisted)))
        }
    }
}
