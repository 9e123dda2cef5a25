//! What the messages of a part are: events that can be read, dead letters, and the first one that nobody can tell yet. Pure.

use std::borrow::Cow;

use record::{Change, Decoded, Entity, Event, Reason, Record, SchemaId};
use topic::Envelope;

use crate::batch::Readable;
use crate::dead::DeadLetter;

/// A part of a batch, decoded.
#[derive(Debug, Default)]
pub(crate) struct Opened<'a> {
    pub(crate) events: Vec<Readable<'a>>,
    pub(crate) letters: Vec<DeadLetter<'a>>,
    /// Which message is the first whose schema id is unknown here and not condemned, and that id. What is behind it is left
    /// alone.
    pub(crate) unknown: Option<(usize, SchemaId)>,
}

/// Decodes a part. `latest` is the newest birth that is believed, in microseconds; `condemned` says of an unknown schema id
/// that it was found to be poison.
pub(crate) fn open<'a>(
    entity: &Entity,
    part: &'a [Envelope],
    latest: u64,
    condemned: impl Fn(SchemaId) -> bool,
) -> Opened<'a> {
    let mut opened = Opened::default();
    for (at, envelope) in part.iter().enumerate() {
        match read(entity, envelope, latest) {
            Ok(event) => opened.events.push(event),
            Err(Unreadable::Unknown(schema)) if !condemned(schema) => {
                opened.unknown = Some((at, schema));
                break;
            }
            Err(Unreadable::Unknown(schema)) => {
                let detail =
                    format!("schema id {schema} is unknown here, and events behind the first of it have known ones");
                opened.letters.push(DeadLetter::new(envelope, Reason::UnknownSchema, detail));
            }
            Err(Unreadable::Poison(reason, detail)) => opened.letters.push(DeadLetter::new(envelope, reason, detail)),
        }
    }
    opened
}

/// Whether the message says that its writer has a schema that is known here. A tombstone has none, and says nothing.
pub(crate) fn is_readable_upsert(entity: &Entity, envelope: &Envelope) -> bool {
    read(entity, envelope, u64::MAX).is_ok_and(|event| event.record.is_some())
}

enum Unreadable {
    Unknown(SchemaId),
    Poison(Reason, String),
}

fn read<'a>(entity: &Entity, envelope: &'a Envelope, latest: u64) -> Result<Readable<'a>, Unreadable> {
    let Event { id, version, change, .. } = match envelope.decode() {
        Decoded::Event(event) => event,
        Decoded::Poison(poison) => return Err(Unreadable::Poison(poison.reason, poison.detail)),
    };
    if version.birth_micros() > latest {
        let detail = "its version lies in the future by this machine's clock".to_owned();
        return Err(Unreadable::Poison(Reason::VersionInFuture, detail));
    }
    let record = match change {
        Change::Tombstone => None,
        Change::Upsert { schema, .. } if !entity.knows(schema) => return Err(Unreadable::Unknown(schema)),
        Change::Upsert { schema, datum } => {
            let read = match datum {
                Cow::Borrowed(datum) => entity.read_avro(schema, datum),
                Cow::Owned(datum) => entity.read_avro(schema, &datum).map(Record::into_owned),
            };
            Some(read.map_err(|fault| Unreadable::Poison(Reason::Undecodable, fault.to_string()))?)
        }
    };
    Ok(Readable { offset: envelope.offset, id, version, record })
}
