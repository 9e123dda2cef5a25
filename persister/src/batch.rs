//! What a batch says of each record. Pure.
//!
//! Of several events of a record only the newest version goes into the table (PROTOCOL R13). The last event is kept apart:
//! compaction keeps a key's last offset, not its highest version.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use record::{Change, Event, RecordId, Version};

/// One record's events in a batch, coalesced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Coalesced<'a> {
    pub(crate) id: RecordId,
    /// The newest version among them.
    pub(crate) version: Version,
    /// The highest offset that carried it.
    pub(crate) offset: i64,
    /// What it does.
    pub(crate) change: Change<'a>,
    /// Version and offset of the last event.
    pub(crate) tail: (Version, i64),
    /// How many events carried the newest version, and how many an older one.
    pub(crate) newest: u64,
    pub(crate) older: u64,
}

/// Coalesces events that come in the order of their offsets; records stay in the order of their first event.
pub(crate) fn coalesce<'a>(events: impl IntoIterator<Item = (i64, Event<'a>)>) -> Vec<Coalesced<'a>> {
    let mut records: Vec<Coalesced<'a>> = Vec::new();
    let mut places: HashMap<RecordId, usize> = HashMap::new();
    for (offset, event) in events {
        match places.entry(event.id.clone()) {
            Entry::Vacant(place) => {
                place.insert(records.len());
                records.push(Coalesced::first(offset, event));
            }
            Entry::Occupied(place) => {
                if let Some(record) = records.get_mut(*place.get()) {
                    record.add(offset, event);
                }
            }
        }
    }
    records
}

impl<'a> Coalesced<'a> {
    fn first(offset: i64, event: Event<'a>) -> Self {
        let Event { id, version, change, .. } = event;
        Self { id, version, offset, change, tail: (version, offset), newest: 1, older: 0 }
    }

    fn add(&mut self, offset: i64, event: Event<'a>) {
        self.tail = (event.version, offset);
        if event.version > self.version {
            self.older += self.newest;
            self.newest = 1;
            (self.version, self.offset, self.change) = (event.version, offset, event.change);
        } else if event.version == self.version {
            self.newest += 1;
            self.offset = offset;
        } else {
            self.older += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use record::Origin;

    use super::*;

    fn event(id: u8, version: u64) -> Event<'static> {
        let id = RecordId::parse(&id.to_string()).unwrap();
        Event { id, version: Version::new(version).unwrap(), origin: Origin::Write, change: Change::Tombstone }
    }

    proptest! {
        #[test]
        fn the_newest_version_of_each_record_wins_and_the_last_event_is_remembered(
            events in proptest::collection::vec((0u8..4, 1u64..8), 0..40)
        ) {
            let events: Vec<_> = (0i64..).zip(&events).map(|(offset, (id, version))| (offset, event(*id, *version))).collect();
            let records = coalesce(events.clone());
            for record in &records {
                let own: Vec<_> = events.iter().filter(|(_, event)| event.id == record.id).collect();
                let newest = own.iter().map(|(_, event)| event.version).max().unwrap();
                let carried = own.iter().filter(|(_, event)| event.version == newest).map(|(offset, _)| *offset).max().unwrap();
                let (last, tail) = own.last().unwrap();
                prop_assert_eq!((record.version, record.offset), (newest, carried));
                prop_assert_eq!(record.tail, (tail.version, *last));
                prop_assert_eq!(record.newest + record.older, own.len() as u64);
            }
            let counted: u64 = records.iter().map(|record| record.newest + record.older).sum();
            prop_assert_eq!(counted, events.len() as u64, "an event was lost or counted twice");
        }
    }
}
