//! Looking at suspects alone, again and again, until each agrees, stands still as a difference, or the looks are used up.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};

use anyhow::Context;
use record::{RecordId, Version};

use super::gather::{behind, seen_cached, seen_event, seen_row};
use super::judge::{Difference, Sight, judge};
use super::report::Different;
use super::seen::{InCache, InTopic, Seen};
use super::{Compared, Comparison, Ends, Suspects};

/// What is known of one suspect's events behind the first fixed point.
#[derive(Debug, Default)]
struct Behind {
    /// Before this look's own fixed point.
    before: Option<InTopic>,
    after: Option<InTopic>,
    exact: Vec<Seen>,
}

impl Comparison {
    pub(super) async fn look_again(
        &mut self,
        mut suspects: Suspects,
        first: &Ends,
        compared: &mut Compared,
    ) -> anyhow::Result<()> {
        for look in 1..=self.limits.looks_most {
            if suspects.is_empty() {
                break;
            }
            if look > 1 {
                tokio::time::sleep(self.limits.again_after).await;
            }
            let mut sights = self.look(&suspects, first).await?;
            suspects.retain(|id, suspect| {
                let Some(sight) = sights.remove(id) else { return false };
                let differences = judge(&sight);
                if differences.is_empty() {
                    return false;
                }
                if stands(suspect.sight.as_ref(), &sight) {
                    compared.different.push(Different { id: id.clone(), differences, sight });
                    return false;
                }
                suspect.sight = Some(sight);
                true
            });
            tracing::info!(look, suspects = suspects.len(), "{} suspects are left after look {look}", suspects.len());
        }
        compared.in_motion.extend(suspects.into_keys());
        compared.different.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(())
    }

    /// In the order that `judge` explains.
    async fn look(&mut self, suspects: &Suspects, first: &Ends) -> anyhow::Result<HashMap<Box<str>, Sight>> {
        let fixed = self.fixed_point().await?;
        let entity = Arc::clone(self.table.entity());
        let ids: Vec<&str> = suspects.keys().map(AsRef::as_ref).collect();
        let rows = self.table.rows(&ids).await.context("the table cannot be read")?;
        let rows: HashMap<_, _> = rows.into_iter().map(|row| (row.id.clone(), seen_row(&entity, &row))).collect();
        let purged = self.table.purged().await?;
        let cached = self.cache.look(entity.name(), &ids).await.context("the cache cannot be read")?;
        let end = self.ends().await?;
        let mut sights = HashMap::with_capacity(ids.len());
        for (id, suspect) in suspects {
            let sight = Sight {
                topic: suspect.topic,
                tail: None,
                exact: Vec::new(),
                row: rows.get(&**id).copied(),
                cached: cached.get(&**id).and_then(|found| seen_cached(&entity, found)),
                dead: false,
                purged,
            };
            sights.insert(id.clone(), sight);
        }
        let mut behind = self.read_behind(first, &fixed, &end, &sights).await?;
        for (id, sight) in &mut sights {
            let Behind { before, after, exact } = behind.remove(id).unwrap_or_default();
            sight.topic = before.map(|next| InTopic::joined(sight.topic, next)).or(sight.topic);
            (sight.tail, sight.exact) = (after, exact);
        }
        self.know_the_dead(&mut sights).await?;
        Ok(sights)
    }

    /// An event that is a dead letter is none that was seen: of the versions in the cache that lack one, which are these?
    async fn know_the_dead(&self, sights: &mut HashMap<Box<str>, Sight>) -> anyhow::Result<()> {
        for (id, sight) in sights.iter_mut().filter(|(_, sight)| judge(sight).contains(&Difference::LoggedWithoutEvent))
        {
            if let Some(InCache::Record { seen, .. }) = sight.cached {
                let asked = self.table.dead(&[(RecordId::parse(id)?, seen.version)]).await;
                sight.dead = asked.context("the dead letters cannot be read")?.contains(&true);
            }
        }
        Ok(())
    }

    /// The suspects' events from the first fixed point to the end.
    async fn read_behind(
        &self,
        first: &Ends,
        fixed: &Ends,
        end: &Ends,
        sights: &HashMap<Box<str>, Sight>,
    ) -> anyhow::Result<HashMap<Box<str>, Behind>> {
        let wanted: HashMap<Box<str>, HashSet<Version>> =
            sights.iter().map(|(id, sight)| (id.clone(), sight.wanted().collect())).collect();
        let (stretch, fixed, entity) = (behind(first, end), fixed.clone(), Arc::clone(self.table.entity()));
        let letters = self.letters().await?;
        let reader = Arc::clone(&self.reader);
        let reading = tokio::task::spawn_blocking(move || -> anyhow::Result<HashMap<Box<str>, Behind>> {
            let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            let mut found: HashMap<Box<str>, Behind> = HashMap::new();
            reader.begin(&stretch)?;
            while let Some((number, envelope)) = reader.read()? {
                let Some((id, seen)) = seen_event(&entity, &letters, number, &envelope)? else { continue };
                let Some((id, versions)) = wanted.get_key_value(id.as_str()) else { continue };
                let behind = found.entry(id.clone()).or_default();
                let newest = if envelope.offset < fixed.get(&number).map_or(0, |bounds| bounds.end) {
                    &mut behind.before
                } else {
                    &mut behind.after
                };
                *newest = Some(InTopic::joined(*newest, InTopic::of(seen)));
                if versions.contains(&seen.version) && behind.exact.iter().all(|known| known.version != seen.version) {
                    behind.exact.push(seen);
                }
            }
            Ok(found)
        });
        reading.await?.context("the topic cannot be read")
    }
}

/// Did the last look see the same, so that nothing was on its way? Where an event stands beside the fixed point says nothing.
fn stands(before: Option<&Sight>, now: &Sight) -> bool {
    let newest = |sight: &Sight| sight.newest_in_topic().map(|event| event.version);
    before.is_some_and(|before| {
        before.row == now.row
            && before.cached == now.cached
            && newest(before) == newest(now)
            && judge(before) == judge(now)
    })
}
