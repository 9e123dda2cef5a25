//! Publishing means the broker's acknowledgement: `acks=all`, idempotent, and a [`Published`] exists only after it.
//!
//! The acknowledgement is handed to a callback on the producer's own thread rather than to a future, so that it is
//! recorded even when whoever waited for it has given up (PROTOCOL R6: a late landing is harmless, but must be known).

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use prometheus::IntCounter;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders, ToBytes};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use record::Event;
use service::metrics::prefixed;
use service::{Metrics, fail_points};
use tokio::sync::{Notify, oneshot};

use crate::client::{self, Reporting};
use crate::{KafkaSettings, TopicError};

/// An event that the brokers have acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Where it stands in the topic.
    pub partition: i32,
    /// Where it stands in the partition.
    pub offset: i64,
}

/// An event on its way out.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The event.
    pub event: &'a Event<'a>,
    /// The `traceparent` of the request behind it.
    pub trace: Option<&'a str>,
}

/// What happens on the producer's thread when an event was acknowledged, or will not be.
pub(crate) struct OnDelivery(Box<dyn FnOnce(Result<Published, TopicError>) + Send + Sync>);

impl OnDelivery {
    pub(crate) fn new(happens: impl FnOnce(Result<Published, TopicError>) + Send + Sync + 'static) -> Box<Self> {
        Box::new(Self(Box::new(happens)))
    }
}

/// Bytes of keys and values that the producer holds.
#[derive(Default)]
struct Deliveries(AtomicUsize);

impl ProducerContext for Reporting<Deliveries> {
    type DeliveryOpaque = Box<OnDelivery>;

    fn delivery(&self, delivered: &DeliveryResult<'_>, on_delivery: Box<OnDelivery>) {
        let (Ok(message) | Err((_, message))) = delivered;
        self.0.0.fetch_sub(message.key_len() + message.payload_len(), Ordering::Relaxed);
        on_delivery.0(match delivered {
            Ok(message) => Ok(Published { partition: message.partition(), offset: message.offset() }),
            Err((error, _)) => Err(error.clone().into()),
        });
    }
}

type Native = ThreadedProducer<Reporting<Deliveries>>;

/// The one producer of a process, which is made anew when it has failed for good. Cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    inner: Arc<Inner>,
}

struct Inner {
    config: ClientConfig,
    producer: RwLock<Native>,
    /// Topics that must not be published to yet.
    unchecked: RwLock<HashSet<String>>,
    /// Somebody was told that the producer has failed for good.
    failed: Notify,
    replaced: IntCounter,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

impl Publisher {
    /// Makes the producer; it connects by itself.
    ///
    /// # Errors
    /// A setting that librdkafka does not take.
    pub fn new(settings: &KafkaSettings) -> Result<Self, TopicError> {
        Self::with_room(settings, 0)
    }

    /// The same for whoever publishes more than events: `room` more bytes in one message.
    ///
    /// # Errors
    /// A setting that librdkafka does not take.
    pub fn with_room(settings: &KafkaSettings, room: usize) -> Result<Self, TopicError> {
        let mut config = config(settings);
        if room > 0 {
            config.set("message.max.bytes", settings.event_bytes_most.saturating_add(room).to_string());
        }
        let producer = RwLock::new(made(&config)?);
        let help = "Producers that failed for good, or found no broker where a new one does, and were replaced; their events \
                    in flight stay in the outbox";
        let replaced = IntCounter::with_opts(prefixed("producers_replaced_total", help));
        let replaced = replaced.map_err(|error| TopicError::Fatal(error.to_string()))?;
        let inner = Inner { config, producer, unchecked: RwLock::default(), failed: Notify::new(), replaced };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// To be registered: how many producers this one has used up.
    #[must_use]
    pub fn replaced(&self) -> IntCounter {
        self.inner.replaced.clone()
    }

    fn producer(&self) -> RwLockReadGuard<'_, Native> {
        self.inner.producer.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until [`Publisher::checked`] nothing is published to these topics.
    pub(crate) fn unchecked(&self, topics: &[String]) {
        self.inner.unchecked.write().unwrap_or_else(PoisonError::into_inner).extend(topics.iter().cloned());
    }

    /// This topic is as it must be (R17).
    pub(crate) fn checked(&self, topic: &str) {
        self.inner.unchecked.write().unwrap_or_else(PoisonError::into_inner).remove(topic);
    }

    fn is_unchecked(&self, topic: &str) -> bool {
        self.inner.unchecked.read().unwrap_or_else(PoisonError::into_inner).contains(topic)
    }

    /// Puts a new producer in the place of one that has failed for good, and says why it had. What the old one still held is
    /// told to its owners as unacknowledged. Blocks for up to a second: not for an async worker.
    ///
    /// # Errors
    /// No new one can be made; the old one stays.
    pub fn replace_failed(&self) -> Result<Option<String>, TopicError> {
        let Some((code, reason)) = self.producer().client().fatal_error() else { return Ok(None) };
        self.replace(made(&self.inner.config)?);
        Ok(Some(format!("{code}: {reason}")))
    }

    /// Puts a new producer in the place of one that finds no broker, where the new one does, and says whether. Blocks for up to
    /// `timeout` and a second: not for an async worker.
    ///
    /// # Errors
    /// No new one can be made; the old one stays.
    pub fn replace_lost(&self, timeout: Duration) -> Result<bool, TopicError> {
        let fresh = made(&self.inner.config)?;
        let found = fresh.client().fetch_metadata(None, timeout).is_ok();
        if found {
            self.replace(fresh);
        }
        Ok(found)
    }

    fn replace(&self, with: Native) {
        let old = {
            let mut producer = self.inner.producer.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *producer, with)
        };
        self.inner.replaced.inc();
        // Its callbacks run now, and may publish.
        drop(old);
    }

    /// Returns when somebody was told that the producer has failed for good.
    pub(crate) async fn failed(&self) {
        self.inner.failed.notified().await;
    }

    /// Hands an event to the producer; `on_delivery` runs exactly once if this returns `Ok`, and never else.
    ///
    /// # Errors
    /// [`TopicError::QueueFull`] at once, never a wait; [`TopicError::Unchecked`]; or the event is refused locally.
    pub fn send(
        &self,
        outgoing: Outgoing<'_>,
        on_delivery: impl FnOnce(Result<Published, TopicError>) + Send + Sync + 'static,
    ) -> Result<(), TopicError> {
        let Outgoing { topic, event, trace } = outgoing;
        if self.is_unchecked(topic) {
            return Err(TopicError::Unchecked);
        }
        let value = event.change.to_value();
        let version = event.version.to_string();
        let mut record = BaseRecord::<str, _, _>::with_opaque_to(topic, OnDelivery::new(on_delivery))
            .key(event.id.as_str())
            .headers(headers(event, &version, trace));
        if let Some(value) = &value {
            record = record.payload(value);
        }
        self.hand_in(record)
    }

    pub(crate) fn hand_in<K: ToBytes + ?Sized, V: ToBytes + ?Sized>(
        &self,
        record: BaseRecord<'_, K, V, Box<OnDelivery>>,
    ) -> Result<(), TopicError> {
        let key = record.key.map_or(0, |key| key.to_bytes().len());
        let bytes = key + record.payload.map_or(0, |value| value.to_bytes().len());
        // Not through a clone: whoever drops the last one waits for the producer's thread.
        let producer = self.producer();
        let held = &producer.context().0.0;
        held.fetch_add(bytes, Ordering::Relaxed);
        let sent = producer.send(record).map_err(|(error, _)| TopicError::from(error));
        if sent.is_err() {
            held.fetch_sub(bytes, Ordering::Relaxed);
        }
        if let Err(TopicError::Fatal(_)) = &sent {
            self.inner.failed.notify_one();
        }
        sent
    }

    /// Publishes an event and waits for its acknowledgement, no longer than --produce-deadline-ms and the second or two in which
    /// librdkafka notices that it is over: whatever becomes of brokers, topic or producer, it tells of every event.
    ///
    /// # Errors
    /// [`TopicError`]; after [`TopicError::Unacknowledged`] the event may be in the topic.
    ///
    /// # Cancellation
    /// The event is published all the same.
    pub async fn publish(&self, outgoing: Outgoing<'_>) -> Result<Published, TopicError> {
        let (acknowledge, acknowledged) = oneshot::channel();
        self.send(outgoing, move |delivered| drop(acknowledge.send(delivered)))?;
        acknowledged.await.unwrap_or(Err(TopicError::Unacknowledged))
    }

    /// Asks the brokers for their metadata. Blocks for at most `timeout`: not for an async worker.
    ///
    /// # Errors
    /// No broker answers in time, or none lets us in.
    pub fn reach(&self, timeout: Duration) -> Result<(), TopicError> {
        if fail_points::told(fail_points::PRODUCER_LOST) {
            return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::BrokerTransportFailure).into());
        }
        let producer = self.producer().clone();
        producer.client().fetch_metadata(None, timeout)?;
        Ok(())
    }

    /// Events handed in that are neither acknowledged nor given up yet.
    #[must_use]
    pub fn in_flight(&self) -> i32 {
        self.producer().in_flight_count()
    }

    /// Bytes of keys and values of those events.
    #[must_use]
    pub fn bytes_in_flight(&self) -> usize {
        self.producer().context().0.0.load(Ordering::Relaxed)
    }

    /// Shows both.
    pub fn show(&self, metrics: &Metrics) {
        let (events, bytes) = (self.clone(), self.clone());
        metrics.asked(
            "producer_events",
            "Events that the producer holds, since no broker has acknowledged them; at most --producer-events-most",
            move || usize::try_from(events.in_flight()).unwrap_or(0),
        );
        metrics.asked(
            "producer_bytes",
            "Bytes of keys and values of these events; at most --producer-bytes-most",
            move || bytes.bytes_in_flight(),
        );
    }

    /// Waits until everything handed in is acknowledged or has failed, at most `timeout`. Blocks.
    ///
    /// # Errors
    /// Something is still on its way.
    pub fn flush(&self, timeout: Duration) -> Result<(), TopicError> {
        let producer = self.producer().clone();
        producer.flush(timeout).map_err(Into::into)
    }
}

fn made(config: &ClientConfig) -> Result<Native, TopicError> {
    Ok(Native::from_config_and_context(config, Reporting(Deliveries::default()))?)
}

pub(crate) fn headers(event: &Event<'_>, version: &str, trace: Option<&str>) -> OwnedHeaders {
    let headers = OwnedHeaders::new_with_capacity(5)
        .insert(Header { key: "version", value: Some(version) })
        .insert(Header { key: "op", value: Some(event.change.op()) })
        .insert(Header { key: "origin", value: Some(event.origin.as_str()) })
        .insert(Header { key: "content-type", value: Some("application/vnd.confluent.avro") });
    match trace {
        Some(trace) => headers.insert(Header { key: "traceparent", value: Some(trace) }),
        None => headers,
    }
}

/// `linger.ms=0`: an awaited acknowledgement under load batches by itself, and at rest must not wait. Java's partitioner,
/// or a writer in Java would put a key elsewhere.
pub(crate) fn config(settings: &KafkaSettings) -> ClientConfig {
    let own = [
        ("acks", "all".to_owned()),
        ("enable.idempotence", "true".to_owned()),
        ("linger.ms", "0".to_owned()),
        ("compression.type", "lz4".to_owned()),
        ("partitioner", "murmur2_random".to_owned()),
        ("queue.buffering.max.messages", settings.producer_events_most.to_string()),
        ("queue.buffering.max.kbytes", settings.producer_bytes_most.div_ceil(1024).to_string()),
        ("message.timeout.ms", settings.produce_deadline_ms.as_millis().to_string()),
        ("message.max.bytes", settings.event_bytes_most.to_string()),
    ];
    client::config(settings, "publisher", own)
}
