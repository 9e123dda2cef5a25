//! Compares topic, table and cache of one entity up to a fixed point, beside running services (DESIGN G6).
//!
//! **The first look** reads every source once, in the order that `judge` explains, spreads what it finds over files (`spill`) and
//! compares a part at a time: memory holds at most as many ids as the settings say. Whatever does not agree is suspect.
//!
//! **Looking again.** With traffic a suspect need be no difference: of a record that was written twice while the table was
//! scanned, the row's event is neither the newest before nor the newest behind the fixed point; a settle is on its way; an entry
//! moves from one index to the other. So each suspect is looked at alone, in the same order, behind a new fixed point that the
//! group has passed again, and now with the events of exactly the versions that were found. It counts as different when two
//! such looks, a while apart, see the same difference in the same versions: nothing was on its way then, since every step of a
//! version changes what is seen and none of them takes that long, unless a store is away. What agrees once is agreement; what
//! still differs but never stands still is told apart as "in motion".
//!
//! Only events may be asked twice, and those from the first fixed point on only: what was before it is remembered for each
//! suspect.

mod gather;
mod judge;
mod look;
mod report;
mod seen;
mod spill;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use cache::Inspector;
use table::{Database, EntityTable};
use topic::{Bounds, Reader};

pub(crate) use gather::ask;
pub(crate) use report::Compared;

use judge::{Sight, judge};
use seen::{InCache, InTopic, Seen};
use spill::{BUCKETS, Heap, Part};

/// What a comparison may take.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Ids held in memory, over all sources.
    pub(crate) ids_most: usize,
    /// Where what does not fit is put.
    pub(crate) folder: PathBuf,
    /// How long the group may take to pass a fixed point.
    pub(crate) drain: Duration,
    /// Between two looks.
    pub(crate) again_after: Duration,
    pub(crate) looks_most: usize,
}

/// The end of each partition at one moment.
pub(crate) type Ends = BTreeMap<i32, Bounds>;

/// One entity's three sources.
#[derive(Debug)]
pub(crate) struct Comparison {
    pub(crate) table: EntityTable,
    pub(crate) database: Database,
    pub(crate) cache: Inspector,
    pub(crate) reader: Arc<Mutex<Reader>>,
    pub(crate) topic: String,
    pub(crate) limits: Limits,
}

/// A record that did not agree when it was last looked at.
#[derive(Debug)]
struct Suspect {
    /// Its events before the first fixed point.
    topic: Option<InTopic>,
    /// What the last look saw; none in the first, which saw less.
    sight: Option<Sight>,
}

type Suspects = BTreeMap<Box<str>, Suspect>;

impl Comparison {
    /// # Errors
    /// The sources cannot be compared: one is away, the group does not pass the fixed point, or this program does not know a
    /// schema.
    pub(crate) async fn run(mut self) -> anyhow::Result<Compared> {
        let mut compared = Compared::of(self.table.entity().name());
        let fixed = self.fixed_point().await?;
        let (rows, row_count) = self.scan_table().await?;
        let purged = self.table.purged().await?;
        let (cached, cached_count) = self.scan_cache().await?;
        let end = self.ends().await?;
        let events = self.read_events(&fixed, &end).await?;
        (compared.rows, compared.cached, compared.events) = (row_count, cached_count, events.count);
        compared.poison = events.poison;
        let mut heaps = Heaps { topic: events.topic, tail: events.tail, rows, cached };
        let mut suspects = Suspects::new();
        for bucket in 0..BUCKETS {
            let of = heaps.parts(bucket, self.limits.ids_most);
            for part in (0..of).map(|index| Part { index, of }) {
                let ids = heaps.compare(bucket, part, purged, |id, sight| {
                    if suspects.len() < self.limits.ids_most {
                        suspects.insert(id, Suspect { topic: sight.topic, sight: None });
                    } else {
                        compared.unlooked += 1;
                    }
                });
                compared.ids += ids.context("the files for what does not fit into memory")?;
            }
        }
        drop(heaps);
        let entity = self.table.entity().name();
        let number = suspects.len() as u64;
        compared.suspects = number;
        tracing::info!(
            entity,
            ids = compared.ids,
            suspects = number,
            "{number} of {} ids are looked at again",
            compared.ids
        );
        self.look_again(suspects, &fixed, &mut compared).await?;
        Ok(compared)
    }

    /// The topic's ends now, which the group has passed when this returns.
    async fn fixed_point(&self) -> anyhow::Result<Ends> {
        let ends = self.ends().await?;
        self.passed(&ends).await?;
        Ok(ends)
    }
}

/// What the first look has of each source.
struct Heaps {
    topic: Heap<InTopic>,
    tail: Heap<InTopic>,
    rows: Heap<Seen>,
    cached: Heap<InCache>,
}

impl Heaps {
    /// Into how many parts a bucket is to be cut so that none has more ids than may be held, over all sources.
    fn parts(&self, bucket: u64, most: usize) -> u64 {
        let entries = self.topic.entries(bucket)
            + self.tail.entries(bucket)
            + self.rows.entries(bucket)
            + self.cached.entries(bucket);
        entries.div_ceil(most as u64).max(1)
    }

    /// Hands out what does not agree; says how many ids there were.
    fn compare(
        &mut self,
        bucket: u64,
        part: Part,
        purged: record::Version,
        mut suspect: impl FnMut(Box<str>, Sight),
    ) -> std::io::Result<u64> {
        let (mut topic, mut tail) = (self.topic.load(bucket, part)?, self.tail.load(bucket, part)?);
        let (mut rows, mut cached) = (self.rows.load(bucket, part)?, self.cached.load(bucket, part)?);
        let mut ids: Vec<Box<str>> =
            topic.keys().chain(rows.keys()).chain(cached.keys()).chain(tail.keys()).cloned().collect();
        ids.sort_unstable();
        ids.dedup();
        let number = ids.len() as u64;
        for id in ids {
            let sight = Sight {
                topic: topic.remove(&id),
                tail: tail.remove(&id),
                exact: Vec::new(),
                row: rows.remove(&id),
                cached: cached.remove(&id),
                dead: false,
                purged,
            };
            if !judge(&sight).is_empty() {
                suspect(id, sight);
            }
        }
        Ok(number)
    }
}
