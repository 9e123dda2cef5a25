//! R6: an event on its way to the topic, and what becomes of its acknowledgement.

use std::sync::Arc;

use cache::{Idempotency, Logged, State};
use record::{Entity, Event, Origin, Version};
use service::{clock, fail_points, reply};
use tokio::time::{Instant, timeout_at};
use topic::{Outgoing, Published, TopicError};

use crate::intent::Intent;
use crate::write::WritePath;

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Acknowledged,
    /// It may be in the topic, or get there.
    Unacknowledged,
    Unsent,
}

impl WritePath {
    /// R6: a late acknowledgement is taken in all the same. `stored`: the record is in the cache, which wants to know.
    pub(crate) async fn publish(&self, intent: Intent, version: Version, deadline: Instant, stored: bool) -> Fate {
        fail_points::reached(fail_points::WRITE_STORED);
        // A handler past its deadline produces no more: the relay does.
        if !self.kafka.is_up() || Instant::now() >= deadline {
            return Fate::Unsent;
        }
        let entity = Arc::clone(intent.entity());
        let topic = self.kafka_settings.topic(entity.name());
        let (acknowledge, acknowledged) = reply::channel();
        let Intent { id, wish, trace, idempotency, prefers, .. } = intent;
        let event = Event { id, version, origin: Origin::Write, change: wish.change };
        let tell = stored.then(|| self.tell_cache(&entity, &event, idempotency));
        let outgoing = Outgoing { topic: &topic, event: &event, trace: trace.as_deref() };
        let (begun, seconds) = (Instant::now(), self.metrics.acknowledge.clone());
        let sent = self.publisher.send(outgoing, move |delivered| {
            if let Ok(published) = &delivered {
                seconds.observe(begun.elapsed().as_secs_f64());
                if let Some(tell) = tell {
                    tell(*published);
                }
            }
            acknowledge.send(delivered);
        });
        match sent {
            Ok(()) if stored && prefers == Some(State::Cached) => Fate::Unacknowledged,
            Ok(()) => match timeout_at(deadline, acknowledged).await {
                Ok(Ok(Ok(_))) => Fate::Acknowledged,
                _ => Fate::Unacknowledged,
            },
            Err(TopicError::QueueFull | TopicError::Unchecked | TopicError::Fatal(_)) => Fate::Unsent,
            Err(error) => {
                tracing::error!(%error, topic, "an event was refused");
                Fate::Unsent
            }
        }
    }

    /// The cache learns of the acknowledgement off the answer's path, also when nobody waits for it any more. Where it
    /// does not, the relay sends a harmless duplicate.
    fn tell_cache(
        &self,
        entity: &Entity,
        event: &Event<'_>,
        idempotency: Option<Idempotency>,
    ) -> impl FnOnce(Published) + Send + Sync + use<> {
        let (queue, dropped) = (self.acknowledged.clone(), self.metrics.acknowledgements_dropped.clone());
        let (entity, id, version) = (entity.name().to_owned(), event.id.clone(), event.version);
        let key = idempotency.map(|idempotency| idempotency.key);
        move |Published { partition, offset }| {
            let logged = Logged { entity, id, version, partition, offset, at: clock::now_micros(), key };
            if queue.try_send(logged).is_err() {
                dropped.inc();
            }
        }
    }
}
