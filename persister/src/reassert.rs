//! PROTOCOL R13, the healing half: where the last event of a record is older than its row, compaction would keep the wrong
//! one, so the row is produced again behind it.

use std::ops::ControlFlow;

use futures_util::TryFutureExt;
use record::{Change, Event, Origin, RecordId, Version};
use table::{Held, StoredRow};
use topic::{Envelope, Outgoing};

use crate::batch::Coalesced;
use crate::dead::{self, DeadLetter};
use crate::hold::LaneError;
use crate::lane::Lane;

/// Must the row be produced again? The offset in the row tells an inversion from an event that merely comes again.
pub(crate) fn is_inverted(record: &Coalesced<'_>, held: &Held) -> bool {
    record.tail.version < held.version && record.tail.offset > held.offset && !held.is_absent()
}

/// R18: a write came after its record's tombstone was purged. The table refuses it, but it is the last of its key.
pub(crate) fn is_late(record: &Coalesced<'_>, held: &Held) -> bool {
    held.is_absent() && !record.tail.deletes
}

/// Is the row to be produced again behind a dead letter that is the last of its key, whatever its version? Compaction would
/// drop the row's own event (k45). A row that was there before us has none, and version 0, which no event may have.
fn stands_before(held: &Held, letter: &DeadLetter<'_>) -> bool {
    held.version > Version::ZERO && letter.envelope.offset > held.offset
}

impl Lane {
    /// R13 and R18: what compaction must not be left with. `onward` is the part and what stands behind it in its batch. Each is
    /// insisted on by itself: what was acknowledged is not produced again because another is not.
    pub(crate) async fn reassert(
        &self,
        onward: &[Envelope],
        applied: &[(Coalesced<'_>, Held)],
        letters: &[DeadLetter<'_>],
    ) -> ControlFlow<()> {
        let metrics = &self.surroundings.metrics;
        let reasserted = metrics.reasserted.with_label_values(&[self.entity()]);
        for (record, held) in applied {
            if is_late(record, held) {
                // A tombstone at the purge mark, which a rebuild takes for the newer one.
                self.insist(|| self.produce(&record.id, held.version, Change::Tombstone)).await?;
                metrics.late.with_label_values(&[self.entity()]).inc();
            } else if is_inverted(record, held) {
                self.insist(|| self.produce_row(&record.id)).await?;
                reasserted.inc();
            }
        }
        for letter in dead::tails(onward, letters) {
            let Some(id) = letter.envelope.id() else { continue };
            let held = self.insist(|| self.table.held_row(&id).map_err(LaneError::from)).await?;
            if held.is_some_and(|held| stands_before(&held, letter)) {
                self.insist(|| self.produce_row(&id)).await?;
                reasserted.inc();
            }
        }
        ControlFlow::Continue(())
    }

    /// Produces the row of `id` as it stands now.
    async fn produce_row(&self, id: &RecordId) -> Result<(), LaneError> {
        let Some(StoredRow { version, record }) = self.table.select(id).await? else { return Ok(()) };
        self.produce(id, version, self.table.entity().change(record.as_ref())).await
    }

    /// Waits for the acknowledgement: the offset must not move before it.
    async fn produce(&self, id: &RecordId, version: Version, change: Change<'_>) -> Result<(), LaneError> {
        let event = Event { id: id.clone(), version, origin: Origin::Reassert, change };
        let outgoing = Outgoing { topic: &self.partition.topic, event: &event, trace: None };
        self.surroundings.publisher.publish(outgoing).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Tail;

    fn tail(version: u64, offset: i64) -> Coalesced<'static> {
        let version = Version::new(version).unwrap();
        Coalesced {
            id: RecordId::parse("1").unwrap(),
            version,
            offset,
            record: None,
            tail: Tail { version, offset, deletes: false },
            newest: 1,
            older: 0,
        }
    }

    fn held(version: u64, offset: i64) -> Held {
        Held { version: Version::new(version).unwrap(), offset, fresh: false }
    }

    #[test]
    fn an_older_event_behind_the_rows_own_is_an_inversion() {
        assert!(is_inverted(&tail(16, 7), &held(32, 6)));
    }

    #[test]
    fn an_older_event_before_the_rows_own_was_superseded_by_its_successor() {
        assert!(!is_inverted(&tail(16, 5), &held(32, 6)));
    }

    #[test]
    fn the_re_asserted_event_itself_does_not_echo() {
        assert!(!is_inverted(&tail(32, 8), &held(32, 8)));
    }

    #[test]
    fn r18_a_write_at_or_below_the_mark_without_a_row_is_late_and_a_delete_is_not() {
        let absent = Held { version: Version::new(31).unwrap(), offset: -1, fresh: false };
        let mut late = tail(16, 7);
        assert!(is_late(&late, &absent) && !is_inverted(&late, &absent), "there is no row to produce again");
        assert!(!is_late(&late, &held(32, 6)), "there is a row");
        late.tail.deletes = true;
        assert!(!is_late(&late, &absent), "the tombstone that answers must not be answered");
    }
}
