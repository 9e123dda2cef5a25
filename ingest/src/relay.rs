//! PROTOCOL R10: brings to the topic what a crash, an outage or a lost acknowledgement left in the outbox.
//!
//! Two at once are harmless: the event carries its version. Nothing is validated again.

use std::sync::Arc;
use std::time::Duration;

use cache::{Cache, CacheError, Content, Logged, PendingEntry, Shard};
use futures_util::future::join_all;
use record::{Catalog, Change, Event, Origin};
use service::{Dependency, FailureClass, Pulse, clock};
use tokio_util::sync::CancellationToken;
use topic::{KafkaSettings, Outgoing, Publisher};

use crate::metrics::IngestMetrics;
use crate::read;
use crate::rounds::CLAIM;

const BATCH: usize = 500;

/// Why a record of the cache was not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unpublished {
    /// Not now, or not by this build.
    Failed,
    /// Never: it is larger than the topic takes.
    Refused,
}

impl Unpublished {
    /// The label in `relayed_total`.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) cache: Cache,
    pub(crate) publisher: Publisher,
    pub(crate) kafka: Dependency,
    pub(crate) kafka_settings: KafkaSettings,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) after: Duration,
    pub(crate) metrics: IngestMetrics,
}

impl Relay {
    /// Page by page, oldest first, until the shard has nothing old any more. What cannot be published stays, and keeps
    /// nothing behind it from the topic.
    pub(crate) async fn relay(
        &self,
        shard: Shard,
        stopping: &CancellationToken,
        pulse: &Pulse,
    ) -> Result<(), CacheError> {
        let until = clock::now_micros().saturating_sub(clock::micros(self.after));
        let mut behind = 0;
        while !stopping.is_cancelled() && self.kafka.is_up() && self.cache.claim_relay(shard, CLAIM).await? {
            pulse.beat();
            let page = self.cache.pending(shard, behind, until, BATCH).await?;
            let Some(last) = page.behind else { break };
            behind = last;
            let outcomes = join_all(page.entries.into_iter().map(|entry| self.publish(entry))).await;
            for outcome in &outcomes {
                let outcome = outcome.as_ref().map_or_else(Unpublished::as_str, |_| "published");
                self.metrics.relayed.with_label_values(&[outcome]).inc();
            }
            let logged: Vec<_> = outcomes.into_iter().flatten().collect();
            if !logged.is_empty() {
                self.cache.logged(&logged).await?;
            }
        }
        Ok(())
    }

    /// Publishes a record as it stands in the cache; also for the sweep, which does so once more.
    pub(crate) async fn publish(&self, entry: PendingEntry) -> Result<Logged, Unpublished> {
        let PendingEntry { entity, id, version, content, trace } = entry;
        let change = self.change(&entity, content).ok_or(Unpublished::Failed)?;
        let event = Event { id, version, origin: Origin::Relay, change };
        let topic = self.kafka_settings.topic(&entity);
        match self.publisher.publish(Outgoing { topic: &topic, event: &event, trace: trace.as_deref() }).await {
            Ok(published) => Ok(Logged {
                entity,
                id: event.id,
                version,
                partition: published.partition,
                offset: published.offset,
                at: clock::now_micros(),
                key: None,
            }),
            // It never will be taken, whoever sends it. It stays until it can be moved to the dead letters.
            Err(error) if error.class() == FailureClass::Poison => {
                let id = event.id.as_str();
                tracing::error!(%error, topic, id, %version, "Kafka refuses a record for good, and it stays in the cache");
                Err(Unpublished::Refused)
            }
            Err(error) => {
                tracing::warn!(%error, topic, "a record could not be published and stays");
                Err(Unpublished::Failed)
            }
        }
    }

    /// `None`: an entity or a content that this build does not understand; it stays for one that does.
    fn change(&self, entity: &str, content: Content) -> Option<Change<'static>> {
        if content == Content::Tombstone {
            return Some(Change::Tombstone);
        }
        let Some(entity) = self.catalog.get(entity) else {
            tracing::error!(entity, "an outbox entry of an entity without a schema stays");
            return None;
        };
        read::change(entity, content)
    }
}
