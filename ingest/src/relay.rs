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
use crate::refused::{Refusal, Refused};
use crate::rounds::CLAIM;

const BATCH: usize = 500;

/// What became of records on their way to the topic.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    pub(crate) logged: Vec<Logged>,
    /// Never: larger than the topic takes.
    pub(crate) refused: Vec<Refusal>,
    /// Not now, or not by this build.
    pub(crate) failed: usize,
}

#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) cache: Cache,
    pub(crate) publisher: Publisher,
    pub(crate) kafka: Dependency,
    pub(crate) kafka_settings: KafkaSettings,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) refused: Refused,
    pub(crate) after: Duration,
    pub(crate) metrics: IngestMetrics,
}

impl Relay {
    /// Page by page, oldest first, until the shard has nothing old any more. What cannot be published stays, or becomes a dead
    /// letter, and keeps nothing behind it from the topic.
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
            let Outcomes { logged, refused, failed } = self.publish_all(page.entries).await;
            if !logged.is_empty() {
                self.cache.logged(&logged).await?;
            }
            let dead = self.refused.bury(&refused).await?;
            let counted =
                [("published", logged.len()), ("failed", failed), ("dead", dead), ("refused", refused.len() - dead)];
            for (outcome, records) in counted {
                self.metrics.relayed.with_label_values(&[outcome]).inc_by(records as u64);
            }
        }
        Ok(())
    }

    /// Publishes records as they stand in the cache; also for the sweep, which does so once more.
    pub(crate) async fn publish_all(&self, entries: Vec<PendingEntry>) -> Outcomes {
        let mut outcomes = Outcomes::default();
        for outcome in join_all(entries.into_iter().map(|entry| self.publish(entry))).await {
            match outcome {
                Ok(logged) => outcomes.logged.push(logged),
                Err(Some(refusal)) => outcomes.refused.push(refusal),
                Err(None) => outcomes.failed += 1,
            }
        }
        outcomes
    }

    async fn publish(&self, entry: PendingEntry) -> Result<Logged, Option<Refusal>> {
        let PendingEntry { entity, id, version, content, trace } = entry;
        let change = self.change(&entity, content).ok_or(None)?;
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
            // It never will be taken, whoever sends it.
            Err(why) if why.class() == FailureClass::Poison => Err(Some(Refusal { entity, event, trace, why })),
            Err(error) => {
                tracing::warn!(%error, topic, "a record could not be published and stays");
                Err(None)
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
