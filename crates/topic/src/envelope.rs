//! A message as it came, owned: original bytes and coordinates, before anybody has understood it.

use rdkafka::message::{BorrowedMessage, Headers as _, Message};
use record::{Decoded, Event, Headers};

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
        }
    }

    /// The event in it, or why it is none.
    #[must_use]
    pub fn decode(&self) -> Decoded<'_> {
        let headers =
            Headers { version: self.version.as_deref(), op: self.op.as_deref(), origin: self.origin.as_deref() };
        Event::decode(self.key.as_deref(), self.value.as_deref(), headers)
    }

    /// Bytes that it keeps in memory, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.key.as_ref().map_or(0, Vec::len) + self.value.as_ref().map_or(0, Vec::len) + 128
    }

    /// The birth of its version in microseconds, where there is one to be read.
    #[must_use]
    pub fn birth_micros(&self) -> Option<u64> {
        let version: record::Version = std::str::from_utf8(self.version.as_deref()?).ok()?.parse().ok()?;
        Some(version.birth_micros())
    }
}
