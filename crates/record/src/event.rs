//! What travels on the topic: one write of one record, and how a message becomes one.
//!
//! Decoding cannot fail silently: what is no event is [`Poison`] with a reason. Must never decode the datum itself; whether
//! the schema id is known is found out by `Entity::read_avro`, so that a lane can hold an unknown one apart from poison.

use std::borrow::Cow;

use crate::frame;
use crate::id::RecordId;
use crate::version::{SchemaId, Version};

/// One write of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// Whose write.
    pub id: RecordId,
    /// Its number; newest wins.
    pub version: Version,
    /// Who put it on the topic.
    pub origin: Origin,
    /// What it does.
    pub change: Change<'a>,
}

/// What an event does to its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<'a> {
    /// The record now has this content.
    Upsert {
        /// The schema that the datum was written with.
        schema: SchemaId,
        /// The Avro datum, without frame.
        datum: Cow<'a, [u8]>,
    },
    /// The record is gone.
    Tombstone,
}

impl Change<'_> {
    /// The text of the `op` header.
    #[must_use]
    pub fn op(&self) -> &'static str {
        match self {
            Change::Upsert { .. } => "upsert",
            Change::Tombstone => "delete",
        }
    }

    /// Bytes of the datum.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Change::Upsert { datum, .. } => datum.len(),
            Change::Tombstone => 0,
        }
    }

    /// The change without borrows.
    #[must_use]
    pub fn into_owned(self) -> Change<'static> {
        match self {
            Change::Upsert { schema, datum } => Change::Upsert { schema, datum: Cow::Owned(datum.into_owned()) },
            Change::Tombstone => Change::Tombstone,
        }
    }

    /// The value of the message: the framed datum, or nothing for a delete.
    #[must_use]
    pub fn to_value(&self) -> Option<Vec<u8>> {
        match self {
            Change::Upsert { schema, datum } => {
                let mut out = Vec::new();
                frame::encode(*schema, datum, &mut out);
                Some(out)
            }
            Change::Tombstone => None,
        }
    }
}

/// Who put an event on the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The handler of the write.
    Write,
    /// The relay or the sweep (R10, R11).
    Relay,
    /// The persister, because an older version stood behind a newer one (R13).
    Reassert,
    /// An operator, from the dead letters.
    Redrive,
}

impl Origin {
    /// The text of the `origin` header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Write => "write",
            Origin::Relay => "relay",
            Origin::Reassert => "reassert",
            Origin::Redrive => "redrive",
        }
    }

    /// The origin of a header's text; `None` for one that this build does not know.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Origin> {
        [Origin::Write, Origin::Relay, Origin::Reassert, Origin::Redrive]
            .into_iter()
            .find(|origin| origin.as_str().as_bytes() == text)
    }
}

/// The headers of a message that make it an event; `None` is an absent or null header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Headers<'a> {
    /// Decimal version. Required.
    pub version: Option<&'a [u8]>,
    /// `upsert` or `delete`. Optional, but must agree with the value when it is there.
    pub op: Option<&'a [u8]>,
    /// Optional; absent or unknown (a newer writer's) counts as [`Origin::Write`].
    pub origin: Option<&'a [u8]>,
}

/// A message, understood or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// An event; its datum is still unread.
    Event(Event<'a>),
    /// Can never be applied.
    Poison(Poison),
}

/// Why a message can never be applied. Never holds the message's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poison {
    /// The closed set, for metrics and headers.
    pub reason: Reason,
    /// One sentence for a human; without values.
    pub detail: String,
}

/// The closed set of reasons for poison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The message has no key.
    NoKey,
    /// The key is no record id.
    BadId,
    /// No `version` header.
    NoVersion,
    /// The `version` header is no version that such an event may have.
    BadVersion,
    /// More than the tolerated time ahead of the clock (R13; decided by the lane).
    VersionInFuture,
    /// The value is not framed.
    BadFrame,
    /// `op` and value disagree.
    OpMismatch,
    /// The schema id stayed unknown although later events decode (G8; decided by the lane).
    UnknownSchema,
    /// The datum does not fit its schema (found by `Entity::read_avro`).
    Undecodable,
    /// The table refused the row for its content (decided by the lane).
    Refused,
    /// Another id's row has its value of a unique key (decided by the lane).
    Displaced,
    /// The row is larger than the database server takes in one statement (decided by the lane), or the event than its topic
    /// (decided by the relay).
    TooLarge,
}

impl Reason {
    /// Every reason, for zero series.
    pub const ALL: [Reason; 12] = [
        Reason::NoKey,
        Reason::BadId,
        Reason::NoVersion,
        Reason::BadVersion,
        Reason::VersionInFuture,
        Reason::BadFrame,
        Reason::OpMismatch,
        Reason::UnknownSchema,
        Reason::Undecodable,
        Reason::Refused,
        Reason::Displaced,
        Reason::TooLarge,
    ];

    /// The text in headers, metrics and the dead letters' table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::NoKey => "no-key",
            Reason::BadId => "bad-id",
            Reason::NoVersion => "no-version",
            Reason::BadVersion => "bad-version",
            Reason::VersionInFuture => "version-in-future",
            Reason::BadFrame => "bad-frame",
            Reason::OpMismatch => "op-mismatch",
            Reason::UnknownSchema => "unknown-schema",
            Reason::Undecodable => "undecodable",
            Reason::Refused => "refused",
            Reason::Displaced => "displaced",
            Reason::TooLarge => "too-large",
        }
    }
}

impl<'a> Event<'a> {
    /// Reads a message: `key` and `value` as Kafka gives them, `None` for null.
    #[must_use]
    pub fn decode(key: Option<&[u8]>, value: Option<&'a [u8]>, headers: Headers<'_>) -> Decoded<'a> {
        match decode(key, value, headers) {
            Ok(event) => Decoded::Event(event),
            Err((reason, detail)) => Decoded::Poison(Poison { reason, detail }),
        }
    }

    /// The event without borrows.
    #[must_use]
    pub fn into_owned(self) -> Event<'static> {
        Event { id: self.id, version: self.version, origin: self.origin, change: self.change.into_owned() }
    }
}

type Refusal = (Reason, String);

fn decode<'a>(key: Option<&[u8]>, value: Option<&'a [u8]>, headers: Headers<'_>) -> Result<Event<'a>, Refusal> {
    let id = id_of(key)?;
    let change = change_of(value, headers.op)?;
    let version = version_of(headers.version)?;
    // A mark is nobody's version: an upsert with it would tie with the tombstone that answers for it (R18).
    if version == Version::ZERO || (version.is_mark() && change != Change::Tombstone) {
        return Err((Reason::BadVersion, "this version is reserved for rows and marks of the table".to_owned()));
    }
    let origin = headers.origin.and_then(Origin::parse).unwrap_or(Origin::Write);
    Ok(Event { id, version, origin, change })
}

fn id_of(key: Option<&[u8]>) -> Result<RecordId, Refusal> {
    let key = key.ok_or_else(|| (Reason::NoKey, "a message's key is the record's id".to_owned()))?;
    let text = std::str::from_utf8(key).map_err(|_| (Reason::BadId, "the key is not UTF-8".to_owned()))?;
    RecordId::parse(text).map_err(|fault| (Reason::BadId, fault.to_string()))
}

fn version_of(header: Option<&[u8]>) -> Result<Version, Refusal> {
    let header = header.ok_or_else(|| (Reason::NoVersion, "the header `version` is missing".to_owned()))?;
    // What is not UTF-8 is not decimal either.
    let text = std::str::from_utf8(header).unwrap_or("");
    text.parse().map_err(|fault: crate::VersionFault| (Reason::BadVersion, fault.to_string()))
}

fn change_of<'a>(value: Option<&'a [u8]>, op: Option<&[u8]>) -> Result<Change<'a>, Refusal> {
    let change = match value {
        None => Change::Tombstone,
        Some(value) => {
            let (schema, datum) = frame::decode(value).map_err(|fault| (Reason::BadFrame, fault.to_string()))?;
            Change::Upsert { schema, datum: Cow::Borrowed(datum) }
        }
    };
    match op {
        Some(op) if op != change.op().as_bytes() => {
            Err((Reason::OpMismatch, format!("the value is that of `op` = {}, the header says otherwise", change.op())))
        }
        _ => Ok(change),
    }
}
