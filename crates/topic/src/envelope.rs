//! A message as it came, owned: original bytes and coordinates, before anybody has understood it.
//!
//! Lanes hold many of them, so one takes two allocations and no more: its bytes in a row, and where its headers stand in them.

use rdkafka::message::{Header, Headers as _, Message, OwnedHeaders};
use record::{Decoded, Event, Headers, RecordId, SchemaId, Version};

/// One message of a partition.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// Where it stands in its partition.
    pub offset: i64,
    /// When the broker took it (R17), in milliseconds since 1970 by its clock; -1 where it does not say.
    pub appended: i64,
    /// Key, value, then of each header its name and its value.
    bytes: Box<[u8]>,
    key: Option<usize>,
    value: Option<usize>,
    headers: Box<[Lengths]>,
}

/// How long a header's name and its value are.
#[derive(Clone, Copy, Debug)]
struct Lengths {
    name: usize,
    value: Option<usize>,
}

impl Envelope {
    pub(crate) fn new(message: &impl Message) -> Self {
        // librdkafka parses the headers at each call.
        let headers = message.headers();
        let headers = || headers.into_iter().flat_map(|headers| headers.iter());
        let (key, value) = (message.key(), message.payload());
        let parts = || {
            let named = headers().flat_map(|header| [Some(header.key.as_bytes()), header.value]);
            [key, value].into_iter().chain(named).flatten()
        };
        let mut bytes = Vec::with_capacity(parts().map(<[u8]>::len).sum());
        parts().for_each(|part| bytes.extend_from_slice(part));
        Self {
            offset: message.offset(),
            appended: message.timestamp().to_millis().unwrap_or(-1),
            bytes: bytes.into(),
            key: key.map(<[u8]>::len),
            value: value.map(<[u8]>::len),
            headers: headers()
                .map(|Header { key, value }| Lengths { name: key.len(), value: value.map(<[u8]>::len) })
                .collect(),
        }
    }

    /// The record's id, if it is an event of ours.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.bytes.get(..self.key?)
    }

    /// The framed datum; `None` is a delete.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        let from = self.key.unwrap_or(0);
        self.bytes.get(from..from + self.value?)
    }

    /// The headers, in order.
    fn headers(&self) -> impl Iterator<Item = Header<'_, &[u8]>> {
        let mut rest = self.bytes.get(self.key.unwrap_or(0) + self.value.unwrap_or(0)..).unwrap_or_default();
        let mut cut = move |length: usize| {
            let (part, behind) = rest.split_at_checked(length).unwrap_or_default();
            rest = behind;
            part
        };
        self.headers.iter().map(move |lengths| {
            let name = cut(lengths.name);
            // It was a string.
            Header { key: std::str::from_utf8(name).unwrap_or_default(), value: lengths.value.map(&mut cut) }
        })
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers().find(|header| header.key == name)?.value
    }

    /// All headers as they came, for a message that goes on with them.
    pub(crate) fn owned_headers(&self) -> OwnedHeaders {
        let room = OwnedHeaders::new_with_capacity(self.headers.len());
        self.headers().fold(room, |headers, header| headers.insert(header))
    }

    /// The event in it, or why it is none.
    #[must_use]
    pub fn decode(&self) -> Decoded<'_> {
        let [version, op, origin] = ["version", "op", "origin"].map(|name| self.header(name));
        Event::decode(self.key(), self.value(), Headers { version, op, origin })
    }

    /// The schema in its frame, where it has one.
    #[must_use]
    pub fn schema(&self) -> Option<SchemaId> {
        record::decode_frame(self.value()?).ok().map(|(schema, _)| schema)
    }

    /// The record's id, where the key is one, although nothing else of the message may be understood.
    #[must_use]
    pub fn id(&self) -> Option<RecordId> {
        RecordId::parse(std::str::from_utf8(self.key()?).ok()?).ok()
    }

    /// Its version, where there is one to be read.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        std::str::from_utf8(self.header("version")?).ok()?.parse().ok()
    }

    /// Bytes that it keeps in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.bytes.len() + size_of_val(&*self.headers)
    }

    /// The birth of its version in microseconds, where there is one to be read.
    #[must_use]
    pub fn birth_micros(&self) -> Option<u64> {
        self.version().map(Version::birth_micros)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rdkafka::Timestamp;
    use rdkafka::message::OwnedMessage;

    use super::*;

    type Bytes = Option<Vec<u8>>;

    fn bytes() -> impl Strategy<Value = Bytes> {
        prop::option::of(prop::collection::vec(any::<u8>(), 0..40))
    }

    fn message(key: Bytes, value: Bytes, headers: &[(String, Bytes)]) -> OwnedMessage {
        let headers = headers.iter().fold(OwnedHeaders::new(), |headers, (name, value)| {
            headers.insert(Header { key: name, value: value.as_ref() })
        });
        OwnedMessage::new(value, key, "users".to_owned(), Timestamp::NotAvailable, 0, 7, Some(headers))
    }

    fn told(headers: &impl rdkafka::message::Headers) -> Vec<(String, Bytes)> {
        headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
    }

    proptest! {
        #[test]
        fn an_envelope_has_key_value_and_headers_as_they_came_null_apart_from_empty(
            key in bytes(),
            value in bytes(),
            headers in prop::collection::vec(("[a-z]{0,3}", bytes()), 0..6),
        ) {
            let envelope = Envelope::new(&message(key.clone(), value.clone(), &headers));
            prop_assert_eq!(envelope.key(), key.as_deref());
            prop_assert_eq!(envelope.value(), value.as_deref());
            prop_assert_eq!(told(&envelope.owned_headers()), headers.clone());
            for (name, _) in &headers {
                let (_, first) = headers.iter().find(|(one, _)| one == name).unwrap();
                prop_assert_eq!(envelope.header(name), first.as_deref(), "{}", name);
            }
        }
    }
}
