//! Dead letters (PROTOCOL R13, R14): what can never be applied goes to the topic of dead letters, then into a table. Only when
//! both have it may the offset move.

use std::borrow::Cow;
use std::ops::ControlFlow;

use futures_util::TryFutureExt;
use futures_util::future::join_all;
use record::{Reason, RecordId, Version};
use service::{clock, fail_points};
use table::{EntityTable, Note, TableError};
use topic::{Envelope, Kept, Letter, Partition, TopicError};

use crate::batch::Coalesced;
use crate::hold::LaneError;
use crate::lane::Lane;

/// An event that can never be applied.
#[derive(Clone, Debug)]
pub(crate) struct DeadLetter<'a> {
    pub(crate) envelope: &'a Envelope,
    pub(crate) reason: Reason,
    /// For a human; without values.
    pub(crate) detail: String,
    /// It was brought to its end before, and comes again.
    pub(crate) noted: bool,
}

/// Why the table does not take an event.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Another id's row has its value of a unique key: nothing was changed.
    Taken,
    /// The server refused the statement, for what stands in it.
    Error(TableError),
}

impl Refusal {
    /// Whether another id's row may be why.
    pub(crate) fn may_be_taken(&self) -> bool {
        matches!(self, Self::Taken | Self::Error(TableError::Refused { number: DUPLICATE, .. }))
    }

    /// Reason and detail; `rival` is whose row stands in the way, if that is known.
    pub(crate) fn told(&self, id: &RecordId, rival: Option<&RecordId>) -> (Reason, String) {
        match (self, rival) {
            (_, Some(rival)) => {
                (Reason::Displaced, format!("the row of id {rival} has the value that id {id} brings for a unique key"))
            }
            (Self::Taken, None) => {
                (Reason::Displaced, format!("another id's row has the value that id {id} brings for a unique key"))
            }
            (Self::Error(error @ TableError::TooLarge), None) => (Reason::TooLarge, error.to_string()),
            (Self::Error(error), None) => (Reason::Refused, error.to_string()),
        }
    }
}

/// Error number of a duplicate entry for a unique key.
const DUPLICATE: u16 = 1062;

impl<'a> DeadLetter<'a> {
    /// One that may be new.
    pub(crate) fn new(envelope: &'a Envelope, reason: Reason, detail: String) -> Self {
        Self { envelope, reason, detail, noted: false }
    }

    /// Whose it is and its version, where both are told: what the cache may have of it.
    pub(crate) fn version(&self) -> Option<(RecordId, Version)> {
        Some((self.envelope.id()?, self.envelope.version()?))
    }

    /// The detail, and what its letter had to leave out.
    fn told(&self, kept: Kept) -> Cow<'_, str> {
        match kept.left_out() {
            None => Cow::Borrowed(&self.detail),
            Some(left_out) => Cow::Owned(format!("{}; the letter is without {left_out}: too large", self.detail)),
        }
    }

    fn note<'n>(&'n self, id: Option<&'n RecordId>, detail: &'n str) -> Note<'n> {
        let DeadLetter { envelope, reason, .. } = self;
        Note { offset: envelope.offset, id, version: envelope.version(), reason: *reason, detail }
    }
}

/// The letters that are the last of their key in `onward`: behind them compaction would keep nothing else.
pub(crate) fn tails<'l, 'a>(
    onward: &'a [Envelope],
    letters: &'l [DeadLetter<'a>],
) -> impl Iterator<Item = &'l DeadLetter<'a>> {
    letters.iter().filter(move |letter| {
        let mut behind = onward.iter().skip_while(|envelope| envelope.offset <= letter.envelope.offset);
        !behind.any(|envelope| envelope.key() == letter.envelope.key())
    })
}

/// The only event of a part, which the table refuses.
pub(crate) async fn letter<'a>(
    table: &EntityTable,
    part: &'a [Envelope],
    records: &[Coalesced<'_>],
    refusal: &Refusal,
) -> Result<Option<DeadLetter<'a>>, LaneError> {
    let Some(record) = records.first() else { return Ok(None) };
    let rival = if refusal.may_be_taken() { table.rival(&record.incoming()).await? } else { None };
    let (reason, detail) = refusal.told(&record.id, rival.as_ref());
    let envelope = part.iter().find(|envelope| envelope.offset == record.offset);
    Ok(envelope.map(|envelope| DeadLetter::new(envelope, reason, detail)))
}

impl Lane {
    /// Marks the letters that were noted before, by their coordinates: they are brought nowhere again.
    pub(crate) async fn look_up(&self, letters: &mut [DeadLetter<'_>]) -> ControlFlow<()> {
        let offsets = letters.iter().map(|letter| letter.envelope.offset);
        let Some(between) = offsets.clone().min().zip(offsets.max()) else { return ControlFlow::Continue(()) };
        let (database, Partition { topic, number }) = (self.table.database(), &self.partition);
        let noted = self.insist(|| database.noted_dead(topic, *number, between).map_err(LaneError::from)).await?;
        for letter in letters {
            // Of a topic that was made anew other events have the same coordinates.
            letter.noted = letter.version().is_some_and(|(id, version)| {
                noted.get(&letter.envelope.offset) == Some(&(Some(id.as_str().to_owned()), Some(version)))
            });
        }
        ControlFlow::Continue(())
    }

    /// Brings letters to the topic of dead letters and, acknowledged, notes them.
    pub(crate) async fn bury(&self, letters: &[DeadLetter<'_>]) -> ControlFlow<()> {
        let (at, new) = (clock::now_micros(), letters.iter().filter(|letter| !letter.noted));
        let (mut left, mut buried): (Vec<_>, _) = (new.collect(), Vec::new());
        if left.is_empty() {
            return ControlFlow::Continue(());
        }
        let mut hold = self.hold();
        loop {
            self.pulse.beat();
            let (mut failed, mut unsent) = (None, Vec::new());
            let sent = join_all(left.iter().map(|letter| self.send(letter, at))).await;
            for (letter, sent) in left.into_iter().zip(sent) {
                match sent {
                    Ok(kept) => buried.push((letter, kept)),
                    Err(error) => {
                        unsent.push(letter);
                        failed = Some(error);
                    }
                }
            }
            // What was acknowledged is not sent again.
            left = unsent;
            let Some(error) = failed else { break };
            self.wait(&mut hold, &error.into()).await?;
        }
        drop(hold);
        fail_points::reached(fail_points::LETTERS_ACKNOWLEDGED);
        let told: Vec<_> = buried.iter().map(|(letter, kept)| (letter.envelope.id(), letter.told(*kept))).collect();
        let noted = buried.iter().zip(&told).map(|((letter, _), (id, detail))| letter.note(id.as_ref(), detail));
        let (database, notes, Partition { topic, number }) =
            (self.table.database(), noted.collect::<Vec<_>>(), &self.partition);
        let noting = || database.note_dead(self.entity(), topic, *number, &notes, at).map_err(LaneError::from);
        self.insist(noting).await?;
        fail_points::reached(fail_points::LETTERS_NOTED);
        ControlFlow::Continue(())
    }

    async fn send(&self, letter: &DeadLetter<'_>, at: u64) -> Result<Kept, TopicError> {
        let DeadLetter { envelope, reason, detail, .. } = letter;
        let schema = envelope.schema();
        let letter = Letter { partition: &self.partition, envelope, schema, reason: *reason, detail, at };
        self.surroundings.publisher.bury(letter).await
    }
}
