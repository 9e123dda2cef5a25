//! PROTOCOL R16: how long a cache that lost something stays incomplete. Each instance watches for itself, and whoever is first
//! ends it: the last step is a compare-and-delete.
//!
//! (1) Longer than any request lives has passed since the doubt was first seen. (2) Then the ends of the topics were read.
//! (3) The group has passed them. (4) Nothing that was in outbox and unsettled when it was first seen still is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache::{Cache, CacheError, Doubt, Shard};
use record::Catalog;
use table::Database;
use topic::{LagMetrics, Moment};

use crate::metrics::IngestMetrics;

#[derive(Debug)]
pub(crate) struct Doubts {
    pub(crate) cache: Cache,
    pub(crate) lag: LagMetrics,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) database: Database,
    pub(crate) grace: Duration,
    pub(crate) metrics: IngestMetrics,
    pub(crate) watched: HashMap<Shard, Watched>,
}

/// A doubt as it was first seen here.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    doubt: Doubt,
    at: Instant,
}

impl Doubts {
    /// Takes away those doubts whose time has come.
    pub(crate) async fn end(&mut self) -> Result<(), CacheError> {
        let doubts = self.cache.doubts().await?;
        self.metrics.incomplete_shards.set(i64::try_from(doubts.len()).unwrap_or(i64::MAX));
        let drained = self.lag.drained().everywhere();
        self.watched = watch(std::mem::take(&mut self.watched), doubts, Instant::now());
        let over: Vec<_> = self.watched.values().filter(|watched| watched.is_drained(self.grace, drained)).collect();
        if over.is_empty() || !self.knows_every_topic().await {
            return Ok(());
        }
        for Watched { doubt, .. } in over {
            if self.cache.complete(doubt).await? {
                tracing::info!(shard = doubt.shard.number(), "the cache of a shard is complete again");
            }
        }
        Ok(())
    }

    /// Whether the topic of an entity of a newer build is drained, only that build can tell.
    async fn knows_every_topic(&self) -> bool {
        match self.database.entities().await {
            Ok(entities) => entities.iter().all(|entity| self.catalog.get(entity).is_some()),
            Err(error) => {
                tracing::debug!(%error, "the entities");
                false
            }
        }
    }
}

/// Those that are there now; one that was set again begins anew.
fn watch(mut before: HashMap<Shard, Watched>, doubts: Vec<Doubt>, now: Instant) -> HashMap<Shard, Watched> {
    let watched = |doubt: Doubt| {
        let known = before.remove(&doubt.shard).filter(|known| known.doubt.since == doubt.since);
        (doubt.shard, known.unwrap_or(Watched { doubt, at: now }))
    };
    doubts.into_iter().map(watched).collect()
}

impl Watched {
    /// Steps (1) to (3): the group has passed ends that were read after the grace.
    fn is_drained(&self, grace: Duration, drained: Option<Moment>) -> bool {
        drained.is_some_and(|until| until.at >= self.at + grace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doubt(since: &str, last: u64) -> Doubt {
        Doubt { shard: Shard::all().next().expect("there are shards"), since: since.to_owned(), last }
    }

    #[test]
    fn r16_a_doubt_is_kept_as_it_was_first_seen_and_begins_anew_when_it_is_set_again() {
        let begun = Instant::now();
        let later = begun + Duration::from_secs(10);
        let first = watch(HashMap::new(), vec![doubt("7 1", 100)], begun);
        let second = watch(first, vec![doubt("7 1", 900)], later);
        let known = second.values().next().expect("it is watched");
        assert_eq!((known.at, known.doubt.last), (begun, 100), "only what was there at first is waited for");
        let third = watch(second, vec![doubt("7 2", 950)], later);
        let known = third.values().next().expect("it is watched");
        assert_eq!((known.at, known.doubt.last), (later, 950));
        assert!(watch(third, Vec::new(), later).is_empty());
    }

    #[test]
    fn r16_only_ends_that_were_read_after_the_grace_count() {
        let (begun, grace) = (Instant::now(), Duration::from_secs(30));
        let watched = Watched { doubt: doubt("7 1", 100), at: begun };
        let until = |seconds| Some(Moment { at: begun + Duration::from_secs(seconds), micros: 0 });
        assert!(!watched.is_drained(grace, None));
        assert!(!watched.is_drained(grace, until(29)), "a request from before may still land behind that end");
        assert!(watched.is_drained(grace, until(30)));
    }
}
