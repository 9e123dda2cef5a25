//! Reads a whole topic as a stranger would: with a consumer that knows nothing of us.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

/// One message as it stands in the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its key.
    pub key: String,
    /// Its value; `None` for a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its timestamp, in milliseconds since 1970; 0 without one.
    pub at: u64,
    /// Its headers in order.
    pub headers: Vec<(String, String)>,
}

impl Read {
    /// The text of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Everything in the topic, by partition and offset. Blocks.
///
/// # Errors
/// Kafka is away or has no such topic.
pub fn read_all(brokers: &str, topic: &str) -> Result<Vec<Read>> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "stranger").set("enable.auto.commit", "false");
    let consumer = BaseConsumer::from_config(&config)?;
    let timeout = Duration::from_secs(10);
    let metadata = consumer.fetch_metadata(Some(topic), timeout)?;
    let (mut from, mut missing) = (TopicPartitionList::new(), 0);
    for partition in metadata.topics().iter().flat_map(|found| found.partitions()) {
        let (low, end) = consumer.fetch_watermarks(topic, partition.id(), timeout)?;
        missing += end - low;
        from.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
    }
    consumer.assign(&from)?;
    let mut read = Vec::new();
    while missing > 0 {
        let Some(message) = consumer.poll(timeout) else { anyhow::bail!("{missing} messages of {topic} did not come") };
        let message = message?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        read.push(Read {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(text).unwrap_or_default(),
            value: message.payload().map(<[u8]>::to_vec),
            at: message.timestamp().to_millis().and_then(|at| u64::try_from(at).ok()).unwrap_or(0),
            headers: headers.map(|h| (h.key.to_owned(), h.value.map(text).unwrap_or_default())).collect(),
        });
        missing -= 1;
    }
    read.sort_by_key(|message| (message.partition, message.offset));
    Ok(read)
}

/// The offsets that a group has committed, by partition. Blocks.
///
/// # Errors
/// Kafka is away or has no such topic.
pub fn committed(brokers: &str, group: &str, topic: &str) -> Result<HashMap<i32, i64>> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", group).set("enable.auto.commit", "false");
    let consumer = BaseConsumer::from_config(&config)?;
    let timeout = Duration::from_secs(10);
    let metadata = consumer.fetch_metadata(Some(topic), timeout)?;
    let mut asked = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(|found| found.partitions()) {
        asked.add_partition(topic, partition.id());
    }
    let answer = consumer.committed_offsets(asked, timeout)?;
    let offset = |offset: Offset| if let Offset::Offset(offset) = offset { offset } else { 0 };
    Ok(answer.elements().iter().map(|element| (element.partition(), offset(element.offset()))).collect())
}
