//! Reads a stretch of a topic outside of the group: for `verify`, `replay` and `purge`. Partitions are assigned, never
//! subscribed, and no offset is ever moved, so that the members of the group do not notice.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::client::{self, Quiet, Reporting};
use crate::{Envelope, KafkaSettings, TopicError};

const TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);
/// After so long without a message the rest of a stretch is given up.
const PATIENCE: Duration = Duration::from_secs(30);
const UUID_LENGTH: usize = 36;

/// What a partition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The first offset that there is.
    pub low: i64,
    /// The offset that the next event will get.
    pub end: i64,
}

/// From the first offset to the one behind the last, by partition.
pub type Stretch = BTreeMap<i32, (i64, i64)>;

/// A partition that has not been read to the end of the stretch.
#[derive(Clone, Copy, Debug)]
struct Left {
    next: i64,
    until: i64,
    /// The log was seen to reach as far as the stretch: the next end that is met is one.
    reaches: bool,
}

/// Asks and reads one topic. Blocks: lives on a plain thread.
pub struct Reader {
    consumer: BaseConsumer<Reporting<Quiet>>,
    group: String,
    topic: String,
    /// What is left of each partition of the stretch.
    left: HashMap<i32, Left>,
    patience: Duration,
    heard: Instant,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("topic", &self.topic).field("left", &self.left).finish_non_exhaustive()
    }
}

impl Reader {
    /// Makes the client, whose id ends in `role`; it connects by itself.
    ///
    /// # Errors
    /// A setting that librdkafka does not take.
    pub fn new(settings: &KafkaSettings, role: &str, topic: &str) -> Result<Self, TopicError> {
        let own = [
            ("group.id", settings.consumer_group.clone()),
            ("enable.auto.commit", "false".to_owned()),
            ("enable.auto.offset.store", "false".to_owned()),
            ("auto.offset.reset", "earliest".to_owned()),
            ("enable.partition.eof", "true".to_owned()),
            // Of each partition, and nobody waits for a single event here.
            ("queued.max.messages.kbytes", "2048".to_owned()),
            ("queued.min.messages", "10000".to_owned()),
            ("fetch.message.max.bytes", settings.event_bytes_most.max(1 << 20).to_string()),
        ];
        let config = client::config(settings, role, own);
        Ok(Self {
            consumer: BaseConsumer::from_config_and_context(&config, Reporting(Quiet))?,
            group: settings.consumer_group.clone(),
            topic: topic.to_owned(),
            left: HashMap::new(),
            patience: PATIENCE,
            heard: Instant::now(),
        })
    }

    /// The same, which gives up after so long without a message.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// What each partition holds now; empty where there is no such topic.
    ///
    /// # Errors
    /// Kafka is away or refuses.
    pub fn bounds(&self) -> Result<BTreeMap<i32, Bounds>, TopicError> {
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), TIMEOUT)?;
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id());
        let bounds = |number| {
            let (low, end) = self.consumer.fetch_watermarks(&self.topic, number, TIMEOUT)?;
            Ok((number, Bounds { low, end }))
        };
        partitions.map(bounds).collect()
    }

    /// The next offset that the group will read of each partition; `None` where it has committed none.
    ///
    /// # Errors
    /// Kafka is away or refuses.
    pub fn committed(
        &self,
        partitions: impl IntoIterator<Item = i32>,
    ) -> Result<BTreeMap<i32, Option<i64>>, TopicError> {
        let mut asked = TopicPartitionList::new();
        for number in partitions {
            asked.add_partition(&self.topic, number);
        }
        let mut committed = BTreeMap::new();
        for element in self.consumer.committed_offsets(asked, TIMEOUT)?.elements() {
            // Without an answer for this partition the group would look as if it had never committed.
            element.error()?;
            let offset = if let Offset::Offset(offset) = element.offset() { Some(offset) } else { None };
            committed.insert(element.partition(), offset);
        }
        Ok(committed)
    }

    /// The first offset of each partition that was appended at `micros` since 1970 or later: its end where there is none.
    ///
    /// # Errors
    /// Kafka is away or refuses.
    pub fn since(&self, micros: u64, bounds: &BTreeMap<i32, Bounds>) -> Result<BTreeMap<i32, i64>, TopicError> {
        let millis = i64::try_from(micros.div_ceil(1000)).unwrap_or(i64::MAX);
        let mut asked = TopicPartitionList::new();
        for number in bounds.keys() {
            asked.add_partition_offset(&self.topic, *number, Offset::Offset(millis))?;
        }
        let mut since = BTreeMap::new();
        for element in self.consumer.offsets_for_times(asked, TIMEOUT)?.elements() {
            element.error()?;
            let end = bounds.get(&element.partition()).map_or(0, |bounds| bounds.end);
            let offset = if let Offset::Offset(offset) = element.offset() { offset } else { end };
            since.insert(element.partition(), offset);
        }
        Ok(since)
    }

    /// Whether the group has no member, of whatever protocol. What a broker says of a group knows no members of KIP-848; but it
    /// takes a commit of somebody who is no member only as long as there is none. So that is asked, with what the group has
    /// committed already; or where it has not, with the beginning, from which a member would read as well.
    ///
    /// # Errors
    /// Kafka is away or refuses: it cannot be told.
    pub fn group_is_empty(&self) -> Result<bool, TopicError> {
        let Some((number, Bounds { low, .. })) = self.bounds()?.pop_first() else { return Ok(true) };
        let mut asked = TopicPartitionList::new();
        asked.add_partition(&self.topic, number);
        let same = self.consumer.committed_offsets(asked, TIMEOUT)?;
        for mut element in same.elements() {
            element.error()?;
            if !matches!(element.offset(), Offset::Offset(_)) {
                element.set_offset(Offset::Offset(low))?;
            }
        }
        use RDKafkaErrorCode as Code;
        match self.consumer.commit(&same, CommitMode::Sync) {
            Ok(()) => Ok(true),
            Err(error) => match error.rdkafka_error_code() {
                Some(Code::UnknownMemberId | Code::IllegalGeneration | Code::RebalanceInProgress) => Ok(false),
                _ => Err(error.into()),
            },
        }
    }

    /// The machine of the member that has this name (`--group-instance-id`) in the group, or had it when it died and is not given
    /// up yet. Of the classic protocol: of a member of KIP-848 nobody is told.
    ///
    /// # Errors
    /// Kafka is away or refuses: it cannot be told.
    pub fn host_of(&self, name: &str) -> Result<Option<String>, TopicError> {
        let groups = self.consumer.fetch_group_list(Some(&self.group), TIMEOUT)?;
        // A broker makes a member's id of its name and of a UUID.
        let named = |id: &str| {
            let uuid = id.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
            uuid.is_some_and(|uuid| uuid.len() == UUID_LENGTH)
        };
        let mut members = groups.groups().iter().flat_map(|group| group.members());
        Ok(members.find(|member| named(member.id())).map(|member| member.client_host().to_owned()))
    }

    /// Begins to read a stretch; [`Reader::read`] gives it.
    ///
    /// # Errors
    /// librdkafka does not take the assignment.
    pub fn begin(&mut self, stretch: &Stretch) -> Result<(), TopicError> {
        let mut assigned = TopicPartitionList::new();
        self.left.clear();
        for (number, (from, until)) in stretch.iter().filter(|(_, (from, until))| from < until) {
            assigned.add_partition_offset(&self.topic, *number, Offset::Offset(*from))?;
            self.left.insert(*number, Left { next: *from, until: *until, reaches: false });
        }
        self.heard = Instant::now();
        Ok(self.consumer.assign(&assigned)?)
    }

    /// The next event of the stretch and its partition, in the order of each partition's offsets; `None` at its end. What
    /// compaction has removed does not come.
    ///
    /// # Errors
    /// Nothing came for half a minute (also since the topic ends before the stretch does), or Kafka refuses for good.
    pub fn read(&mut self) -> Result<Option<(i32, Envelope)>, TopicError> {
        while !self.left.is_empty() {
            match self.consumer.poll(POLL) {
                Some(Ok(message)) => {
                    self.heard = Instant::now();
                    let (number, offset) = (message.partition(), message.offset());
                    let Some(left) = self.left.get_mut(&number) else { continue };
                    left.next = offset + 1;
                    let until = left.until;
                    if offset + 1 >= until {
                        self.left.remove(&number);
                    }
                    if offset < until {
                        return Ok(Some((number, Envelope::new(&message))));
                    }
                }
                Some(Err(KafkaError::PartitionEOF(number))) => {
                    if self.has_ended(number)? {
                        self.heard = Instant::now();
                        self.left.remove(&number);
                    } else {
                        self.given_up(None)?;
                    }
                }
                Some(Err(error)) => {
                    let error = TopicError::from(error);
                    if error.class() == service::FailureClass::Fatal {
                        return Err(error);
                    }
                    self.given_up(Some(error))?;
                }
                None => self.given_up(None)?,
            }
        }
        self.consumer.unassign()?;
        Ok(None)
    }

    /// Is there nothing more of the stretch in this partition, although its last event did not come? An end says only where the
    /// log ended when it was met: soon after a change of leaders, say, that may be before what had been there. So it is believed
    /// where it is met again, after the log was seen to reach as far as the stretch.
    fn has_ended(&mut self, number: i32) -> Result<bool, TopicError> {
        let Some(left) = self.left.get_mut(&number) else { return Ok(false) };
        if left.reaches {
            return Ok(true);
        }
        let (_, end) = self.consumer.fetch_watermarks(&self.topic, number, TIMEOUT)?;
        left.reaches = end >= left.until;
        self.consumer.seek(&self.topic, number, Offset::Offset(left.next), TIMEOUT)?;
        Ok(false)
    }

    fn given_up(&self, why: Option<TopicError>) -> Result<(), TopicError> {
        if self.heard.elapsed() < self.patience { Ok(()) } else { Err(why.unwrap_or(TopicError::Unacknowledged)) }
    }
}
