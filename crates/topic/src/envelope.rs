//! A message as it came, owned: original bytes and coordinates, before anybody has understood it.

use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message, OwnedHeaders};
use record::{Decoded, Event, Headers, RecordId, SchemaId, Version};

/// One message of a partition.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// Where it stands in its partition.
    pub offset: i64,
    /// The record's id, if it is an event of ours.
    pub key: Option<Vec<u8>>,
    /// The framed datum; `None` is a delete.
    pub value: Option<Vec<u8>>,
    version: Option<Vec<u8>>,
    op: Option<Vec<u8>>,
    origin: Option<Vec<u8>>,
    /// All of them, as they came: a dead letter keeps them.
    pub(crate) headers: Option<OwnedHeaders>,
    header_bytes: usize,
}

impl Envelope {
    pub(crate) fn new(message: &BorrowedMessage<'_>) -> Self {
        // librdkafka parses the headers at each call.
        let headers = message.headers();
        let header = |name: &str| {
            let found = headers?.iter().find(|header| header.key == name)?;
            found.value.map(<[u8]>::to_vec)
        };
        Self {
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            version: header("version"),
            op: header("op"),
            origin: header("origin"),
            headers: headers.map(rdkafka::message::BorrowedHeaders::detach),
            header_bytes: headers.into_iter().flat_map(|headers| headers.iter()).map(|header| weight(&header)).sum(),
        }
    }

    /// The event in it, or why it is none.
    #[must_use]
    pub fn decode(&self) -> Decoded<'_> {
        let headers =
            Headers { version: self.version.as_deref(), op: self.op.as_deref(), origin: self.origin.as_deref() };
        Event::decode(self.key.as_deref(), self.value.as_deref(), headers)
    }

    /// The schema in its frame, where it has one.
    #[must_use]
    pub fn schema(&self) -> Option<SchemaId> {
        record::decode_frame(self.value.as_deref()?).ok().map(|(schema, _)| schema)
    }

    /// The record's id, where the key is one, although nothing else of the message may be understood.
    #[must_use]
    pub fn id(&self) -> Option<RecordId> {
        RecordId::parse(std::str::from_utf8(self.key.as_deref()?).ok()?).ok()
    }

    /// Its version, where there is one to be read.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        std::str::from_utf8(self.version.as_deref()?).ok()?.parse().ok()
    }

    /// Bytes that it keeps in memory, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.key.as_ref().map_or(0, Vec::len) + self.value.as_ref().map_or(0, Vec::len) + self.header_bytes + 128
    }

    /// The birth of its version in microseconds, where there is one to be read.
    #[must_use]
    pub fn birth_micros(&self) -> Option<u64> {
        self.version().map(Version::birth_micros)
    }
}

/// What a header takes, roughly.
fn weight(header: &Header<'_, &[u8]>) -> usize {
    header.key.len() + header.value.map_or(0, <[u8]>::len) + 32
}
