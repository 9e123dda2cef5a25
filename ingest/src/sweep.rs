//! PROTOCOL R11: brings to its end what has waited for the table for too long. A settle was lost: the row is asked, and the
//! cache told; or the event is a dead letter, and so is the record. The topic was lost: the record is produced again, from the cache.
//!
//! Only entries whose events the group has passed are looked at. Else MySQL would be asked for millions of rows just as it
//! returns, and records would be produced again that are on their way.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use cache::{Cache, CacheError, Dead, Settled, Shard, State, UnsettledEntry};
use service::{Dependency, Pulse, clock};
use table::EntityTable;
use tokio_util::sync::CancellationToken;
use topic::{Drained, KafkaSettings, LagMetrics, Partition};

use crate::metrics::IngestMetrics;
use crate::relay::{Outcomes, Relay};
use crate::rounds::CLAIM;

/// Entries in one look; their rows are asked for in one statement.
const BATCH: usize = 500;
/// Looks at one shard in one round. The next round goes on behind them, so that millions of entries that wait rightly cost
/// Redis a few percent of its time, and hide none that does not.
const LOOKS: usize = 4;
/// Records that are produced again at one time: each may be as large as a body.
const AT_ONCE: usize = 16;

#[derive(Debug)]
pub(crate) struct Sweep {
    pub(crate) cache: Cache,
    pub(crate) relay: Arc<Relay>,
    pub(crate) tables: BTreeMap<String, EntityTable>,
    pub(crate) kafka_settings: KafkaSettings,
    pub(crate) lag: LagMetrics,
    pub(crate) mysql: Dependency,
    pub(crate) after: Duration,
    pub(crate) metrics: IngestMetrics,
    /// Where the next round goes on; a shard that was seen to its end begins anew.
    pub(crate) seen: HashMap<Shard, u64>,
}

impl Sweep {
    /// With MySQL away nothing is known, and nothing is done.
    pub(crate) async fn sweep(
        &mut self,
        shard: Shard,
        stopping: &CancellationToken,
        pulse: &Pulse,
    ) -> Result<(), CacheError> {
        let until = clock::now_micros().saturating_sub(clock::micros(self.after));
        let mut behind = self.seen.remove(&shard).unwrap_or(0);
        for _ in 0..LOOKS {
            pulse.beat();
            if stopping.is_cancelled() || !self.mysql.is_up() || !self.cache.claim_relay(shard, CLAIM).await? {
                break;
            }
            // Before the rows are read (R14).
            let epoch = self.cache.epoch();
            let page = self.cache.unsettled(shard, behind, until, BATCH).await?;
            let Some(last) = page.behind else { return Ok(()) };
            behind = last;
            for (entity, entries) in self.passed(page.entries) {
                self.bring_to_an_end(&entity, entries, epoch).await?;
            }
        }
        self.seen.insert(shard, behind);
        Ok(())
    }

    fn passed(&self, entries: Vec<UnsettledEntry>) -> BTreeMap<String, Vec<UnsettledEntry>> {
        let drained = self.lag.drained();
        let mut passed: BTreeMap<String, Vec<UnsettledEntry>> = BTreeMap::new();
        for entry in entries {
            let topic = self.kafka_settings.topic(&entry.entity);
            if is_passed(&entry, &topic, &drained, self.after) {
                passed.entry(entry.entity.clone()).or_default().push(entry);
            }
        }
        passed
    }

    /// The group has passed these, so that the table has them, or their events are gone.
    async fn bring_to_an_end(&self, entity: &str, entries: Vec<UnsettledEntry>, epoch: u64) -> Result<(), CacheError> {
        // An entity of a newer ingest stays for one.
        let Some(table) = self.tables.get(entity) else { return Ok(()) };
        let ids: Vec<_> = entries.iter().map(|entry| entry.id.clone()).collect();
        let held = match table.held(&ids).await {
            Ok(held) => held,
            Err(error) => {
                tracing::debug!(%error, entity, "the sweep could not ask the table");
                return Ok(());
            }
        };
        let (mut settled, mut gone, mut in_vain) = (Vec::new(), Vec::new(), Vec::new());
        for (entry, held) in entries.into_iter().zip(held) {
            if held >= entry.version {
                settled.push(Settled { entity: entry.entity, id: entry.id, held, epoch });
            } else if entry.state.is_none() {
                in_vain.push(Dead { in_vain: true, ..dead_letter(&entry) });
            } else {
                gone.push(entry);
            }
        }
        if !in_vain.is_empty() {
            self.cache.dead(&in_vain).await?;
            self.count("dead", in_vain.len());
        }
        if !settled.is_empty() {
            self.cache.settle(&settled).await?;
            self.count("settled", settled.len());
        }
        for entries in gone.chunks(AT_ONCE) {
            if !self.produce_again(table, entries).await? {
                break;
            }
        }
        Ok(())
    }

    /// Not what is a dead letter: that is at its end, too, and only its settle was lost (`k52`). Says whether the table could be
    /// asked for that.
    async fn produce_again(&self, table: &EntityTable, entries: &[UnsettledEntry]) -> Result<bool, CacheError> {
        let asked: Vec<_> = entries.iter().map(|entry| (entry.id.clone(), entry.version)).collect();
        let dead = match table.dead(&asked).await {
            Ok(dead) => dead,
            Err(error) => {
                tracing::debug!(%error, entity = table.entity().name(), "the sweep could not ask for dead letters");
                return Ok(false);
            }
        };
        let (dead, lacking): (Vec<_>, Vec<_>) = entries.iter().zip(dead).partition(|(_, dead)| *dead);
        let dead: Vec<_> = dead.into_iter().map(|(entry, _)| dead_letter(entry)).collect();
        if !dead.is_empty() {
            self.cache.dead(&dead).await?;
            self.count("dead", dead.len());
        }
        let lacking: Vec<_> = lacking.into_iter().map(|(entry, _)| entry.clone()).collect();
        if lacking.is_empty() {
            return Ok(true);
        }
        let Outcomes { logged, refused, failed } = self.relay.publish_all(self.cache.behind(&lacking).await?).await;
        if !logged.is_empty() {
            tracing::warn!(
                records = logged.len(),
                "the group has passed these records and the table lacks them: they are produced again"
            );
            self.cache.produced_again(&logged).await?;
        }
        let buried = self.relay.refused.bury(&refused).await?;
        self.count("produced", logged.len());
        self.count("dead", buried);
        self.count("failed", failed + refused.len() - buried);
        Ok(true)
    }

    fn count(&self, outcome: &str, entries: usize) {
        self.metrics.swept.with_label_values(&[outcome]).inc_by(entries as u64);
    }
}

fn dead_letter(UnsettledEntry { entity, id, version, .. }: &UnsettledEntry) -> Dead {
    Dead { entity: entity.clone(), id: id.clone(), version: *version, in_vain: false }
}

/// Has the group passed whatever of this entry the topic had acknowledged? One that was overwritten waits for the topic, and is
/// the relay's. What a dead letter has uncovered may be on its way to the topic for as long as any event (R14): nobody knows
/// where it will stand.
fn is_passed(entry: &UnsettledEntry, topic: &str, drained: &Drained, after: Duration) -> bool {
    let (until, since) = match entry.state {
        Some(State::Cached) => return false,
        Some(_) => (drained.until(&Partition { topic: topic.into(), number: entry.partition }), entry.logged_at),
        None => (drained.everywhere_in(topic), entry.logged_at.saturating_add(clock::micros(after))),
    };
    until.is_some_and(|until| until.micros > since)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use record::{RecordId, Version};
    use topic::Moment;
    use topic::lag::Position;

    use super::*;

    /// `k55`: whatever could still bring it may stand in any partition, and has landed only after a while.
    #[test]
    fn r14_what_is_awaited_is_given_up_once_all_partitions_were_passed_for_long_enough() {
        let after = Duration::from_micros(10);
        let passed = |state, ends: [Option<u64>; 2]| {
            let (mut drained, at) = (Drained::default(), Instant::now());
            let position =
                |drained: bool| Position { committed: 5, end: if drained { 5 } else { 6 }, oldest_birth: None };
            for micros in ends.iter().flatten() {
                let looked = (0..)
                    .zip(ends)
                    .map(|(number, end)| (Partition { topic: "users".into(), number }, position(end >= Some(*micros))));
                drained.look(Moment { at: at + Duration::from_micros(*micros), micros: *micros }, &looked.collect());
            }
            let (id, version) = (RecordId::parse("1").unwrap(), Version::new(16).unwrap());
            let entry = UnsettledEntry { entity: "users".into(), id, version, state, partition: 0, logged_at: 100 };
            is_passed(&entry, "users", &drained, after)
        };
        assert!(passed(None, [Some(111), Some(111)]));
        assert!(!passed(None, [Some(110), Some(110)]), "its event may be about to land");
        assert!(!passed(None, [Some(111), None]), "its event may stand in the other partition");
        assert!(passed(Some(State::Logged), [Some(101), None]), "where that one stands is known");
        assert!(!passed(Some(State::Logged), [Some(100), None]));
        assert!(!passed(Some(State::Cached), [Some(111), Some(111)]), "it is the relay's");
    }
}
