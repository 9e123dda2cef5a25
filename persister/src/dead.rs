//! Dead letters (PROTOCOL R13, R14): what can never be applied goes to the topic of dead letters, then into a table. Only when
//! both have it may the offset move.

use futures_util::future::try_join_all;
use record::{Reason, RecordId, Version};
use service::{clock, fail_points};
use table::{Database, Note, TableError};
use topic::{Envelope, Letter, Partition, Publisher};

use crate::hold::LaneError;

/// An event that can never be applied.
#[derive(Clone, Debug)]
pub(crate) struct DeadLetter<'a> {
    pub(crate) envelope: &'a Envelope,
    pub(crate) reason: Reason,
    /// For a human; without values.
    pub(crate) detail: String,
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

impl DeadLetter<'_> {
    /// Whose it is and its version, where both are told: what the cache may have of it.
    pub(crate) fn version(&self) -> Option<(RecordId, Version)> {
        Some((self.envelope.id()?, self.envelope.version()?))
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

/// Brings letters of one partition to the topic of dead letters and, acknowledged, notes them. One that was noted before, by
/// its coordinates, is not brought again.
pub(crate) async fn bury(
    database: &Database,
    publisher: &Publisher,
    entity: &str,
    partition: &Partition,
    letters: &[DeadLetter<'_>],
) -> Result<(), LaneError> {
    let offsets = letters.iter().map(|letter| letter.envelope.offset);
    let Some(between) = offsets.clone().min().zip(offsets.max()) else { return Ok(()) };
    let noted = database.noted_dead(&partition.topic, partition.number, between).await?;
    // Of a topic that was made anew other events have the same coordinates.
    let is_noted = |letter: &DeadLetter<'_>| {
        letter.version().is_some_and(|(id, version)| {
            noted.get(&letter.envelope.offset) == Some(&(Some(id.as_str().to_owned()), Some(version)))
        })
    };
    let at = clock::now_micros();
    let new: Vec<_> = letters.iter().filter(|letter| !is_noted(letter)).collect();
    let published = new.iter().map(|DeadLetter { envelope, reason, detail }| {
        publisher.bury(Letter { partition, envelope, schema: envelope.schema(), reason: *reason, detail, at })
    });
    try_join_all(published).await?;
    fail_points::reached(fail_points::LETTERS_ACKNOWLEDGED);
    let ids: Vec<_> = new.iter().map(|letter| letter.envelope.id()).collect();
    let notes: Vec<_> = new.iter().zip(&ids).map(|(letter, id)| note(letter, id.as_ref())).collect();
    database.note_dead(entity, &partition.topic, partition.number, &notes, at).await?;
    fail_points::reached(fail_points::LETTERS_NOTED);
    Ok(())
}

fn note<'l>(letter: &'l DeadLetter<'_>, id: Option<&'l RecordId>) -> Note<'l> {
    let DeadLetter { envelope, reason, detail } = letter;
    Note { offset: envelope.offset, id, version: envelope.version(), reason: *reason, detail }
}
