//! The way of a replay: one entity after the other, each batch by batch, and how far it has come noted on the way.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use record::Entity;
use table::{Database, ReplayNote};
use tokio::sync::mpsc;
use topic::{Envelope, Reader, Stretch, TopicError};

use super::ReplaySettings;
use super::shown::ReplayMetrics;
use super::stretch::remaining;
use crate::replay::{Pace, Replay, Tally};

const BATCH_ROWS: usize = 500;
const BATCH_BYTES: usize = 4 << 20;
/// Dead letters that are held in memory.
const LETTERS_MOST: usize = 1_000_000;
const TELL_EVERY: Duration = Duration::from_secs(2);
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// Notes where each begins before the first one does, so that `--resume` finds them all. Says how many events could not be applied.
pub(super) async fn one_by_one(mut runs: Vec<Run<'_>>, resumed: bool) -> anyhow::Result<u64> {
    let mut stretches = Vec::with_capacity(runs.len());
    for run in &mut runs {
        stretches.push(run.begin().await.with_context(|| format!("entity {}", run.entity.name()))?);
    }
    ensure!(!resumed || stretches.iter().any(|(_, note)| !note.left.is_empty()), "--resume: no replay was interrupted");
    let mut poison = 0;
    for (run, (reader, note)) in runs.iter().zip(stretches) {
        if !resumed || !note.left.is_empty() {
            poison += run.to_the_end(reader, note).await.with_context(|| format!("entity {}", run.entity.name()))?;
        }
    }
    // Only now: what one has met is still to be told where a later one is interrupted and resumed.
    for run in &runs {
        run.database.forget_replay(&run.topic).await?;
    }
    Ok(poison)
}

/// One entity's replay.
pub(super) struct Run<'s> {
    pub(super) settings: &'s ReplaySettings,
    pub(super) database: &'s Database,
    pub(super) shown: &'s ReplayMetrics,
    pub(super) replay: Replay,
    pub(super) topic: String,
    pub(super) entity: Arc<Entity>,
    /// Whose note it is: of two replays of one topic at a time the later has it.
    pub(super) number: u64,
}

impl Run<'_> {
    /// Notes what is to be read.
    async fn begin(&mut self) -> anyhow::Result<(Arc<Mutex<Reader>>, ReplayNote)> {
        self.replay.letters = self.database.letters(&self.topic, LETTERS_MOST).await?;
        let reader = Arc::new(Mutex::new(Reader::new(&self.settings.base.kafka, "replay", &self.topic)?));
        let note = self.noted(&reader).await?;
        self.fits(&reader, &note.left).await?;
        self.database.begin_replay(&self.topic, self.number, &note).await?;
        Ok((reader, note))
    }

    /// How many events could not be applied, before an interruption, too.
    async fn to_the_end(&self, reader: Arc<Mutex<Reader>>, mut note: ReplayNote) -> anyhow::Result<u64> {
        let (batches, mut queued) = mpsc::channel(2);
        let (stretch, pace) = (note.left.clone(), Pace(self.settings.rate_most));
        let most = pace.batch(BATCH_ROWS);
        let reading = tokio::task::spawn_blocking(move || {
            let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            read(&mut reader, &stretch, most, &batches)
        });
        let (begun, mut told, mut noted) = (Instant::now(), Instant::now(), Instant::now());
        let mut tally = Tally { poison: note.poison, ..Tally::default() };
        while let Some(batch) = queued.recv().await {
            self.replay.bring(&batch, &mut tally).await?;
            for (number, envelope) in &batch {
                if let Some((next, _)) = note.left.get_mut(number) {
                    *next = envelope.offset + 1;
                }
            }
            note.poison = tally.poison;
            let remaining = remaining(&note.left);
            self.shown.show(self.entity.name(), &tally, remaining);
            let stopped = self.replay.stopping.is_cancelled();
            if stopped || noted.elapsed() >= NOTE_EVERY {
                noted = Instant::now();
                self.database.note_replay(&self.topic, self.number, &note).await?;
            }
            ensure!(!stopped, "told to stop: --resume goes on");
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                self.tell_progress(&tally, remaining, begun.elapsed());
            }
            tokio::select! {
                () = tokio::time::sleep(pace.due(tally.events).saturating_sub(begun.elapsed())) => {}
                () = self.replay.stopping.cancelled() => {}
            }
        }
        reading.await?.context("the topic cannot be read")?;
        // Behind the last event there may be offsets that are none.
        note.left.values_mut().for_each(|(next, until)| *next = (*next).max(*until));
        self.database.note_replay(&self.topic, self.number, &note).await?;
        self.shown.show(self.entity.name(), &tally, 0);
        self.tell_progress(&tally, 0, begun.elapsed());
        self.tell(&tally);
        Ok(tally.poison)
    }
}

/// Hands out batches until the end of the stretch, or until nobody takes them any more.
fn read(
    reader: &mut Reader,
    stretch: &Stretch,
    most: usize,
    batches: &mpsc::Sender<Vec<(i32, Envelope)>>,
) -> Result<(), TopicError> {
    reader.begin(stretch)?;
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while let Some((number, envelope)) = reader.read()? {
        bytes += envelope.bytes();
        batch.push((number, envelope));
        if batch.len() >= most || bytes >= BATCH_BYTES {
            bytes = 0;
            if batches.blocking_send(std::mem::take(&mut batch)).is_err() {
                return Ok(());
            }
        }
    }
    if !batch.is_empty() {
        // Whoever has gone needs no batch.
        batches.blocking_send(batch).ok();
    }
    Ok(())
}
