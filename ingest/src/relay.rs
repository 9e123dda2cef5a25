//! PROTOCOL R10: brings to the topic what a crash, an outage or a lost acknowledgement left in the outbox.
//!
//! Every instance runs one; an advisory claim keeps two from the same shard at most times, and two at once are harmless:
//! the event carries its version. Nothing is validated again.

use std::sync::Arc;
use std::time::Duration;

use cache::{Cache, CacheError, Content, Logged, PendingEntry, Shard};
use futures_util::future::join_all;
use rand::seq::SliceRandom;
use record::{Catalog, Change, Event, Origin};
use service::{Dependency, clock};
use tokio_util::sync::CancellationToken;
use topic::{KafkaSettings, Outgoing, Publisher};

use crate::metrics::IngestMetrics;

const EVERY: Duration = Duration::from_secs(2);
/// Shorter than `EVERY`, so that a claim never keeps its own instance away.
const CLAIM: Duration = Duration::from_millis(1500);
const BATCH: usize = 500;

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
    pub(crate) async fn run(self, stopping: CancellationToken) {
        let mut shards: Vec<_> = Shard::all().collect();
        while !stopping.is_cancelled() {
            if self.kafka.is_up() {
                shards.shuffle(&mut rand::rng());
                for shard in &shards {
                    if let Err(error) = self.relay(*shard, &stopping).await {
                        tracing::debug!(%error, shard = shard.number(), "relay");
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = stopping.cancelled() => {}
            }
        }
    }

    /// Page by page, oldest first, until the shard has nothing old any more. What cannot be published stays, and keeps
    /// nothing behind it from the topic.
    async fn relay(&self, shard: Shard, stopping: &CancellationToken) -> Result<(), CacheError> {
        let until = clock::now_micros().saturating_sub(clock::micros(self.after));
        let mut behind = 0;
        while !stopping.is_cancelled() && self.kafka.is_up() && self.cache.claim_relay(shard, CLAIM).await? {
            let page = self.cache.pending(shard, behind, until, BATCH).await?;
            let Some(last) = page.behind else { break };
            behind = last;
            let all = page.entries.len();
            let logged: Vec<_> = join_all(page.entries.into_iter().map(|entry| self.publish(entry))).await;
            let logged: Vec<_> = logged.into_iter().flatten().collect();
            self.metrics.relayed.with_label_values(&["published"]).inc_by(logged.len() as u64);
            self.metrics.relayed.with_label_values(&["failed"]).inc_by((all - logged.len()) as u64);
            if !logged.is_empty() {
                self.cache.logged(&logged).await?;
            }
        }
        Ok(())
    }

    async fn publish(&self, entry: PendingEntry) -> Option<Logged> {
        let PendingEntry { entity, id, version, content, trace } = entry;
        let change = self.change(&entity, content)?;
        let event = Event { id, version, origin: Origin::Relay, change };
        let topic = self.kafka_settings.topic(&entity);
        match self.publisher.publish(Outgoing { topic: &topic, event: &event, trace: trace.as_deref() }).await {
            Ok(published) => Some(Logged {
                entity,
                id: event.id,
                version,
                partition: published.partition,
                offset: published.offset,
                at: clock::now_micros(),
            }),
            Err(error) => {
                tracing::warn!(%error, topic, "an outbox entry could not be published and stays");
                None
            }
        }
    }

    /// `None`: an entity or a content that this build does not understand; it stays for one that does.
    fn change(&self, entity: &str, content: Content) -> Option<Change<'static>> {
        let Content::Json { text, schema } = content else { return Some(Change::Tombstone) };
        let Some(entity) = self.catalog.get(entity) else {
            tracing::error!(entity, "an outbox entry of an entity without a schema stays");
            return None;
        };
        if !entity.knows(schema) {
            // Read in an older shape it would lose the fields that are new, under its own version.
            tracing::warn!(%schema, entity = entity.name(), "an outbox entry of a newer ingest stays for one");
            return None;
        }
        match entity.parse_stored(schema, &text) {
            Ok(record) => Some(entity.change(Some(&record))),
            Err(fault) => {
                tracing::error!(%fault, entity = entity.name(), "an outbox entry does not fit its schema and stays");
                None
            }
        }
    }
}
