//! Creating topics as they must be, and refusing topics that are not (PROTOCOL R17): nothing may disappear from a topic
//! before the slowest consumer has it.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;

use crate::client::{self, Quiet, Reporting};
use crate::{KafkaSettings, TopicError, dead};

const TIMEOUT: Duration = Duration::from_secs(5);

/// What a topic is found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its number of partitions.
    pub partitions: i32,
    /// Every setting that would lose writes, with the remedy.
    pub faults: Vec<String>,
}

/// Creates and inspects topics.
pub struct Topics {
    admin: AdminClient<Reporting<Quiet>>,
    metadata: Arc<BaseConsumer<Reporting<Quiet>>>,
    settings: KafkaSettings,
}

impl std::fmt::Debug for Topics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Topics").finish_non_exhaustive()
    }
}

impl Topics {
    /// Makes the admin client; it connects by itself.
    ///
    /// # Errors
    /// A setting that librdkafka does not take.
    pub fn new(settings: &KafkaSettings) -> Result<Self, TopicError> {
        let config = client::config(settings, "admin", []);
        Ok(Self {
            admin: AdminClient::from_config_and_context(&config, Reporting(Quiet))?,
            metadata: Arc::new(BaseConsumer::from_config_and_context(&config, Reporting(Quiet))?),
            settings: settings.clone(),
        })
    }

    /// Creates a topic with the settings that R17 demands. Says whether it was new.
    ///
    /// # Errors
    /// Kafka is away or refuses.
    pub async fn create(&self, topic: &str, partitions: i32, replicas: i32) -> Result<bool, TopicError> {
        let outage = self.settings.longest_outage_s.as_millis().to_string();
        let own = [
            ("cleanup.policy", "compact".to_owned()),
            ("min.compaction.lag.ms", outage.clone()),
            ("delete.retention.ms", outage),
            ("message.timestamp.type", "LogAppendTime".to_owned()),
            ("max.message.bytes", self.settings.event_bytes_most.to_string()),
        ];
        self.make(topic, partitions, replicas, own).await
    }

    /// Creates the topic of the dead letters of `topic`. It keeps each letter for `retention`, without one for ever. Says
    /// whether it was new.
    ///
    /// # Errors
    /// Kafka is away or refuses.
    pub async fn create_dead(
        &self,
        topic: &str,
        partitions: i32,
        replicas: i32,
        retention: Option<Duration>,
    ) -> Result<bool, TopicError> {
        let own = [
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", retention.map_or("-1".to_owned(), |retention| retention.as_millis().to_string())),
            ("retention.bytes", "-1".to_owned()),
            ("max.message.bytes", self.letter_bytes().to_string()),
        ];
        self.make(&dead::topic_of(topic), partitions, replicas, own).await
    }

    async fn make<'a>(
        &self,
        topic: &'a str,
        partitions: i32,
        replicas: i32,
        own: impl IntoIterator<Item = (&'a str, String)>,
    ) -> Result<bool, TopicError> {
        let own: Vec<_> = own.into_iter().collect();
        let in_sync = if replicas >= 3 { "2" } else { "1" };
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(replicas))
            .set("unclean.leader.election.enable", "false")
            .set("min.insync.replicas", in_sync);
        for (setting, value) in &own {
            new = new.set(setting, value);
        }
        let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
        let mut results = self.admin.create_topics(&[new], &options).await?;
        match results.pop() {
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(false),
            Some(Err((_, code))) => Err(TopicError::Refused(rdkafka::error::KafkaError::AdminOp(code))),
            _ => Ok(true),
        }
    }

    /// Looks at a topic; `None` when there is none.
    ///
    /// # Errors
    /// Kafka is away or refuses.
    pub async fn inspect(&self, topic: &str) -> Result<Option<Found>, TopicError> {
        let found = self.described(topic).await?;
        Ok(found
            .map(|(partitions, replicas, config)| Found { partitions, faults: self.faults(topic, &config, replicas) }))
    }

    /// Looks at the topic of the dead letters of `topic`; `None` when there is none.
    ///
    /// # Errors
    /// Kafka is away or refuses.
    pub async fn inspect_dead(&self, topic: &str) -> Result<Option<Found>, TopicError> {
        let topic = dead::topic_of(topic);
        let found = self.described(&topic).await?;
        Ok(found.map(|(partitions, replicas, config)| Found {
            partitions,
            faults: self.faults_of_dead(&topic, &config, replicas),
        }))
    }

    async fn described(&self, topic: &str) -> Result<Option<(i32, usize, ConfigResource)>, TopicError> {
        let Some((partitions, replicas)) = self.size(topic).await? else { return Ok(None) };
        let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
        let mut described = self.admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &options).await?;
        match described.pop() {
            // Of a topic that was just made a broker may not know yet: then it tells nothing of it, or that there is none.
            Some(Ok(config)) if config.entries.is_empty() => Ok(None),
            Some(Err(RDKafkaErrorCode::UnknownTopicOrPartition)) => Ok(None),
            Some(Ok(config)) => Ok(Some((partitions, replicas, config))),
            Some(Err(code)) => Err(TopicError::Refused(rdkafka::error::KafkaError::AdminOp(code))),
            None => Ok(None),
        }
    }

    fn letter_bytes(&self) -> usize {
        self.settings.event_bytes_most.saturating_add(dead::ROOM)
    }

    /// Partitions, and the fewest replicas that one of them has.
    async fn size(&self, topic: &str) -> Result<Option<(i32, usize)>, TopicError> {
        let (client, asked) = (Arc::clone(&self.metadata), topic.to_owned());
        let metadata = tokio::task::spawn_blocking(move || client.fetch_metadata(Some(&asked), TIMEOUT)).await;
        let metadata = metadata.map_err(|error| TopicError::Fatal(error.to_string()))??;
        let found = metadata.topics().iter().find(|found| found.name() == topic && !found.partitions().is_empty());
        Ok(found.map(|found| {
            let replicas = found.partitions().iter().map(|p| p.replicas().len()).min().unwrap_or(0);
            (i32::try_from(found.partitions().len()).unwrap_or(i32::MAX), replicas)
        }))
    }

    fn faults(&self, topic: &str, config: &ConfigResource, replicas: usize) -> Vec<String> {
        let mut demands = Demands { topic, config, faults: Vec::new() };
        let outage = self.settings.longest_outage_s.as_millis();
        demands.that("cleanup.policy", "compact", |value| value == "compact");
        for name in ["min.compaction.lag.ms", "delete.retention.ms"] {
            demands.at_least(name, outage, "--longest-outage-s");
        }
        let stamp = "LogAppendTime: the compaction lag is measured on it";
        demands.that("message.timestamp.type", stamp, |value| value == "LogAppendTime");
        demands.at_least("max.message.bytes", self.settings.event_bytes_most as u128, "--event-bytes-most");
        demands.safe(replicas, self.settings.allow_single_broker)
    }

    /// A letter has no key at times, which compaction does not take; and two letters of one key are two.
    fn faults_of_dead(&self, topic: &str, config: &ConfigResource, replicas: usize) -> Vec<String> {
        let mut demands = Demands { topic, config, faults: Vec::new() };
        demands.that("cleanup.policy", "delete", |value| value == "delete");
        let room = format!("--event-bytes-most and {} for headers", dead::ROOM);
        demands.at_least("max.message.bytes", self.letter_bytes() as u128, &room);
        demands.safe(replicas, self.settings.allow_single_broker)
    }
}

/// What is demanded of one topic, and what it lacks.
struct Demands<'a> {
    topic: &'a str,
    config: &'a ConfigResource,
    faults: Vec<String>,
}

impl Demands<'_> {
    fn value(&self, name: &str) -> String {
        self.config.get(name).and_then(|entry| entry.value.clone()).unwrap_or_default()
    }

    fn that(&mut self, name: &str, wanted: &str, holds: impl FnOnce(&str) -> bool) {
        let value = self.value(name);
        if !holds(&value) {
            self.faults.push(format!("topic {}: {name} is {value}, must be {wanted}", self.topic));
        }
    }

    fn at_least(&mut self, name: &str, least: u128, said_by: &str) {
        let wanted = format!("at least {least} ({said_by})");
        self.that(name, &wanted, |value| value.parse::<u128>().unwrap_or(0) >= least);
    }

    /// One lost disk loses nothing that was acknowledged.
    fn safe(mut self, replicas: usize, allow_single_broker: bool) -> Vec<String> {
        self.that("unclean.leader.election.enable", "false", |value| value == "false");
        if !allow_single_broker {
            let wanted = "at least 2 (or --allow-single-broker)";
            self.that("min.insync.replicas", wanted, |value| value.parse::<u32>().unwrap_or(0) >= 2);
            if replicas < 3 {
                let topic = self.topic;
                self.faults.push(format!("topic {topic}: {replicas} replicas, must be 3 (or --allow-single-broker)"));
            }
        }
        self.faults
    }
}
