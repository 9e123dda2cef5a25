//! What a batch says of each record. Pure.
//!
//! Of several events of a record only the newest version goes into the table (PROTOCOL R13). The last event is kept apart:
//! compaction keeps a key's last offset, not its highest version.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use record::{Record, RecordId, Version};
use table::Incoming;

/// An event whose content has been read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Readable<'a> {
    pub(crate) offset: i64,
    pub(crate) id: RecordId,
    pub(crate) version: Version,
    /// `None` is a delete.
    pub(crate) record: Option<Record<'a>>,
}

/// The last event of a record, which compaction keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) version: Version,
    pub(crate) offset: i64,
    pub(crate) deletes: bool,
}

/// One record's events in a batch, coalesced.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Coalesced<'a> {
    pub(crate) id: RecordId,
    /// The newest version among them.
    pub(crate) version: Version,
    /// The highest offset that carried it.
    pub(crate) offset: i64,
    /// What it makes of the record; `None` deletes it.
    pub(crate) record: Option<Record<'a>>,
    pub(crate) tail: Tail,
    /// How many events carried the newest version, and how many an older one.
    pub(crate) newest: u64,
    pub(crate) older: u64,
}

/// Coalesces events that come in the order of their offsets; records stay in the order of their first event.
pub(crate) fn coalesce<'a>(events: impl IntoIterator<Item = Readable<'a>>) -> Vec<Coalesced<'a>> {
    let mut records: Vec<Coalesced<'a>> = Vec::new();
    let mut places: HashMap<RecordId, usize> = HashMap::new();
    for event in events {
        match places.entry(event.id.clone()) {
            Entry::Vacant(place) => {
                place.insert(records.len());
                records.push(Coalesced::first(event));
            }
            Entry::Occupied(place) => {
                if let Some(record) = records.get_mut(*place.get()) {
                    record.add(event);
                }
            }
        }
    }
    records
}

impl<'a> Coalesced<'a> {
    /// As the table takes it.
    pub(crate) fn incoming(&self) -> Incoming<'_> {
        let Self { id, version, offset, record, .. } = self;
        Incoming { id: id.clone(), version: *version, offset: *offset, record: record.clone() }
    }

    fn first(event: Readable<'a>) -> Self {
        let tail = event.tail();
        let Readable { offset, id, version, record } = event;
        Self { id, version, offset, record, tail, newest: 1, older: 0 }
    }

    fn add(&mut self, event: Readable<'a>) {
        self.tail = event.tail();
        if event.version > self.version {
            self.older += self.newest;
            self.newest = 1;
            (self.version, self.offset, self.record) = (event.version, event.offset, event.record);
        } else if event.version == self.version {
            self.newest += 1;
            self.offset = event.offset;
        } else {
            self.older += 1;
        }
    }
}

impl Readable<'_> {
    fn tail(&self) -> Tail {
        Tail { version: self.version, offset: self.offset, deletes: self.record.is_none() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(offset: i64, id: u8, version: u64) -> Readable<'static> {
        let id = RecordId::parse(&id.to_string()).unwrap();
        Readable { offset, id, version: Version::new(version).unwrap(), record: None }
    }

    proptest! {
        #[test]
        fn the_newest_version_of_each_record_wins_and_the_last_event_is_remembered(
            events in proptest::collection::vec((0u8..4, 1u64..8), 0..40)
        ) {
            let events: Vec<_> = (0i64..).zip(&events).map(|(offset, (id, version))| event(offset, *id, *version)).collect();
            let records = coalesce(events.clone());
            for record in &records {
                let own: Vec<_> = events.iter().filter(|event| event.id == record.id).collect();
                let newest = own.iter().map(|event| event.version).max().unwrap();
                let carried = own.iter().filter(|event| event.version == newest).map(|event| event.offset).max().unwrap();
                let last = own.last().unwrap();
                prop_assert_eq!((record.version, record.offset), (newest, carried));
                prop_assert_eq!(record.tail, last.tail());
                prop_assert_eq!(record.newest + record.older, own.len() as u64);
            }
            let counted: u64 = records.iter().map(|record| record.newest + record.older).sum();
            prop_assert_eq!(counted, events.len() as u64, "an event was lost or counted twice");
        }
    }
}
