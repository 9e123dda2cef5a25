//! PROTOCOL R10, its end: what Kafka never takes becomes a dead letter with all that it holds, and only then leaves the cache.
//!
//! A topic that takes less than it must is a person's to mend (R17): its records stay, and go on when it is. So they do where
//! the topic of the dead letters takes a letter no more: without its content it would leave that nowhere.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use cache::{Cache, CacheError, Dead};
use record::{Event, Reason};
use service::{FailureClass, clock};
use tokio::sync::OnceCell;
use topic::setup::Topics;
use topic::{KafkaSettings, Outgoing, Publisher, TopicError};

use crate::metrics::IngestMetrics;

/// Bytes of a message that librdkafka lets pass at most: how large a letter may be is the topic's to say.
const MOST: usize = 1_000_000_000;

/// An event that Kafka does not take, and why.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) entity: String,
    pub(crate) event: Event<'static>,
    pub(crate) trace: Option<String>,
    pub(crate) why: TopicError,
}

#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) cache: Cache,
    pub(crate) kafka_settings: KafkaSettings,
    pub(crate) metrics: IngestMetrics,
    /// Made when something is refused for the first time, which hardly ever happens.
    clients: OnceCell<(Topics, Publisher)>,
}

impl Refused {
    pub(crate) fn new(cache: Cache, kafka_settings: KafkaSettings, metrics: IngestMetrics) -> Self {
        Self { cache, kafka_settings, metrics, clients: OnceCell::new() }
    }

    /// Makes dead letters of these, one by one, and returns of how many. The others stay where they are.
    pub(crate) async fn bury(&self, refused: &[Refusal]) -> Result<usize, CacheError> {
        let (mut fit, mut dead) = (BTreeMap::new(), Vec::new());
        for refusal in refused {
            let topic = self.kafka_settings.topic(&refusal.entity);
            if let Entry::Vacant(unknown) = fit.entry(topic.clone()) {
                unknown.insert(self.is_fit(&topic).await);
            }
            if fit.get(&topic) != Some(&true) {
                continue;
            }
            let Refusal { entity, event, why, .. } = refusal;
            let id = event.id.as_str();
            match self.letter(&topic, refusal).await {
                Ok(()) => {
                    tracing::error!(%why, topic, id, version = %event.version, "Kafka refuses a record for good: it is a dead letter");
                    self.metrics.dead_letters.with_label_values(&[entity, Reason::TooLarge.as_str()]).inc();
                    let (entity, id, version) = (entity.clone(), event.id.clone(), event.version);
                    dead.push(Dead { entity, id, version, in_vain: false });
                }
                Err(error) if error.class() == FailureClass::Poison => {
                    tracing::error!(%error, topic, id, version = %event.version, "not even the dead letters take a record: it stays in the cache");
                }
                Err(error) => {
                    tracing::warn!(%error, topic, "a dead letter could not be published, and its record stays");
                    break;
                }
            }
        }
        if !dead.is_empty() {
            self.cache.dead(&dead).await?;
        }
        Ok(dead.len())
    }

    /// Does the topic take what it must? Else it is at fault, and not the record.
    async fn is_fit(&self, topic: &str) -> bool {
        let found = match self.clients().await {
            Ok((topics, _)) => topics.inspect(topic).await,
            Err(error) => Err(error),
        };
        match found {
            Ok(Some(found)) if found.faults.is_empty() => true,
            Ok(Some(found)) => {
                let faults = found.faults.join("; ");
                tracing::error!(
                    faults,
                    "Kafka refuses records, which stay in the cache until that is mended: {faults}"
                );
                false
            }
            Ok(None) => false,
            Err(error) => {
                tracing::warn!(%error, topic, "why Kafka refuses records cannot be told, and they stay");
                false
            }
        }
    }

    async fn letter(&self, topic: &str, refusal: &Refusal) -> Result<(), TopicError> {
        let Refusal { event, trace, why, .. } = refusal;
        let (_, publisher) = self.clients().await?;
        let outgoing = Outgoing { topic, event, trace: trace.as_deref() };
        let buried = publisher.bury_refused(outgoing, Reason::TooLarge, &why.to_string(), clock::now_micros()).await;
        if let Err(TopicError::Fatal(_)) = &buried {
            let failed = publisher.clone();
            let replaced = tokio::task::spawn_blocking(move || failed.replace_failed()).await;
            replaced.map_err(|error| TopicError::Fatal(error.to_string()))??;
        }
        buried.map(drop)
    }

    async fn clients(&self) -> Result<&(Topics, Publisher), TopicError> {
        let settings = &self.kafka_settings;
        let room = MOST.saturating_sub(settings.event_bytes_most);
        let made =
            async { Topics::new(settings).and_then(|topics| Ok((topics, Publisher::with_room(settings, room)?))) };
        self.clients.get_or_try_init(|| made).await
    }
}
