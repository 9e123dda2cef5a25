//! Creating topics as they must be, and refusing topics that are not (PROTOCOL R17): nothing may disappear from a topic
//! before the slowest consumer has it.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;

use crate::client::{self, Quiet, Reporting};
use crate::{KafkaSettings, TopicError};

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
        let bytes = self.settings.event_bytes_most.to_string();
        let in_sync = if replicas >= 3 { "2" } else { "1" };
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(replicas))
            .set("cleanup.policy", "compact")
            .set("min.compaction.lag.ms", &outage)
            .set("delete.retention.ms", &outage)
            .set("message.timestamp.type", "LogAppendTime")
            .set("unclean.leader.election.enable", "false")
            .set("min.insync.replicas", in_sync)
            .set("max.message.bytes", &bytes);
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
        let Some((partitions, replicas)) = self.size(topic).await? else { return Ok(None) };
        let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
        let mut described = self.admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &options).await?;
        match described.pop() {
            Some(Ok(config)) => Ok(Some(Found { partitions, faults: self.faults(topic, &config, replicas) })),
            Some(Err(code)) => Err(TopicError::Refused(rdkafka::error::KafkaError::AdminOp(code))),
            None => Ok(None),
        }
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
        let value = |name: &str| config.get(name).and_then(|entry| entry.value.clone()).unwrap_or_default();
        let number = |name: &str| value(name).parse::<u128>().unwrap_or(0);
        let outage = self.settings.longest_outage_s.as_millis();
        let mut faults = Vec::new();
        let mut demand = |holds: bool, name: &str, wanted: &str| {
            if !holds {
                faults.push(format!("topic {topic}: {name} is {}, must be {wanted}", value(name)));
            }
        };
        demand(value("cleanup.policy") == "compact", "cleanup.policy", "compact");
        for name in ["min.compaction.lag.ms", "delete.retention.ms"] {
            demand(number(name) >= outage, name, &format!("at least {outage} (--longest-outage-s)"));
        }
        let stamp = "message.timestamp.type";
        demand(value(stamp) == "LogAppendTime", stamp, "LogAppendTime: the compaction lag is measured on it");
        let unclean = "unclean.leader.election.enable";
        demand(value(unclean) == "false", unclean, "false");
        let bytes = self.settings.event_bytes_most;
        let most = "max.message.bytes";
        demand(number(most) >= bytes as u128, most, &format!("at least {bytes} (--event-bytes-most)"));
        if !self.settings.allow_single_broker {
            let in_sync = "min.insync.replicas";
            demand(number(in_sync) >= 2, in_sync, "at least 2 (or --allow-single-broker)");
            if replicas < 3 {
                faults.push(format!("topic {topic}: {replicas} replicas, must be 3 (or --allow-single-broker)"));
            }
        }
        faults
    }
}
