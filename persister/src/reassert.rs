//! PROTOCOL R13, the healing half: where the last event of a record is older than its row, compaction would keep the wrong
//! one, so the row is produced again behind it.

use record::{Change, Event, Origin, RecordId, Version};
use table::{EntityTable, Held, StoredRow};
use topic::{Outgoing, Publisher};

use crate::batch::Coalesced;
use crate::dead::DeadLetter;
use crate::hold::LaneError;

/// Must the row be produced again? The offset in the row tells an inversion from an event that merely comes again.
pub(crate) fn is_inverted(record: &Coalesced<'_>, held: &Held) -> bool {
    record.tail.version < held.version && record.tail.offset > held.offset && !held.is_absent()
}

/// R18: a write came after its record's tombstone was purged. The table refuses it, but it is the last of its key.
pub(crate) fn is_late(record: &Coalesced<'_>, held: &Held) -> bool {
    held.is_absent() && !record.tail.deletes
}

/// Produces the row of `id` as it stands now, and waits for the acknowledgement: the offset must not move before it.
pub(crate) async fn reassert(
    table: &EntityTable,
    publisher: &Publisher,
    topic: &str,
    id: &RecordId,
) -> Result<(), LaneError> {
    let Some(StoredRow { version, record }) = table.select(id).await? else { return Ok(()) };
    produce(publisher, topic, id, version, table.entity().change(record.as_ref())).await
}

/// The same behind a dead letter that is the last of its key, whatever its version: compaction would drop the row's own event
/// (k45). Says whether there was need.
pub(crate) async fn reassert_behind(
    table: &EntityTable,
    publisher: &Publisher,
    topic: &str,
    letter: &DeadLetter<'_>,
) -> Result<bool, LaneError> {
    let Some(id) = letter.envelope.id() else { return Ok(false) };
    let needed = table.held_row(&id).await?.is_some_and(|held| letter.envelope.offset > held.offset);
    if needed {
        reassert(table, publisher, topic, &id).await?;
    }
    Ok(needed)
}

/// Answers a late write with a tombstone at the purge mark, which a rebuild takes for the newer one.
pub(crate) async fn bury_late(
    publisher: &Publisher,
    topic: &str,
    id: &RecordId,
    mark: Version,
) -> Result<(), LaneError> {
    produce(publisher, topic, id, mark, Change::Tombstone).await
}

async fn produce(
    publisher: &Publisher,
    topic: &str,
    id: &RecordId,
    version: Version,
    change: Change<'_>,
) -> Result<(), LaneError> {
    let event = Event { id: id.clone(), version, origin: Origin::Reassert, change };
    publisher.publish(Outgoing { topic, event: &event, trace: None }).await?;
    Ok(())
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
