//! Reading each source once, from its beginning to its end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use cache::{Content as CachedContent, Found, FoundRecord, Scan};
use record::{Change, Decoded, Entity, Event, Version};
use table::{Letters, ScannedRow};
use topic::{Envelope, Reader, Stretch, TopicError};

use super::seen::{Content, InCache, InTopic, Seen};
use super::spill::{Heap, Spill};
use super::{Comparison, Ends};

/// Rows in one statement.
const ROWS: u32 = 1000;
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// What the topic has up to its second end.
pub(super) struct Events {
    /// The newest of each id before the fixed point, and behind it.
    pub(super) topic: Heap<InTopic>,
    pub(super) tail: Heap<InTopic>,
    pub(super) count: u64,
    /// Events that the table can have nothing of: poison and dead letters.
    pub(super) poison: u64,
}

/// Progress of one source, told now and then.
struct Progress {
    what: &'static str,
    entity: String,
    count: u64,
    told: Instant,
}

impl Progress {
    fn of(what: &'static str, entity: &str) -> Self {
        Self { what, entity: entity.to_owned(), count: 0, told: Instant::now() }
    }

    fn add(&mut self, number: u64) {
        self.count += number;
        if self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            self.tell();
        }
    }

    fn tell(&self) {
        let Self { what, entity, count, .. } = self;
        tracing::info!(entity, what, count, "{entity}: {count} {what} read");
    }
}

/// Asks on a thread that may wait.
pub(crate) async fn ask<T: Send + 'static>(
    reader: &Arc<Mutex<Reader>>,
    question: impl FnOnce(&mut Reader) -> Result<T, TopicError> + Send + 'static,
) -> anyhow::Result<T> {
    let reader = Arc::clone(reader);
    let answer = tokio::task::spawn_blocking(move || {
        let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
        question(&mut reader)
    });
    answer.await?.context("the topic cannot be read")
}

impl Comparison {
    /// What each partition holds now.
    pub(super) async fn ends(&self) -> anyhow::Result<Ends> {
        let ends = ask(&self.reader, |reader| reader.bounds()).await?;
        ensure!(!ends.is_empty(), "topic {} does not exist: run `persister migrate`", self.topic);
        Ok(ends)
    }

    /// Waits until the group has committed up to these ends: then the table has every event before them (G7).
    pub(super) async fn passed(&self, ends: &Ends) -> anyhow::Result<()> {
        let (since, mut told) = (Instant::now(), Instant::now());
        loop {
            let partitions: Vec<i32> = ends.keys().copied().collect();
            let committed = ask(&self.reader, move |reader| reader.committed(partitions)).await?;
            let behind = |(number, bounds): (&i32, &topic::Bounds)| {
                let next = committed.get(number).copied().flatten().unwrap_or(bounds.low);
                (bounds.end - next).max(0)
            };
            let behind: i64 = ends.iter().map(behind).sum();
            if behind == 0 {
                return Ok(());
            }
            ensure!(
                since.elapsed() < self.limits.drain,
                "the group is {behind} events behind the fixed point of topic {} after --drain-most-s: is a persister running?",
                self.topic
            );
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                tracing::info!(behind, "the group is {behind} events behind the fixed point of topic {}", self.topic);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(super) async fn scan_table(&self) -> anyhow::Result<(Heap<Seen>, u64)> {
        let entity = self.table.entity();
        let mut spill = Spill::new(self.limits.ids_most, &self.limits.folder)?;
        let (mut behind, mut progress) = (String::new(), Progress::of("rows", entity.name()));
        loop {
            let rows = self.table.page(&behind, ROWS).await.context("the table cannot be read")?;
            let Some(last) = rows.last() else { break };
            behind.clone_from(&last.id);
            for row in &rows {
                spill.add(&row.id, seen_row(entity, row))?;
            }
            progress.add(rows.len() as u64);
        }
        progress.tell();
        Ok((spill.finish()?, progress.count))
    }

    pub(super) async fn scan_cache(&mut self) -> anyhow::Result<(Heap<InCache>, u64)> {
        let entity = Arc::clone(self.table.entity());
        let mut spill = Spill::new(self.limits.ids_most, &self.limits.folder)?;
        let (mut at, mut progress) = (Some(Scan::default()), Progress::of("cached records", entity.name()));
        while let Some(scan) = at {
            let (found, next) = self.cache.scan(entity.name(), &scan).await.context("the cache cannot be read")?;
            for found in &found {
                if let Some(cached) = seen_cached(&entity, found) {
                    spill.add(&found.id, cached)?;
                }
            }
            progress.add(found.len() as u64);
            at = next;
        }
        progress.tell();
        Ok((spill.finish()?, progress.count))
    }

    /// From the beginning of the topic to `end`.
    pub(super) async fn read_events(&self, fixed: &Ends, end: &Ends) -> anyhow::Result<Events> {
        let before = fixed.iter().map(|(number, bounds)| (*number, (bounds.low, bounds.end))).collect();
        let behind = behind(fixed, end);
        let (entity, limits) = (Arc::clone(self.table.entity()), self.limits.clone());
        let letters = self.letters().await?;
        let reader = Arc::clone(&self.reader);
        let reading = tokio::task::spawn_blocking(move || -> anyhow::Result<Events> {
            let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            let (mut poison, mut progress) = (0, Progress::of("events", entity.name()));
            let mut heap = |reader: &mut Reader, stretch: &Stretch| -> anyhow::Result<Heap<InTopic>> {
                let mut spill = Spill::new(limits.ids_most, &limits.folder)?;
                reader.begin(stretch)?;
                while let Some((number, envelope)) = reader.read()? {
                    progress.add(1);
                    match seen_event(&entity, &letters, number, &envelope)? {
                        Some((id, seen)) => spill.add(&id, InTopic::of(seen))?,
                        None => poison += 1,
                    }
                }
                Ok(spill.finish()?)
            };
            let (topic, tail) = (heap(&mut reader, &before)?, heap(&mut reader, &behind)?);
            progress.tell();
            Ok(Events { topic, tail, count: progress.count, poison })
        });
        reading.await?.context("the topic cannot be read")
    }

    /// What was moved to the dead letters is in no row, and need not be.
    pub(super) async fn letters(&self) -> anyhow::Result<Letters> {
        self.database.letters(&self.topic, self.limits.ids_most).await.context("the dead letters cannot be read")
    }
}

/// From one end to another.
pub(super) fn behind(fixed: &Ends, end: &Ends) -> Stretch {
    let from = |number: &i32, low| fixed.get(number).map_or(low, |bounds| bounds.end);
    end.iter().map(|(number, bounds)| (*number, (from(number, bounds.low), bounds.end))).collect()
}

/// Whose event, and which version. `None`: it is poison or among the dead letters, and the table can have nothing of it.
///
/// # Errors
/// Its schema is not known here: then nothing can be said of its record.
pub(super) fn seen_event(
    entity: &Entity,
    letters: &Letters,
    number: i32,
    envelope: &Envelope,
) -> anyhow::Result<Option<(String, Seen)>> {
    let Decoded::Event(Event { id, version, change, .. }) = envelope.decode() else { return Ok(None) };
    if letters.has(number, envelope.offset, Some(version)) {
        return Ok(None);
    }
    let content = match change {
        Change::Tombstone => Content::Deleted,
        Change::Upsert { schema, datum } => {
            ensure!(
                entity.knows(schema),
                "the event at {number}/{} has schema id {schema}, which is unknown here: this program is older than ingest",
                envelope.offset
            );
            let Ok(record) = entity.read_avro(schema, &datum) else { return Ok(None) };
            Content::of(entity, Some(&record))
        }
    };
    Ok(Some((id.as_str().to_owned(), Seen { version, content })))
}

pub(super) fn seen_row(entity: &Entity, row: &ScannedRow) -> Seen {
    let content = row.content.as_ref().map_or(Content::Unreadable, |record| Content::of(entity, record.as_ref()));
    Seen { version: row.version, content }
}

/// `None`: every reader takes it for absent.
pub(super) fn seen_cached(entity: &Entity, found: &Found) -> Option<InCache> {
    let Some(FoundRecord { version, state, content, stale }) = &found.record else { return Some(InCache::Orphan) };
    let content = match content {
        _ if *stale => return None,
        Ok(CachedContent::Tombstone) => Content::Deleted,
        Ok(CachedContent::Json { text, schema }) => {
            let record = entity.parse_stored(*schema, text);
            record.map_or(Content::Unreadable, |record| Content::of(entity, Some(&record)))
        }
        Err(_) => Content::Unreadable,
    };
    let seen = Seen { version: Version::clone(version), content };
    let (in_outbox, in_unsettled) = (found.in_outbox, found.in_unsettled);
    Some(InCache::Record { seen, state: *state, in_outbox, in_unsettled })
}
