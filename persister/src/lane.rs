//! THE persist path: the events of one partition on their way into the table, as PROTOCOL R13 and R14 have it.
//!
//! decode → newest version per record → one transaction with its read-back → re-asserts acknowledged → dead letters
//! acknowledged and noted → offset may be committed → settle. What the table refuses is halved until the refused events are
//! alone (`bisect`), and those are dead letters, unless they are too many (`brake`). A part that fails otherwise is tried again
//! whole, and nothing behind it moves: that is what keeps an offset from passing an event that is nowhere.

use std::collections::BTreeSet;
use std::future::Future;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cache::{Dead, Settled};
use record::SchemaId;
use service::{FailureClass, Pulse, clock, fail_points};
use table::{EntityTable, Held};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use topic::{Envelope, Partition, Publisher};

use crate::batch::{Coalesced, coalesce};
use crate::bisect::Parts;
use crate::brake::Brake;
use crate::commit::{Generation, OffsetTracker};
use crate::dead::{self, DeadLetter, Refusal};
use crate::decode::{self, Opened};
use crate::hold::{Hold, LaneError};
use crate::metrics::{ASSIGNMENT_LOST, PersisterMetrics};
use crate::obstacle::Obstacle;
use crate::reassert;
use crate::settle::{Outcome, Settler};

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
    pub(crate) probe_every: Duration,
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
    /// Unknown schema ids that were found to be poison.
    pub(crate) condemned: BTreeSet<SchemaId>,
    /// What stops dead letters that are too many, and late tombstones (R18).
    pub(crate) dead: Brake,
    pub(crate) late: Brake,
    /// Up to where an operator has let both go.
    pub(crate) accepted: Option<i64>,
    pub(crate) pulse: Pulse,
}

/// What became of a part of a batch.
#[derive(Debug)]
enum Brought {
    /// All of it is applied, superseded or a dead letter.
    Whole,
    /// The table refuses it as it is.
    Refused,
    /// Nothing yet: the lane may not pass the event at this place.
    Before(usize, Obstacle),
}

impl Lane {
    /// Until its partition is given back: then the batch in hand is finished, and nothing more is begun.
    pub(crate) async fn run(mut self) {
        while let Some(batch) = self.take().await {
            if self.bring_all(batch).await.is_break() {
                return;
            }
            self.pulse.rest();
        }
    }

    /// What is queued, up to the bounds. A batch adds no wait: the first event goes alone when nothing else is there.
    async fn take(&mut self) -> Option<Vec<Envelope>> {
        let first = tokio::select! {
            biased;
            () = self.draining.cancelled() => None,
            first = self.queued.recv() => first,
        }?;
        self.queued_bytes.fetch_sub(first.bytes(), Ordering::Relaxed);
        let mut batch = vec![first];
        self.fill(&mut batch);
        Some(batch)
    }

    pub(crate) fn fill(&mut self, batch: &mut Vec<Envelope>) {
        let mut bytes: usize = batch.iter().map(Envelope::bytes).sum();
        while batch.len() < self.surroundings.batch_rows_most && bytes < self.surroundings.batch_bytes_most {
            let Ok(next) = self.queued.try_recv() else { break };
            self.queued_bytes.fetch_sub(next.bytes(), Ordering::Relaxed);
            bytes += next.bytes();
            batch.push(next);
        }
    }

    /// A batch, whole where it can be, in ever smaller parts where the table refuses it. An event that may not be passed holds
    /// what is behind it, never what is before it. `Break`: the partition was taken away before the end.
    async fn bring_all(&mut self, mut batch: Vec<Envelope>) -> ControlFlow<()> {
        let mut parts = Parts::of(batch.len());
        while let Some(part) = parts.next() {
            let onward = batch.get(part.start..).unwrap_or_default();
            match self.bring(onward.get(..part.len()).unwrap_or_default(), onward).await? {
                Brought::Whole => {}
                Brought::Refused => parts.halve(part),
                Brought::Before(at, _) if at > 0 => parts.cut(part.clone(), part.start + at),
                Brought::Before(_, obstacle) => {
                    batch.drain(..part.start);
                    self.pulse.rest();
                    self.stand(&mut batch, obstacle).await?;
                    parts = Parts::of(batch.len());
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// The journey of a part; `onward` is the part and what stands behind it in its batch.
    async fn bring(&mut self, part: &[Envelope], onward: &[Envelope]) -> ControlFlow<(), Brought> {
        let Opened { events, mut letters, unknown } = self.open(part);
        if let Some((at, schema)) = unknown {
            return ControlFlow::Continue(Brought::Before(at, Obstacle::Unknown(schema)));
        }
        let single = events.len() <= 1;
        let records = coalesce(events);
        if fail_points::told(fail_points::BUG_COMMIT_BEFORE_APPLY) {
            self.commit(part);
        }
        let epoch = self.surroundings.settler.epoch();
        let held = match self.insist(|| self.apply(&records)).await? {
            Ok(held) => held,
            Err(_) if !single => return ControlFlow::Continue(Brought::Refused),
            Err(refusal) => {
                letters.extend(self.insist(|| self.letter(part, &records, &refusal)).await?);
                Vec::new()
            }
        };
        fail_points::reached(fail_points::LANE_APPLIED);
        if let Some((at, obstacle)) = self.stopped(part, &letters, &late(&records, &held)) {
            return ControlFlow::Continue(Brought::Before(at, obstacle));
        }
        self.insist(|| self.reassert(onward, &records, &held, &letters)).await?;
        self.insist(|| self.bury(&letters)).await?;
        self.commit(part);
        self.settle(&records, &held, &letters, epoch);
        self.count(&records, &held, &letters);
        ControlFlow::Continue(Brought::Whole)
    }

    /// Tries a step until it succeeds, or the partition is taken away.
    async fn insist<T, F>(&self, step: impl Fn() -> F) -> ControlFlow<(), T>
    where
        F: Future<Output = Result<T, LaneError>>,
    {
        let mut hold = Hold::new(&self.partition, &self.surroundings.metrics);
        loop {
            self.pulse.beat();
            match step().await {
                Ok(done) => return ControlFlow::Continue(done),
                Err(error) => {
                    self.pulse.rest();
                    if !hold.wait(&error, &self.draining).await {
                        return ControlFlow::Break(());
                    }
                }
            }
        }
    }

    pub(crate) fn open<'b>(&self, part: &'b [Envelope]) -> Opened<'b> {
        let latest = clock::now_micros().saturating_add(clock::micros(self.surroundings.future_most));
        decode::open(self.table.entity(), part, latest, |schema| self.condemned.contains(&schema))
    }

    /// R13: one transaction. What the table refuses for its content is no failure of the step.
    pub(crate) async fn apply(&self, records: &[Coalesced<'_>]) -> Result<Result<Vec<Held>, Refusal>, LaneError> {
        if records.is_empty() {
            return Ok(Ok(Vec::new()));
        }
        let incoming: Vec<_> = records.iter().map(Coalesced::incoming).collect();
        let begun = Instant::now();
        let held = match self.table.apply(&incoming, clock::now_micros()).await {
            Ok(held) => held,
            Err(error) if error.class() == FailureClass::Poison => return Ok(Err(Refusal::Error(error))),
            Err(error) => return Err(error.into()),
        };
        let committed_at = clock::now_micros();
        self.surroundings.metrics.apply.observe(begun.elapsed().as_secs_f64());
        self.observe_lag(records, &held, committed_at);
        Ok(held.into_iter().collect::<Option<Vec<_>>>().ok_or(Refusal::Taken))
    }

    /// The one event of `records`, which the table refuses.
    async fn letter<'b>(
        &self,
        part: &'b [Envelope],
        records: &[Coalesced<'_>],
        refusal: &Refusal,
    ) -> Result<Option<DeadLetter<'b>>, LaneError> {
        let Some(record) = records.first() else { return Ok(None) };
        let rival = if refusal.may_be_taken() { self.table.rival(&record.incoming()).await? } else { None };
        let (reason, detail) = refusal.told(&record.id, rival.as_ref());
        let envelope = part.iter().find(|envelope| envelope.offset == record.offset);
        Ok(envelope.map(|envelope| DeadLetter { envelope, reason, detail }))
    }

    /// G8: the first event of the part that the brake lets not pass. Only a part that passes whole is counted.
    fn stopped(&mut self, part: &[Envelope], letters: &[DeadLetter<'_>], late: &[i64]) -> Option<(usize, Obstacle)> {
        if letters.is_empty() && late.is_empty() {
            for _ in part {
                self.dead.passed();
                self.late.passed();
            }
            return None;
        }
        let (mut dead_brake, mut late_brake) = (self.dead.clone(), self.late.clone());
        for (at, envelope) in part.iter().enumerate() {
            let letter = letters.iter().find(|letter| letter.envelope.offset == envelope.offset);
            let accepted = self.accepted >= Some(envelope.offset);
            match letter {
                Some(_) if accepted => {}
                Some(letter) if !dead_brake.admits() => {
                    return Some((at, Obstacle::Dead(letter.reason, letter.detail.clone())));
                }
                Some(_) => {}
                None => dead_brake.passed(),
            }
            match late.contains(&envelope.offset) {
                true if accepted => {}
                true if !late_brake.admits() => return Some((at, Obstacle::Late)),
                true => {}
                false => late_brake.passed(),
            }
        }
        (self.dead, self.late) = (dead_brake, late_brake);
        None
    }

    /// R13 and R18: what compaction must not be left with.
    async fn reassert(
        &self,
        onward: &[Envelope],
        records: &[Coalesced<'_>],
        held: &[Held],
        letters: &[DeadLetter<'_>],
    ) -> Result<(), LaneError> {
        let (publisher, topic) = (&self.surroundings.publisher, &*self.partition.topic);
        let reasserted = self.surroundings.metrics.reasserted.with_label_values(&[self.entity()]);
        for (record, held) in records.iter().zip(held) {
            self.pulse.beat();
            if reassert::is_late(record, held) {
                reassert::bury_late(publisher, topic, &record.id, held.version).await?;
                self.surroundings.metrics.late.with_label_values(&[self.entity()]).inc();
            } else if reassert::is_inverted(record, held) {
                reassert::reassert(&self.table, publisher, topic, &record.id).await?;
                reasserted.inc();
            }
        }
        for letter in dead::tails(onward, letters) {
            self.pulse.beat();
            if reassert::reassert_behind(&self.table, publisher, topic, letter).await? {
                reasserted.inc();
            }
        }
        Ok(())
    }

    async fn bury(&self, letters: &[DeadLetter<'_>]) -> Result<(), LaneError> {
        let Surroundings { publisher, .. } = &self.surroundings;
        dead::bury(self.table.database(), publisher, self.entity(), &self.partition, letters).await
    }

    /// Everything up to the last event of the part is applied, superseded or a dead letter: its offset may be committed (G7).
    fn commit(&self, part: &[Envelope]) {
        if let Some(last) = part.last() {
            let Surroundings { offsets, metrics, .. } = &self.surroundings;
            let mut offsets = offsets.lock().unwrap_or_else(PoisonError::into_inner);
            if !offsets.done(&self.partition, self.generation, last.offset + 1) {
                metrics.commit_failures.with_label_values(&[ASSIGNMENT_LOST]).inc();
            }
        }
    }

    /// R14: h is what was read back, not what the event carried; and a dead letter is told, too.
    fn settle(&self, records: &[Coalesced<'_>], held: &[Held], letters: &[DeadLetter<'_>], epoch: u64) {
        let entity = || self.entity().to_owned();
        let settled = records.iter().zip(held).map(|(record, held)| {
            Outcome::Held(Settled { entity: entity(), id: record.id.clone(), held: held.version, epoch })
        });
        let dead = letters.iter().filter_map(DeadLetter::version);
        let dead = dead.map(|(id, version)| Outcome::Dead(Dead { entity: entity(), id, version }));
        settled.chain(dead).for_each(|outcome| self.surroundings.settler.settle(outcome));
    }

    pub(crate) fn entity(&self) -> &str {
        self.table.entity().name()
    }

    /// Once per version applied.
    fn observe_lag(&self, records: &[Coalesced<'_>], held: &[Option<Held>], committed_at: u64) {
        let lag = self.surroundings.metrics.write_lag.with_label_values(&[self.entity()]);
        for (record, held) in records.iter().zip(held) {
            if held.is_some_and(|held| held.fresh && held.version == record.version) {
                lag.observe(clock::seconds_between(record.version.birth_micros(), committed_at));
            }
        }
    }

    fn count(&self, records: &[Coalesced<'_>], held: &[Held], letters: &[DeadLetter<'_>]) {
        let metrics = &self.surroundings.metrics;
        let (mut applied, mut superseded) = (0, 0);
        for (record, held) in records.iter().zip(held) {
            if held.version == record.version {
                applied += record.newest;
                superseded += record.older;
            } else {
                superseded += record.newest + record.older;
            }
        }
        for letter in letters {
            metrics.dead_letters.with_label_values(&[self.entity(), letter.reason.as_str()]).inc();
            tracing::error!(
                topic = %self.partition.topic,
                number = self.partition.number,
                offset = letter.envelope.offset,
                reason = letter.reason.as_str(),
                "dead letter: {}",
                letter.detail
            );
        }
        for (fate, events) in [("applied", applied), ("superseded", superseded), ("dead", letters.len() as u64)] {
            metrics.fates.with_label_values(&[self.entity(), fate]).inc_by(events);
        }
        #[expect(clippy::cast_precision_loss, reason = "a batch has few rows")]
        metrics.batch_rows.observe((applied + superseded) as f64);
    }
}

/// The offsets of late writes.
fn late(records: &[Coalesced<'_>], held: &[Held]) -> Vec<i64> {
    let late = records.iter().zip(held).filter(|(record, held)| reassert::is_late(record, held));
    late.map(|(record, _)| record.tail.offset).collect()
}
