//! PROTOCOL R13, the healing half: where the last event of a record is older than its row, compaction would keep the wrong
//! one, so the row is produced again behind it.

use record::{Event, Origin, RecordId};
use table::{EntityTable, Held, StoredRow};
use topic::{Outgoing, Publisher};

use crate::batch::Coalesced;
use crate::hold::LaneError;

/// Must the row be produced again? The offset in the row tells an inversion from an event that merely comes again.
pub(crate) fn is_inverted(record: &Coalesced<'_>, held: &Held) -> bool {
    let (version, offset) = record.tail;
    version < held.version && offset > held.offset
}

/// Produces the row of `id` as it stands now, and waits for the acknowledgement: the offset must not move before it.
pub(crate) async fn reassert(
    table: &EntityTable,
    publisher: &Publisher,
    topic: &str,
    id: &RecordId,
) -> Result<(), LaneError> {
    let Some(StoredRow { version, record }) = table.select(id).await? else { return Ok(()) };
    let change = table.entity().change(record.as_ref());
    let event = Event { id: id.clone(), version, origin: Origin::Reassert, change };
    publisher.publish(Outgoing { topic, event: &event, trace: None }).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use record::{Change, Version};

    use super::*;

    fn tail(version: u64, offset: i64) -> Coalesced<'static> {
        let version = Version::new(version).unwrap();
        Coalesced {
            id: RecordId::parse("1").unwrap(),
            version,
            offset,
            change: Change::Tombstone,
            tail: (version, offset),
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
}
