//! THE persist path: the events of one partition on their way into the table, as PROTOCOL R13 and R14 have it.
//!
//! decode → newest version per record → one transaction with its read-back → re-asserts acknowledged → dead letters
//! acknowledged and noted → offset may be committed → settle. What the table refuses is halved until the refused events are
//! alone (`bisect`), and those are dead letters, unless they are too many (`brake`). A part that fails otherwise is tried again
//! whole, and nothing behind it moves: that is what keeps an offset from passing an event that is nowhere.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cache::{Dead, Settled};
use record::SchemaId;
use service::{FailureClass, Pulse, clock, fail_points};
use table::{EntityTable, Held};
use tokio_util::sync::CancellationToken;
use topic::{Envelope, Partition, Publisher};

use crate::batch::{Coalesced, coalesce};
use crate::bisect::{Brought, Parts};
use crate::brake::{Brakes, Fate};
use crate::commit::{Generation, OffsetTracker};
use crate::dead::{self, DeadLetter, Refusal};
use crate::decode::{self, Opened};
use crate::hold::LaneError;
use crate::metrics::{ASSIGNMENT_LOST, PersisterMetrics};
use crate::obstacle::Obstacle;
use crate::queue::Exit;
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
    pub(crate) queue: Exit,
    pub(crate) draining: CancellationToken,
    /// Unknown schema ids that were found to be poison.
    pub(crate) condemned: BTreeSet<SchemaId>,
    /// The partition's, whichever lane has it.
    pub(crate) brakes: Arc<Mutex<Brakes>>,
    pub(crate) pulse: Pulse,
}

/// What the table makes of records.
#[derive(Debug)]
pub(crate) enum Applied {
    /// It holds this of each.
    Whole(Vec<Held>),
    /// It takes them not as they are, and nothing was changed, or nothing of the record that it does not take.
    Refused(Refusal),
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
            first = self.queue.next() => first,
        }?;
        let mut batch = vec![first];
        self.take_more(&mut batch);
        Some(batch)
    }

    pub(crate) fn take_more(&mut self, batch: &mut Vec<Envelope>) {
        let Surroundings { batch_rows_most, batch_bytes_most, .. } = &self.surroundings;
        self.queue.fill(batch, *batch_rows_most, *batch_bytes_most);
    }

    /// A batch, whole where it can be, in ever smaller parts where the table refuses it. An event that may not be passed holds
    /// what is behind it, never what is before it. `Break`: the partition was taken away before the end.
    async fn bring_all(&mut self, mut batch: Vec<Envelope>) -> ControlFlow<()> {
        let mut parts = Parts::of(batch.len());
        while let Some(part) = parts.next() {
            let onward = batch.get(part.start..).unwrap_or_default();
            let brought = self.bring(onward.get(..part.len()).unwrap_or_default(), onward).await?;
            if let Some(obstacle) = parts.after(part.clone(), brought) {
                batch.drain(..part.start);
                self.pulse.rest();
                self.stand(&mut batch, obstacle).await?;
                parts = Parts::of(batch.len());
            }
        }
        ControlFlow::Continue(())
    }

    /// The journey of a part; `onward` is the part and what stands behind it in its batch.
    async fn bring(&self, part: &[Envelope], onward: &[Envelope]) -> ControlFlow<(), Brought<Obstacle>> {
        let Opened { events, mut letters, unknown } = self.open(part);
        if let Some((at, schema)) = unknown {
            return ControlFlow::Continue(Brought::Before(at, Obstacle::Unknown(schema)));
        }
        if let Some((at, apart)) = self.insist(|| self.doubtful(part, &letters)).await? {
            return ControlFlow::Continue(Brought::Before(at, Obstacle::Clocks(apart)));
        }
        let (single, records) = (events.len() <= 1, coalesce(events));
        if fail_points::told(fail_points::BUG_COMMIT_BEFORE_APPLY) {
            self.commit(part);
        }
        let epoch = self.surroundings.settler.epoch();
        let applied: Vec<_> = match self.insist(|| self.apply(&records)).await? {
            Applied::Whole(held) => records.into_iter().zip(held).collect(),
            Applied::Refused(_) if !single => return ControlFlow::Continue(Brought::Refused),
            Applied::Refused(refusal) => {
                letters.extend(self.insist(|| dead::letter(&self.table, part, &records, &refusal)).await?);
                Vec::new()
            }
        };
        fail_points::reached(fail_points::LANE_APPLIED);
        self.look_up(&mut letters).await?;
        if let Some((at, obstacle)) = self.stopped(part, &applied, &letters) {
            return ControlFlow::Continue(Brought::Before(at, obstacle));
        }
        self.reassert(onward, &applied, &letters).await?;
        self.bury(&letters).await?;
        self.commit(part);
        self.settle(&applied, &letters, epoch);
        self.count(&applied, &letters);
        ControlFlow::Continue(Brought::Whole)
    }

    pub(crate) fn open<'b>(&self, part: &'b [Envelope]) -> Opened<'b> {
        let latest = clock::now_micros().saturating_add(clock::micros(self.surroundings.future_most));
        decode::open(self.table.entity(), part, latest, |schema| self.condemned.contains(&schema))
    }

    /// R13: one transaction. What the table refuses for its content is no failure of the step.
    pub(crate) async fn apply(&self, records: &[Coalesced<'_>]) -> Result<Applied, LaneError> {
        if records.is_empty() {
            return Ok(Applied::Whole(Vec::new()));
        }
        let incoming: Vec<_> = records.iter().map(Coalesced::incoming).collect();
        let begun = Instant::now();
        let held = match self.table.apply(&incoming, clock::now_micros()).await {
            Ok(held) => held,
            Err(error) if error.class() == FailureClass::Poison => return Ok(Applied::Refused(Refusal::Error(error))),
            Err(error) => return Err(error.into()),
        };
        let metrics = &self.surroundings.metrics;
        metrics.apply.observe(begun.elapsed().as_secs_f64());
        metrics.observe_lag(self.entity(), records, &held, clock::now_micros());
        let all: Option<Vec<_>> = held.into_iter().collect();
        Ok(all.map_or(Applied::Refused(Refusal::Taken), Applied::Whole))
    }

    pub(crate) fn brakes(&self) -> MutexGuard<'_, Brakes> {
        self.brakes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// G8: the first event of the part that a brake lets not pass.
    fn stopped(
        &self,
        part: &[Envelope],
        applied: &[(Coalesced<'_>, Held)],
        letters: &[DeadLetter<'_>],
    ) -> Option<(usize, Obstacle)> {
        let letter = |envelope: &Envelope| letters.iter().find(|letter| letter.envelope.offset == envelope.offset);
        let late = applied.iter().filter(|(record, held)| reassert::is_late(record, held));
        let late: BTreeSet<_> = late.map(|(record, _)| record.tail.offset).collect();
        let fate = |envelope: &Envelope| match letter(envelope) {
            Some(letter) if letter.noted => Fate::Noted,
            Some(_) => Fate::Dead,
            None if late.contains(&envelope.offset) => Fate::Late,
            None => Fate::Passes,
        };
        let at = self.brakes().stopped(part.iter().map(|envelope| (envelope.into(), fate(envelope))))?;
        let obstacle = part.get(at).and_then(letter).map(|letter| Obstacle::Dead(letter.reason, letter.detail.clone()));
        Some((at, obstacle.unwrap_or(Obstacle::Late)))
    }

    /// Everything up to the last event of the part is applied, superseded or a dead letter: its offset may be committed (G7).
    fn commit(&self, part: &[Envelope]) {
        if let Some((first, last)) = part.first().zip(part.last()) {
            let Surroundings { offsets, metrics, .. } = &self.surroundings;
            let mut offsets = offsets.lock().unwrap_or_else(PoisonError::into_inner);
            if !offsets.done(&self.partition, self.generation, first.offset..last.offset + 1) {
                metrics.commit_failures.with_label_values(&[ASSIGNMENT_LOST]).inc();
            }
        }
    }

    /// R14: h is what was read back, not what the event carried; and a dead letter is told, too.
    fn settle(&self, applied: &[(Coalesced<'_>, Held)], letters: &[DeadLetter<'_>], epoch: u64) {
        let entity = || self.entity().to_owned();
        let settled = applied.iter().map(|(record, held)| {
            Outcome::Held(Settled { entity: entity(), id: record.id.clone(), held: held.version, epoch })
        });
        let dead = letters.iter().filter_map(DeadLetter::version);
        let dead = dead.map(|(id, version)| Outcome::Dead(Dead { entity: entity(), id, version, in_vain: false }));
        settled.chain(dead).for_each(|outcome| self.surroundings.settler.settle(outcome));
    }

    fn count(&self, applied: &[(Coalesced<'_>, Held)], letters: &[DeadLetter<'_>]) {
        self.surroundings.metrics.count(self.entity(), applied, letters);
        let Partition { topic, number } = &self.partition;
        for DeadLetter { envelope, reason, detail, .. } in letters.iter().filter(|letter| !letter.noted) {
            let (offset, reason) = (envelope.offset, reason.as_str());
            tracing::error!(%topic, number, offset, reason, "dead letter: {detail}");
        }
    }

    pub(crate) fn entity(&self) -> &str {
        self.table.entity().name()
    }
}
