//! What the sweep needs of Redis (PROTOCOL R11, R16): unsettled entries, the records behind those that are produced again, and
//! the doubt about a shard and its end.

use redis::Value;

use crate::answers::{Doubt, Logged, PendingEntry, UnsettledEntry, UnsettledPage};
use crate::cache::done_of;
use crate::call::Call;
use crate::keys::{Shard, located, member};
use crate::reply::{pending, unsettled_page};
use crate::{Cache, CacheError};

impl Cache {
    /// R11: the oldest unsettled entries of a shard, newer than `behind` and none newer than `until`, at most `most`.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn unsettled(
        &self,
        shard: Shard,
        behind: u64,
        until: u64,
        most: usize,
    ) -> Result<UnsettledPage, CacheError> {
        let mut call = Call::of(&self.scripts.sweep);
        call.key(shard.unsettled()).arg(behind).arg(until).arg(most).arg(shard.record_prefix());
        unsettled_page(self.call::<Vec<Value>>(&call).await?)
    }

    /// R11, second half: the records behind these entries, where they still have the version that was looked at.
    ///
    /// # Errors
    /// [`CacheError`]. A record that cannot be read is left out.
    pub async fn behind(&self, entries: &[UnsettledEntry]) -> Result<Vec<PendingEntry>, CacheError> {
        let mut pipe = redis::pipe();
        for entry in entries {
            let (member, shard) = located(&entry.entity, &entry.id);
            pipe.cmd("HMGET").arg(shard.record(&member));
            pipe.arg("version").arg("payload").arg("deleted").arg("schema").arg("trace");
        }
        let held: Vec<[Option<String>; 5]> = self.pipe(&pipe).await?;
        let records = entries.iter().zip(held).filter_map(|(entry, [version, payload, deleted, schema, trace])| {
            let member = Some(member(&entry.entity, &entry.id));
            pending([member, version, payload, deleted, schema, trace])
                .ok()
                .filter(|record| record.version == entry.version)
        });
        Ok(records.collect())
    }

    /// R11, second half: these versions were produced again, and stand there now. Returns how many records still have that
    /// version.
    ///
    /// # Errors
    /// [`CacheError`]; a record that was not told is produced once more.
    pub async fn produced_again(&self, entries: &[Logged]) -> Result<u64, CacheError> {
        let mut call = Call::of(&self.scripts.again);
        for entry in entries {
            let (member, shard) = located(&entry.entity, &entry.id);
            call.key(shard.record(&member));
            call.arg(entry.version.get()).arg(entry.partition).arg(entry.offset).arg(entry.at);
        }
        self.call(&call).await.map(|done| done_of("again", done))
    }

    /// R16: the shards that are incomplete.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn doubts(&self) -> Result<Vec<Doubt>, CacheError> {
        let mut pipe = redis::pipe();
        for shard in Shard::all() {
            pipe.cmd("GET").arg(shard.incomplete()).cmd("GET").arg(shard.last());
        }
        let held: Vec<Option<String>> = self.pipe(&pipe).await?;
        let doubt = |(shard, held): (Shard, &[Option<String>])| {
            let [Some(since), last] = held else { return None };
            let last = last.as_deref().and_then(|last| last.parse().ok()).unwrap_or(0);
            Some(Doubt { shard, since: since.clone(), last })
        };
        Ok(Shard::all().zip(held.chunks(2)).filter_map(doubt).collect())
    }

    /// R16: takes a doubt away if nothing of what was there when it was first seen still waits for topic or table, and it was
    /// not set again since. Says whether it did.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn complete(&self, doubt: &Doubt) -> Result<bool, CacheError> {
        let mut call = Call::of(&self.scripts.complete);
        call.key(doubt.shard.incomplete()).key(doubt.shard.outbox()).key(doubt.shard.unsettled());
        call.arg(&doubt.since).arg(doubt.last);
        self.call(&call).await
    }
}
