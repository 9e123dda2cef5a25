//! What a lane does before an event that it may not pass: it stands there until that changes, and looks for it.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use record::{Reason, SchemaId};
use service::clock;
use topic::Envelope;

use crate::batch::coalesce;
use crate::brake::Place;
use crate::dead::DeadLetter;
use crate::decode::{self, Opened};
use crate::hold::{Hold, LaneError};
use crate::lane::{Applied, Lane};
use crate::reassert;
use crate::unknown::{Meaning, meaning};

/// Why a lane may not pass an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// Its schema id is unknown here.
    Unknown(SchemaId),
    /// It is from the future by one clock and not by the other, which is so much ahead.
    Clocks(Duration),
    /// It would be one dead letter too many.
    Dead(Reason, String),
    /// It would be one late tombstone too many (R18).
    Late,
}

impl Lane {
    /// Stands before the first event of `batch`, until it may be tried again. `Break`: the partition was taken away.
    pub(crate) async fn stand(&mut self, batch: &mut Vec<Envelope>, obstacle: Obstacle) -> ControlFlow<()> {
        match obstacle {
            Obstacle::Unknown(schema) => self.weigh(batch, schema).await,
            Obstacle::Clocks(apart) => self.wait_for_clocks(batch, apart).await,
            Obstacle::Dead(..) | Obstacle::Late => self.brake(batch, &obstacle).await,
        }
    }

    /// Until the unknown schema id is found to be poison. No id becomes known while the process runs: all that can change is
    /// what comes behind the event.
    async fn weigh(&mut self, batch: &mut Vec<Envelope>, schema: SchemaId) -> ControlFlow<()> {
        let (since, partition, surroundings) = (Instant::now(), self.partition.clone(), self.surroundings.clone());
        let mut hold = Hold::new(&partition, self.generation, &surroundings);
        loop {
            self.take_more(batch);
            let Some(offset) = batch.first().map(|envelope| envelope.offset) else { return ControlFlow::Continue(()) };
            let entity = self.table.entity();
            let later_decodes = batch.iter().skip(1).any(|envelope| decode::is_readable_upsert(entity, envelope));
            let error = match meaning(since.elapsed(), self.surroundings.unknown_schema_hold, later_decodes) {
                Meaning::Open => LaneError::UnknownSchema { offset, schema },
                Meaning::Older => LaneError::Older { offset, schema },
                Meaning::Poison => {
                    // What was found out once holds for the next event with this id.
                    self.condemned.insert(schema);
                    return ControlFlow::Continue(());
                }
            };
            if !hold.wait(&error, &self.draining).await {
                return ControlFlow::Break(());
            }
        }
    }

    /// What is from the future by this machine's clock is poison only if it is by the database's clock, too: else one of the two
    /// is wrong, and the event may be as good as any. The first event of which that is true.
    pub(crate) async fn doubtful(
        &self,
        part: &[Envelope],
        letters: &[DeadLetter<'_>],
    ) -> Result<Option<(usize, Duration)>, LaneError> {
        if letters.iter().all(|letter| letter.reason != Reason::VersionInFuture) {
            return Ok(None);
        }
        let theirs = self.table.database().now().await?;
        let apart = Duration::from_micros(theirs.saturating_sub(clock::now_micros()));
        let latest = theirs.saturating_add(clock::micros(self.surroundings.future_most));
        let doubtful = |letter: &&DeadLetter<'_>| {
            letter.reason == Reason::VersionInFuture && letter.envelope.birth_micros() <= Some(latest)
        };
        let first = letters.iter().find(doubtful);
        let at = first.and_then(|first| part.iter().position(|envelope| envelope.offset == first.envelope.offset));
        Ok(at.map(|at| (at, apart)))
    }

    /// Until both clocks say the same of the first event.
    async fn wait_for_clocks(&self, batch: &[Envelope], mut apart: Duration) -> ControlFlow<()> {
        let Some(first) = batch.first() else { return ControlFlow::Continue(()) };
        let mut hold = self.hold();
        loop {
            self.wait(&mut hold, &LaneError::Clocks { offset: first.offset, apart }).await?;
            let first = std::slice::from_ref(first);
            match self.doubtful(first, &self.open(first).letters).await {
                Ok(None) => return ControlFlow::Continue(()),
                Ok(Some((_, still))) => apart = still,
                // The database is away, too.
                Err(_) => {}
            }
        }
    }

    /// Until an operator accepts the event as a dead letter, or it can be applied: looked for now and then with this one event,
    /// so that the topic is not emptied meanwhile.
    async fn brake(&self, batch: &[Envelope], obstacle: &Obstacle) -> ControlFlow<()> {
        let Some(first) = batch.first() else { return ControlFlow::Continue(()) };
        let (offset, place) = (first.offset, Place::from(first));
        let error = match obstacle {
            Obstacle::Dead(reason, detail) => LaneError::Braked { offset, reason: *reason, detail: detail.clone() },
            _ => LaneError::Emptied { offset },
        };
        let (mut hold, partition) = (self.hold(), &self.partition);
        loop {
            let accepted = self.table.database().accepted_dead(&partition.topic, partition.number).await.ok().flatten();
            if self.brakes().accept(accepted, place) {
                return ControlFlow::Continue(());
            }
            if !hold.wait_for(&error, self.surroundings.probe_every, &self.draining).await {
                return ControlFlow::Break(());
            }
            if self.passes(first).await {
                self.brakes().release();
                return ControlFlow::Continue(());
            }
        }
    }

    /// Whether this event alone is applied or superseded by now.
    async fn passes(&self, envelope: &Envelope) -> bool {
        let Opened { events, .. } = self.open(std::slice::from_ref(envelope));
        let records = coalesce(events);
        match self.apply(&records).await {
            Ok(Applied::Whole(held)) if !held.is_empty() => {
                !records.iter().zip(&held).any(|(record, held)| reassert::is_late(record, held))
            }
            _ => false,
        }
    }
}
