//! A topic and a group of the test's own on the shared Kafka, events to put there, and a plain reader that knows nothing
//! of ours.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use record::{Change, Event, Origin, RecordId, SchemaId, Version};
use service::{Dependency, Health, Metrics};
use stack::{Kafka, shared};
use topic::setup::Topics;
use topic::{KafkaSettings, Outgoing, Partition, Published, Publisher, TopicError};

/// As the services' defaults, but for one broker; `name` is the group.
pub(crate) fn settings_at(brokers: &str, name: &str) -> KafkaSettings {
    KafkaSettings {
        kafka_brokers: brokers.to_owned(),
        access: topic::KafkaAccess::default(),
        kafka_prop: Vec::new(),
        consumer_group: name.to_owned(),
        topic_prefix: String::new(),
        produce_deadline_ms: Duration::from_secs(10),
        longest_outage_s: Duration::from_secs(604_800),
        event_bytes_most: 2 << 20,
        producer_events_most: 100_000,
        producer_bytes_most: 64 << 20,
        allow_single_broker: true,
    }
}

pub(crate) fn settings(name: &str) -> KafkaSettings {
    settings_at(&shared::kafka().brokers(), name)
}

/// Runs what is asynchronous in a test that is not.
pub(crate) fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub(crate) fn dependency() -> Dependency {
    Health::new(&Metrics::new(), &["kafka"], &[]).dependency("kafka").expect("it was just named")
}

/// Waits for what must come, and says what did not.
pub(crate) fn until(what: &str, mut come: impl FnMut() -> bool) {
    let since = Instant::now();
    while !come() {
        assert!(since.elapsed() < Duration::from_secs(30), "within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A topic of ours with this many partitions, on the shared Kafka.
pub(crate) fn topic(name: &str, partitions: i32) -> KafkaSettings {
    topic_on(shared::kafka(), name, partitions)
}

pub(crate) fn topic_on(kafka: &Kafka, name: &str, partitions: i32) -> KafkaSettings {
    let settings = settings_at(&kafka.brokers(), name);
    let created = block(async { Topics::new(&settings)?.create(name, partitions, 1).await });
    assert!(created.expect("Kafka creates topics"), "{name} is another test's topic");
    settings
}

pub(crate) fn partition(topic: &str, number: i32) -> Partition {
    Partition { topic: topic.into(), number }
}

/// An upsert born at `micros` (a multiple of 16).
pub(crate) fn upsert(id: &str, micros: u64) -> Event<'static> {
    Event {
        id: RecordId::parse(id).expect("an id"),
        version: Version::new(micros).expect("below 2^53"),
        origin: Origin::Write,
        change: Change::Upsert { schema: SchemaId::new(2), datum: b"datum"[..].into() },
    }
}

pub(crate) fn outgoing<'a>(topic: &'a str, event: &'a Event<'a>) -> Outgoing<'a> {
    Outgoing { topic, event, trace: None }
}

/// Publishes all and waits for their acknowledgements; they come in the order of `events`.
pub(crate) fn publish_all(publisher: &Publisher, topic: &str, events: &[Event<'_>]) -> Vec<Published> {
    let delivered = Arc::new(Mutex::new(BTreeMap::new()));
    for (n, event) in events.iter().enumerate() {
        let keep = Arc::clone(&delivered);
        let sent = publisher.send(outgoing(topic, event), move |result| {
            assert!(keep.lock().unwrap().insert(n, result).is_none(), "told twice of event {n}");
        });
        sent.expect("there is room");
    }
    publisher.flush(Duration::from_secs(30)).expect("all are acknowledged within 30 s");
    let delivered = std::mem::take(&mut *delivered.lock().unwrap());
    delivered.into_values().map(|result| result.expect("it is acknowledged")).collect()
}

/// As many events as asked for, of ids `0`, `1`, …, born 16 microseconds apart, on a new topic.
pub(crate) fn filled(name: &str, partitions: i32, events: u64) -> (KafkaSettings, Vec<Published>) {
    let settings = topic(name, partitions);
    let published = fill(&settings, name, events);
    (settings, published)
}

pub(crate) fn fill(settings: &KafkaSettings, name: &str, events: u64) -> Vec<Published> {
    let publisher = Publisher::new(settings).expect("the settings are good");
    let events: Vec<_> = (0..events).map(|n| upsert(&n.to_string(), birth(n))).collect();
    publish_all(&publisher, name, &events)
}

/// The birth of the n-th event that [`filled`] makes.
pub(crate) fn birth(n: u64) -> u64 {
    1_700_000_000_000_000 + 16 * n
}

/// A message as any program sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, String)>,
}

pub(crate) fn plain_consumer(settings: &KafkaSettings) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", &settings.kafka_brokers)
        .set("group.id", &settings.consumer_group)
        .set("enable.auto.commit", "false")
        .create()
        .expect("a plain consumer")
}

/// Reads `count` messages of a topic from its beginning, sorted by partition and offset.
pub(crate) fn read(settings: &KafkaSettings, topic: &str, partitions: i32, count: usize) -> Vec<Seen> {
    let consumer = plain_consumer(settings);
    let mut from = TopicPartitionList::new();
    for number in 0..partitions {
        from.add_partition_offset(topic, number, Offset::Beginning).unwrap();
    }
    consumer.assign(&from).expect("the partitions are there");
    let mut seen = Vec::new();
    until(&format!("{count} messages on {topic}"), || {
        while let Some(message) = consumer.poll(Duration::from_millis(50)) {
            let message = message.expect("a message");
            let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
            let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap();
            seen.push(Seen {
                partition: message.partition(),
                offset: message.offset(),
                key: message.key().map(<[u8]>::to_vec),
                value: message.payload().map(<[u8]>::to_vec),
                headers: headers.map(|header| (header.key.to_owned(), text(header.value))).collect(),
            });
        }
        seen.len() >= count
    });
    assert_eq!(seen.len(), count, "more than was published");
    seen.sort_by_key(|message| (message.partition, message.offset));
    seen
}

/// Commits for the group as an operator's tool would: no member takes part.
pub(crate) fn commit(settings: &KafkaSettings, topic: &str, offsets: &[(i32, i64)]) {
    let mut list = TopicPartitionList::new();
    for (number, offset) in offsets {
        list.add_partition_offset(topic, *number, Offset::Offset(*offset)).unwrap();
    }
    plain_consumer(settings).commit(&list, CommitMode::Sync).expect("the group takes a commit");
}

/// What the group has committed, by partition; without those for which it has nothing.
pub(crate) fn committed(settings: &KafkaSettings, topic: &str, partitions: i32) -> BTreeMap<i32, i64> {
    let mut list = TopicPartitionList::new();
    for number in 0..partitions {
        list.add_partition(topic, number);
    }
    let list = plain_consumer(settings).committed_offsets(list, Duration::from_secs(10)).expect("the group answers");
    let known = list.elements().into_iter().filter_map(|element| match element.offset() {
        Offset::Offset(offset) => Some((element.partition(), offset)),
        _ => None,
    });
    known.collect()
}

/// Bytes that do not shrink when they are compressed.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

pub(crate) fn large(id: &str, bytes: usize) -> Event<'static> {
    Event { change: Change::Upsert { schema: SchemaId::new(2), datum: noise(bytes).into() }, ..upsert(id, birth(0)) }
}

pub(crate) type Deliveries = Arc<Mutex<Vec<Result<Published, TopicError>>>>;
