//! Dead letters: what can never be applied goes to a topic of its own, byte for byte as it came, with where it came from and
//! why. A letter is acknowledged like an event: it is there only when the brokers have said so.

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use record::{Reason, SchemaId};
use tokio::sync::oneshot;

use crate::publisher::{self, OnDelivery};
use crate::{Envelope, Outgoing, Partition, Published, Publisher, TopicError};

/// What the headers of a letter may add to its event, so that the largest event still is a letter.
pub const ROOM: usize = 64 << 10;

/// The topic of the dead letters of a topic. It has as many partitions, and a letter stands in that of its event: the letters
/// of a lane keep their order, and no lane waits for another's.
#[must_use]
pub fn topic_of(topic: &str) -> String {
    format!("{topic}.dead")
}

/// The names of the headers that a letter has beside those of its event: Kafka Connect's, where it has one.
pub mod header {
    /// The topic of the event.
    pub const TOPIC: &str = "__connect.errors.topic";
    /// Its partition.
    pub const PARTITION: &str = "__connect.errors.partition";
    /// Its offset. What never became an event has none, and no partition.
    pub const OFFSET: &str = "__connect.errors.offset";
    /// Why it can never be applied: one of `Reason`.
    pub const REASON: &str = "__connect.errors.exception.class.name";
    /// The same for a human, without values.
    pub const DETAIL: &str = "__connect.errors.exception.message";
    /// The id of its schema, where it has a frame.
    pub const SCHEMA: &str = "write_behind.errors.schema_id";
    /// When it was found out, in microseconds since 1970.
    pub const AT: &str = "write_behind.errors.at";
    /// What of the event is not in the letter, since it is too large for it: only then.
    pub const LEFT_OUT: &str = "write_behind.errors.left_out";
}

/// An event that can never be applied, and why.
#[derive(Clone, Copy, Debug)]
pub struct Letter<'a> {
    /// Where it came from.
    pub partition: &'a Partition,
    /// What came.
    pub envelope: &'a Envelope,
    /// The schema in its frame, if it has one.
    pub schema: Option<SchemaId>,
    /// Why.
    pub reason: Reason,
    /// Why, for a human; without values.
    pub detail: &'a str,
    /// When, in microseconds since 1970.
    pub at: u64,
}

/// How much of its event a letter holds: as much as the brokers take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All of it.
    Whole,
    /// Key and headers.
    Headers,
    /// Where it stands.
    Coordinates,
}

impl Kept {
    /// What is not in the letter, if anything: in words.
    #[must_use]
    pub fn left_out(self) -> Option<&'static str> {
        match self {
            Self::Whole => None,
            Self::Headers => Some("value"),
            Self::Coordinates => Some("value, key and headers"),
        }
    }
}

impl Publisher {
    /// Brings a dead letter to its topic and waits for the acknowledgement. Of an event that is too large for it the letter
    /// holds less, and says so.
    ///
    /// # Errors
    /// [`TopicError`]; after [`TopicError::Unacknowledged`] it may be there, and a second one is harmless: a reader tells
    /// them by their coordinates.
    ///
    /// # Cancellation
    /// The letter is published all the same.
    pub async fn bury(&self, letter: Letter<'_>) -> Result<Kept, TopicError> {
        for kept in [Kept::Whole, Kept::Headers] {
            match self.bury_as(&letter, kept).await {
                Err(TopicError::TooLarge) => {}
                ended => return ended.map(|_| kept),
            }
        }
        self.bury_as(&letter, Kept::Coordinates).await.map(|_| Kept::Coordinates)
    }

    async fn bury_as(&self, letter: &Letter<'_>, kept: Kept) -> Result<Published, TopicError> {
        let (acknowledge, acknowledged) = oneshot::channel();
        let topic = topic_of(&letter.partition.topic);
        let on_delivery = OnDelivery::new(move |delivered| drop(acknowledge.send(delivered)));
        let mut record = BaseRecord::<[u8], [u8], _>::with_opaque_to(&topic, on_delivery)
            .partition(letter.partition.number)
            .headers(headers(letter, kept));
        if let Some(key) = letter.envelope.key().filter(|_| kept != Kept::Coordinates) {
            record = record.key(key);
        }
        if let Some(value) = letter.envelope.value().filter(|_| kept == Kept::Whole) {
            record = record.payload(value);
        }
        self.hand_in(record)?;
        acknowledged.await.unwrap_or(Err(TopicError::Unacknowledged))
    }
}

impl Publisher {
    /// The same for what never became an event, since its topic does not take it: it has no coordinates, and stands in the
    /// partition that it would have come to.
    ///
    /// # Errors
    /// [`TopicError`]; after [`TopicError::Unacknowledged`] it may be there, and a second one is harmless: a reader tells
    /// them by key and version.
    ///
    /// # Cancellation
    /// The letter is published all the same.
    pub async fn bury_refused(
        &self,
        outgoing: Outgoing<'_>,
        reason: Reason,
        detail: &str,
        at: u64,
    ) -> Result<Published, TopicError> {
        let (acknowledge, acknowledged) = oneshot::channel();
        let Outgoing { topic, event, trace } = outgoing;
        let (letters, value, at) = (topic_of(topic), event.change.to_value(), at.to_string());
        let on_delivery = OnDelivery::new(move |delivered| drop(acknowledge.send(delivered)));
        let said =
            [(header::TOPIC, topic), (header::REASON, reason.as_str()), (header::DETAIL, detail), (header::AT, &at)];
        let own = publisher::headers(event, &event.version.to_string(), trace);
        let headers =
            said.into_iter().fold(own, |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        let mut record =
            BaseRecord::<str, _, _>::with_opaque_to(&letters, on_delivery).key(event.id.as_str()).headers(headers);
        if let Some(value) = &value {
            record = record.payload(value);
        }
        self.hand_in(record)?;
        acknowledged.await.unwrap_or(Err(TopicError::Unacknowledged))
    }
}

fn headers(letter: &Letter<'_>, kept: Kept) -> OwnedHeaders {
    let [partition, offset, at] =
        [i64::from(letter.partition.number), letter.envelope.offset, i64::try_from(letter.at).unwrap_or(i64::MAX)]
            .map(|number| number.to_string());
    let said = [
        (header::TOPIC, &*letter.partition.topic),
        (header::PARTITION, &partition),
        (header::OFFSET, &offset),
        (header::REASON, letter.reason.as_str()),
        (header::DETAIL, letter.detail),
        (header::AT, &at),
    ];
    let schema = letter.schema.map(|schema| schema.to_string());
    let further = [(header::SCHEMA, schema.as_deref()), (header::LEFT_OUT, kept.left_out())];
    let further = further.into_iter().filter_map(|(key, value)| Some((key, value?)));
    let own = match kept {
        Kept::Coordinates => OwnedHeaders::new(),
        Kept::Whole | Kept::Headers => letter.envelope.owned_headers(),
    };
    let headers = said.into_iter().chain(further);
    headers.fold(own, |headers, (key, value)| headers.insert(Header { key, value: Some(value) }))
}
