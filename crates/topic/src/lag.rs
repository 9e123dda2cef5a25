//! How far the persister's group is behind, asked of Kafka itself: by ingest too, since a dead persister exports nothing.
//!
//! Per partition: end of the topic minus committed offset, and the birth of the first event that is not committed, read
//! from its version header. Ages are computed when they are scraped, so that they grow while nothing else moves.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, IntGaugeVec, Opts};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use service::metrics::prefixed;
use service::{Pulse, Supervisor, clock};
use tokio_util::sync::CancellationToken;

use crate::client::{self, Quiet, Reporting};
use crate::drained::{Drained, Moment};
use crate::{Envelope, KafkaSettings, Partition, TopicError};

const EVERY: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long one look may wait for the first uncommitted events.
const READ: Duration = Duration::from_millis(500);

/// How far one partition has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The next offset that the group will read.
    pub committed: i64,
    /// The offset that the next event will get.
    pub end: i64,
    /// Birth of the first uncommitted event in microseconds; `None` without one, or while it could not be read yet.
    pub oldest_birth: Option<u64>,
}

/// Asks Kafka how far the group is. Blocks: lives on a plain thread.
pub struct GroupLag {
    consumer: BaseConsumer<Reporting<Quiet>>,
    known: HashMap<Partition, Position>,
    /// The committed offset whose event's birth was read last.
    read: HashMap<Partition, i64>,
}

impl std::fmt::Debug for GroupLag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupLag").field("known", &self.known).finish_non_exhaustive()
    }
}

impl Position {
    /// How many offsets the group is behind. After a topic was made anew the committed offset may be beyond its end.
    #[must_use]
    pub fn behind(&self) -> i64 {
        (self.end - self.committed).max(0)
    }
}

impl GroupLag {
    /// Makes the client. It never joins the group: it only asks for the group's offsets.
    ///
    /// # Errors
    /// A setting that librdkafka does not take.
    pub fn new(settings: &KafkaSettings) -> Result<Self, TopicError> {
        let mut config = client::config(settings, "lag", []);
        config
            .set("group.id", &settings.consumer_group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            // One event per partition is wanted, not a prefetch.
            .set("queued.min.messages", "1")
            .set("fetch.message.max.bytes", "16384");
        let consumer = BaseConsumer::from_config_and_context(&config, Reporting(Quiet))?;
        Ok(Self { consumer, known: HashMap::new(), read: HashMap::new() })
    }

    /// Looks at every partition of the topics.
    ///
    /// # Errors
    /// Kafka is away or refuses: nothing is known of the moment.
    pub fn look(&mut self, topics: &[String]) -> Result<&HashMap<Partition, Position>, TopicError> {
        let mut asked = TopicPartitionList::new();
        for topic in topics {
            let metadata = self.consumer.fetch_metadata(Some(topic), TIMEOUT)?;
            for number in metadata.topics().iter().flat_map(|t| t.partitions()).map(|p| p.id()) {
                asked.add_partition(topic, number);
            }
        }
        let mut found = HashMap::new();
        if asked.count() > 0 {
            for element in self.consumer.committed_offsets(asked, TIMEOUT)?.elements() {
                // Without an answer for this partition the group would look as if it had never committed.
                element.error()?;
                let partition = Partition { topic: element.topic().into(), number: element.partition() };
                let position = self.position(&partition, element.offset())?;
                found.insert(partition, position);
            }
        }
        // What is no longer there (a deleted topic) is not behind either.
        self.known = found;
        self.read_births()?;
        Ok(&self.known)
    }

    fn position(&self, partition: &Partition, committed: Offset) -> Result<Position, TopicError> {
        let (low, end) = self.consumer.fetch_watermarks(&partition.topic, partition.number, TIMEOUT)?;
        let committed = match committed {
            Offset::Offset(offset) => offset,
            _ => low,
        };
        // Until the event that is the oldest now has been read, the age of the one before it: a little too old, where
        // none would look as if nothing waited.
        let before = self.known.get(partition).filter(|_| committed < end);
        Ok(Position { committed, end, oldest_birth: before.and_then(|known| known.oldest_birth) })
    }

    /// Reads the first uncommitted event of every partition that is behind, where it is another than the last time.
    fn read_births(&mut self) -> Result<(), TopicError> {
        let mut wanted = TopicPartitionList::new();
        self.read.retain(|partition, at| self.known.get(partition).is_some_and(|known| known.committed == *at));
        for (partition, position) in &self.known {
            if position.committed < position.end && !self.read.contains_key(partition) {
                wanted.add_partition_offset(&partition.topic, partition.number, Offset::Offset(position.committed))?;
            }
        }
        let mut missing = wanted.count();
        if missing == 0 {
            return Ok(());
        }
        self.consumer.assign(&wanted)?;
        let until = Instant::now() + READ;
        while missing > 0 && Instant::now() < until {
            let Some(Ok(message)) = self.consumer.poll(Duration::from_millis(50)) else { continue };
            let partition = Partition { topic: message.topic().into(), number: message.partition() };
            if self.read.contains_key(&partition) {
                continue; // a later event of a partition whose first was read
            }
            if let Some(position) = self.known.get_mut(&partition) {
                position.oldest_birth = Some(birth_micros(&message));
                self.read.insert(partition, position.committed);
                missing -= 1;
            }
        }
        self.consumer.unassign()?;
        Ok(())
    }
}

/// What has no readable version waits all the same: then the broker's own time of it counts.
fn birth_micros(message: &BorrowedMessage<'_>) -> u64 {
    let appended = || message.timestamp().to_millis().and_then(|millis| u64::try_from(millis).ok());
    Envelope::new(message).birth_micros().unwrap_or_else(|| appended().unwrap_or(0) * 1000)
}

/// Runs [`observe`] on a thread of its own for the life of the process.
pub fn supervise(settings: KafkaSettings, topics: Vec<String>, metrics: LagMetrics, supervisor: &Supervisor) {
    let (stopping, pulse) = (supervisor.stopping(), supervisor.pulse("lag"));
    supervisor.spawn("lag", async move {
        let looking = tokio::task::spawn_blocking(move || observe(&settings, &topics, &metrics, &stopping, &pulse));
        match looking.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the lag cannot be observed"),
            Err(error) => tracing::error!(%error, "the observer of the lag died"),
        }
    });
}

/// Looks once a second until `stopping`, and shows what is found. Blocks: for a thread of its own.
///
/// # Errors
/// The client could not be made.
pub fn observe(
    settings: &KafkaSettings,
    topics: &[String],
    metrics: &LagMetrics,
    stopping: &CancellationToken,
    pulse: &Pulse,
) -> Result<(), TopicError> {
    let mut lag = GroupLag::new(settings)?;
    while !stopping.is_cancelled() {
        pulse.beat();
        let begun = Moment { at: Instant::now(), micros: clock::now_micros() };
        let next = begun.at + EVERY;
        match lag.look(topics) {
            Ok(positions) => {
                metrics.show(positions, &settings.topic_prefix);
                metrics.shown.lock().unwrap_or_else(PoisonError::into_inner).drained.look(begun, positions);
            }
            Err(error) => tracing::debug!(%error, "the group's lag is not known at the moment"),
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// The lag metrics of one process: offsets behind, under our name and the field's, and the age of the oldest write that
/// MySQL does not have.
#[derive(Clone, Debug)]
pub struct LagMetrics {
    shown: Arc<Mutex<Shown>>,
    now_micros: fn() -> u64,
    group: Arc<str>,
    events: IntGaugeVec,
    alias: IntGaugeVec,
    oldest: GaugeVec,
}

#[derive(Debug, Default)]
struct Shown {
    positions: HashMap<Partition, (String, Position)>,
    outbox_heads: HashMap<String, u64>,
    drained: Drained,
}

impl LagMetrics {
    /// `now_micros` is asked at each scrape.
    #[must_use]
    #[expect(clippy::expect_used, reason = "names and labels are constants")]
    pub fn new(settings: &KafkaSettings, now_micros: fn() -> u64) -> Self {
        let events = prefixed("lag_events", "Events between the group's committed offset and the end of the partition");
        let alias = Opts::new("kafka_consumergroup_lag", "The same, under the name that exporters of Kafka use");
        let oldest = prefixed(
            "oldest_unpersisted_seconds",
            "Age of the oldest write that MySQL does not have yet, 0 if none: the first uncommitted event of the \
             partition, or the head of the outbox where that is older. Over replicas take the maximum",
        );
        let unique = "names and labels are valid";
        Self {
            shown: Arc::default(),
            now_micros,
            group: settings.consumer_group.as_str().into(),
            events: IntGaugeVec::new(events, &["entity", "partition"]).expect(unique),
            alias: IntGaugeVec::new(alias, &["consumergroup", "topic", "partition"]).expect(unique),
            oldest: GaugeVec::new(oldest, &["entity", "partition"]).expect(unique),
        }
    }

    /// Shows what a look has found; `prefix` is cut off a topic's name to get the entity's.
    pub fn show(&self, positions: &HashMap<Partition, Position>, prefix: &str) {
        let entity =
            |partition: &Partition| partition.topic.strip_prefix(prefix).unwrap_or(&partition.topic).to_owned();
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).positions =
            positions.iter().map(|(partition, position)| (partition.clone(), (entity(partition), *position))).collect();
    }

    /// Shows the birth of the outbox's oldest entry, by entity.
    pub fn show_outbox(&self, heads: HashMap<String, u64>) {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).outbox_heads = heads;
    }

    /// Until when everything that the topics had acknowledged is committed by the group, as far as is known.
    #[must_use]
    pub fn drained(&self) -> Drained {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).drained.clone()
    }

    /// Events behind, over all partitions, when last looked at.
    #[must_use]
    pub fn events_behind(&self) -> i64 {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.positions.values().map(|(_, position)| position.behind()).sum()
    }
}

impl Collector for LagMetrics {
    fn desc(&self) -> Vec<&Desc> {
        [self.events.desc(), self.alias.desc(), self.oldest.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let now = (self.now_micros)();
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        // What is no longer there must not stand still at its last value.
        self.events.reset();
        self.alias.reset();
        self.oldest.reset();
        for (partition, (entity, position)) in &shown.positions {
            let number = partition.number.to_string();
            let behind = position.behind();
            self.events.with_label_values(&[entity, &number]).set(behind);
            self.alias.with_label_values(&[&*self.group, &*partition.topic, &number]).set(behind);
            let outbox = shown.outbox_heads.get(entity).copied();
            let birth = position.oldest_birth.into_iter().chain(outbox).min();
            let age = birth.map_or(0.0, |birth| clock::seconds_between(birth, now));
            self.oldest.with_label_values(&[entity, &number]).set(age);
        }
        [self.events.collect(), self.alias.collect(), self.oldest.collect()].concat()
    }
}
