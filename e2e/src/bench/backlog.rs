//! Events in the topic that nobody has consumed yet, and of which the cache knows nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use record::{Change, Entity, Event, Origin, RecordId, Version};
use service::{clock, schemas};
use topic::{Outgoing, Publisher, TopicError};

use super::stand;
use crate::System;

/// Versions are this many microseconds apart.
const STEP: u64 = 16;

/// What was produced.
#[derive(Debug)]
pub struct Backlog {
    /// Whose.
    pub entity: Arc<Entity>,
    /// Events, each of another record.
    pub events: u64,
    /// The id of each partition's last event: when these are in the table, all are, since a partition is kept in order.
    pub last: Vec<String>,
}

/// The last acknowledged offset of each partition, and whose it is.
type Ends = Arc<Mutex<HashMap<i32, (i64, String)>>>;

/// Produces `events` users with random ids, as ingest would have, and waits for every acknowledgement. Blocks.
///
/// # Errors
/// An event was not acknowledged.
pub fn produce(system: &System, events: u64) -> Result<Backlog> {
    let settings = stand::kafka_settings(system);
    let catalog = schemas::load(&system.schemas)?;
    let entity = Arc::clone(catalog.get("users").context("no entity users")?);
    let publisher = Publisher::new(&settings)?;
    let topic = settings.topic(entity.name());
    let (ends, acknowledged) = (Ends::default(), Arc::new(AtomicU64::new(0)));
    let oldest = clock::now_micros() - events * STEP;
    for number in 0..events {
        let event = event(&entity, oldest + number * STEP)?;
        let (ends, acknowledged, id) = (Arc::clone(&ends), Arc::clone(&acknowledged), event.id.to_string());
        send(&publisher, &topic, &event, move |partition, offset| {
            acknowledged.fetch_add(1, Ordering::Relaxed);
            let mut ends = ends.lock().unwrap_or_else(PoisonError::into_inner);
            let end = ends.entry(partition).or_default();
            if end.1.is_empty() || end.0 < offset {
                *end = (offset, id.clone());
            }
        })?;
    }
    publisher.flush(Duration::from_secs(60))?;
    ensure!(acknowledged.load(Ordering::Relaxed) == events, "not every event of the backlog was acknowledged");
    let last = ends.lock().unwrap_or_else(PoisonError::into_inner).values().map(|(_, id)| id.clone()).collect();
    Ok(Backlog { entity, events, last })
}

fn event(entity: &Entity, micros: u64) -> Result<Event<'static>> {
    let id = format!("{:032x}", rand::random::<u128>());
    let body = format!(
        r#"{{"name":"user {id}","age":{},"occupation":"builder of bridges and harbours","first_name":"Maximiliane","last_name":"Hohenstein-Lindenberg"}}"#,
        10 + micros / STEP % 90
    );
    let input = entity.parse_json(body.as_bytes()).map_err(|faults| anyhow!("{faults:?}"))?;
    let mut datum = Vec::new();
    entity.write_avro(&input.record, &mut datum);
    let change = Change::Upsert { schema: entity.newest_id(), datum: datum.into() };
    let version = Version::new(micros / STEP * STEP)?;
    Ok(Event { id: RecordId::parse(&id)?, version, origin: Origin::Write, change })
}

/// Hands an event to the producer; waits where it is full.
fn send(
    publisher: &Publisher,
    topic: &str,
    event: &Event<'_>,
    acknowledged: impl Fn(i32, i64) + Clone + Send + Sync + 'static,
) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let acknowledged = acknowledged.clone();
        let sent = publisher.send(Outgoing { topic, event, trace: None }, move |delivered| {
            if let Ok(published) = delivered {
                acknowledged(published.partition, published.offset);
            }
        });
        match sent {
            Err(TopicError::QueueFull) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
            sent => return Ok(sent?),
        }
    }
}
