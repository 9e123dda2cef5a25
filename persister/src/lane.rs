//! THE persist path: the events of one partition on their way into the table, as PROTOCOL R13 and R14 have it.
//!
//! decode → newest version per record → one transaction with its read-back → re-asserts acknowledged → offset may be
//! committed → settle. A batch that fails is tried again whole, and nothing behind it moves: that is what keeps an offset
//! from passing an event that is not in the table.

use std::collections::VecDeque;
use std::future::Future;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cache::Settled;
use record::{Change, Decoded, Event, Reason, SchemaId};
use service::{clock, fail_points};
use table::{EntityTable, Held, Incoming};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use topic::{Envelope, Partition, Publisher};

use crate::batch::{Coalesced, coalesce};
use crate::commit::{Generation, OffsetTracker};
use crate::hold::{Hold, LaneError};
use crate::metrics::PersisterMetrics;
use crate::reassert;
use crate::settle::Settler;
use crate::unknown::{Meaning, meaning};

/// What all lanes share.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    pub(crate) publisher: Publisher,
    pub(crate) settler: Settler,
    pub(crate) offsets: Arc<Mutex<OffsetTracker>>,
    pub(crate) metrics: PersisterMetrics,
    pub(crate) batch_rows_most: usize,
    pub(crate) batch_bytes_most: usize,
    pub(crate) future_most: Duration,
    pub(crate) unknown_schema_hold: Duration,
}

/// The one owner of order in a partition, for one generation.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) partition: Partition,
    pub(crate) generation: Generation,
    pub(crate) table: EntityTable,
    pub(crate) surroundings: Surroundings,
    pub(crate) queued: mpsc::Receiver<Envelope>,
    pub(crate) queued_bytes: Arc<AtomicUsize>,
    pub(crate) draining: CancellationToken,
}

impl Lane {
    /// Until its partition is given back: then the batch in hand is finished, and nothing more is begun.
    pub(crate) async fn run(mut self) {
        while let Some(batch) = self.take().await {
            if self.bring_all(batch).await.is_break() {
                return;
            }
        }
    }

    /// What is queued, up to the bounds. A batch adds no wait: the first event goes alone when nothing else is there.
    async fn take(&mut self) -> Option<VecDeque<Envelope>> {
        let first = tokio::select! {
            biased;
            () = self.draining.cancelled() => None,
            first = self.queued.recv() => first,
        }?;
        self.queued_bytes.fetch_sub(first.bytes(), Ordering::Relaxed);
        let mut batch = VecDeque::from([first]);
        self.fill(&mut batch);
        Some(batch)
    }

    fn fill(&mut self, batch: &mut VecDeque<Envelope>) {
        let mut bytes: usize = batch.iter().map(Envelope::bytes).sum();
        while batch.len() < self.surroundings.batch_rows_most && bytes < self.surroundings.batch_bytes_most {
            let Ok(next) = self.queued.try_recv() else { break };
            self.queued_bytes.fetch_sub(next.bytes(), Ordering::Relaxed);
            bytes += next.bytes();
            batch.push_back(next);
        }
    }

    /// An event that cannot be applied holds what is behind it, never what is before it.
    async fn bring_all(&mut self, mut batch: VecDeque<Envelope>) -> ControlFlow<()> {
        let (partition, metrics) = (self.partition.clone(), self.surroundings.metrics.clone());
        let (mut hold, mut unknown_since) = (Hold::new(&partition, &metrics), None);
        while let Err(error) = self.bring(&batch).await? {
            let before = batch.iter().position(|envelope| error.blocks() == Some(envelope.offset)).unwrap_or(0);
            if before > 0 {
                let behind = batch.split_off(before);
                Box::pin(self.bring_all(std::mem::replace(&mut batch, behind))).await?;
                continue;
            }
            let error = match error {
                LaneError::UnknownSchema { offset, schema } => {
                    // No id becomes known while the process runs: all that can change is what comes behind the event. This
                    // is the end of what was taken, since what stands before such an event is whole.
                    self.fill(&mut batch);
                    let (_, since) = *unknown_since
                        .insert(unknown_since.filter(|(of, _)| *of == offset).unwrap_or((offset, Instant::now())));
                    self.weigh(offset, schema, since.elapsed(), &batch)
                }
                clear => clear,
            };
            if !hold.wait(&error, &self.draining).await {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    /// What the unknown schema id of the batch's first event means.
    fn weigh(&self, offset: i64, schema: SchemaId, held: Duration, batch: &VecDeque<Envelope>) -> LaneError {
        let later_decodes = batch.iter().skip(1).any(|envelope| self.can_read(envelope));
        match meaning(held, self.surroundings.unknown_schema_hold, later_decodes) {
            Meaning::Open => LaneError::UnknownSchema { offset, schema },
            Meaning::Older => LaneError::Older { offset, schema },
            Meaning::Poison => {
                let detail = format!("schema id {schema} is unknown here, and events behind it have known ones");
                LaneError::Poison { offset, reason: Reason::UnknownSchema, detail }
            }
        }
    }

    /// A tombstone has no schema, so it says nothing of what its writer knows.
    fn can_read(&self, envelope: &Envelope) -> bool {
        let Decoded::Event(Event { change: Change::Upsert { schema, datum }, .. }) = envelope.decode() else {
            return false;
        };
        self.table.entity().read_avro(schema, &datum).is_ok()
    }

    /// The journey of a batch. `Break`: the partition was taken away before its end, and nothing of it may be committed. An
    /// error names the event that cannot be applied.
    async fn bring(&self, batch: &VecDeque<Envelope>) -> ControlFlow<(), Result<(), LaneError>> {
        let records = match self.decode(batch) {
            Ok(events) => coalesce(events),
            Err(error) => return ControlFlow::Continue(Err(error)),
        };
        if fail_points::told(fail_points::BUG_COMMIT_BEFORE_APPLY) {
            self.commit(batch);
        }
        let epoch = self.surroundings.settler.epoch();
        let (held, at) = match self.insist(|| self.apply(&records)).await? {
            Ok(applied) => applied,
            Err(error) => return ControlFlow::Continue(Err(error)),
        };
        fail_points::reached(fail_points::LANE_APPLIED);
        if let Err(error) = self.insist(|| self.reassert(&records, &held)).await? {
            return ControlFlow::Continue(Err(error));
        }
        self.commit(batch);
        self.settle(&records, &held, epoch);
        self.count(&records, &held, at);
        ControlFlow::Continue(Ok(()))
    }

    /// Tries a step until it succeeds, one event turns out to be in the way, or the partition is taken away.
    async fn insist<T, F>(&self, step: impl Fn() -> F) -> ControlFlow<(), Result<T, LaneError>>
    where
        F: Future<Output = Result<T, LaneError>>,
    {
        let mut hold = Hold::new(&self.partition, &self.surroundings.metrics);
        loop {
            match step().await {
                Err(error) if error.blocks().is_none() => {
                    if !hold.wait(&error, &self.draining).await {
                        return ControlFlow::Break(());
                    }
                }
                ended => return ControlFlow::Continue(ended),
            }
        }
    }

    /// The first event that is none, or none that is known here, is the error: whatever stands behind it.
    fn decode<'b>(&self, batch: &'b VecDeque<Envelope>) -> Result<Vec<(i64, Event<'b>)>, LaneError> {
        let latest = clock::now_micros().saturating_add(clock::micros(self.surroundings.future_most));
        let event = |envelope: &'b Envelope| {
            let offset = envelope.offset;
            match envelope.decode() {
                Decoded::Event(event) if event.version.birth_micros() <= latest => match event.change {
                    Change::Upsert { schema, .. } if !self.table.entity().knows(schema) => {
                        Err(LaneError::UnknownSchema { offset, schema })
                    }
                    _ => Ok((offset, event)),
                },
                Decoded::Event(_) => {
                    let detail = "its version lies in the future by this machine's clock".to_owned();
                    Err(LaneError::Poison { offset, reason: Reason::VersionInFuture, detail })
                }
                Decoded::Poison(poison) => {
                    Err(LaneError::Poison { offset, reason: poison.reason, detail: poison.detail })
                }
            }
        };
        batch.iter().map(event).collect()
    }

    /// R13: one transaction, and when it was committed. Only the newest version of each record is decoded in full.
    async fn apply(&self, records: &[Coalesced<'_>]) -> Result<(Vec<Held>, u64), LaneError> {
        let incoming = records.iter().map(|record| self.incoming(record)).collect::<Result<Vec<_>, _>>()?;
        let begun = Instant::now();
        let held = self.table.apply(&incoming, clock::now_micros()).await?;
        let committed_at = clock::now_micros();
        self.surroundings.metrics.apply.observe(begun.elapsed().as_secs_f64());
        let displaced = |record: &Coalesced<'_>| LaneError::Displaced { offset: record.offset };
        let held = held.into_iter().zip(records).map(|(held, record)| held.ok_or_else(|| displaced(record)));
        Ok((held.collect::<Result<_, _>>()?, committed_at))
    }

    fn incoming<'r>(&self, record: &'r Coalesced<'_>) -> Result<Incoming<'r>, LaneError> {
        let Coalesced { id, version, offset, change, .. } = record;
        let content = match change {
            Change::Tombstone => None,
            Change::Upsert { schema, datum } => {
                let read = self.table.entity().read_avro(*schema, datum);
                Some(read.map_err(|fault| LaneError::Poison {
                    offset: *offset,
                    reason: Reason::Undecodable,
                    detail: fault.to_string(),
                })?)
            }
        };
        Ok(Incoming { id: id.clone(), version: *version, offset: *offset, record: content })
    }

    async fn reassert(&self, records: &[Coalesced<'_>], held: &[Held]) -> Result<(), LaneError> {
        for (record, _) in records.iter().zip(held).filter(|(record, held)| reassert::is_inverted(record, held)) {
            let Surroundings { publisher, metrics, .. } = &self.surroundings;
            reassert::reassert(&self.table, publisher, &self.partition.topic, &record.id).await?;
            metrics.reasserted.with_label_values(&[self.entity()]).inc();
        }
        Ok(())
    }

    /// Everything up to the last event of the batch is applied or superseded: its offset may be committed (G7).
    fn commit(&self, batch: &VecDeque<Envelope>) {
        if let Some(last) = batch.back() {
            let mut offsets = self.surroundings.offsets.lock().unwrap_or_else(PoisonError::into_inner);
            offsets.done(&self.partition, self.generation, last.offset + 1);
        }
    }

    /// R14: h is what was read back, not what the event carried.
    fn settle(&self, records: &[Coalesced<'_>], held: &[Held], epoch: u64) {
        for (record, held) in records.iter().zip(held) {
            let entity = self.entity().to_owned();
            self.surroundings.settler.settle(Settled { entity, id: record.id.clone(), held: held.version, epoch });
        }
    }

    fn entity(&self) -> &str {
        self.table.entity().name()
    }

    fn count(&self, records: &[Coalesced<'_>], held: &[Held], committed_at: u64) {
        let metrics = &self.surroundings.metrics;
        let lag = metrics.write_lag.with_label_values(&[self.entity()]);
        let (mut applied, mut superseded) = (0, 0);
        for (record, held) in records.iter().zip(held) {
            if held.version == record.version {
                applied += record.newest;
                superseded += record.older;
            } else {
                superseded += record.newest + record.older;
            }
            if held.fresh && held.version == record.version {
                lag.observe(clock::seconds_between(record.version.birth_micros(), committed_at));
            }
        }
        metrics.fates.with_label_values(&[self.entity(), "applied"]).inc_by(applied);
        metrics.fates.with_label_values(&[self.entity(), "superseded"]).inc_by(superseded);
        #[expect(clippy::cast_precision_loss, reason = "a batch has few rows")]
        metrics.batch_rows.observe((applied + superseded) as f64);
    }
}
