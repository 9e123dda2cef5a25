//! What ingest is made of, put together once, with the tasks that keep it going.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::Context;
use cache::{Cache, Connector, Logged, WriteQueue, Writer};
use record::Catalog;
use service::{Dependency, Health, Metrics, Supervisor, clock};
use table::{Database, EntityTable};
use tokio::sync::mpsc;
use topic::{LagMetrics, Publisher};

use crate::acknowledge;
use crate::away::Away;
use crate::clock::ClockWatch;
use crate::doubt::Doubts;
use crate::http::{Bulks, Described, Front, Room};
use crate::lag::{Observer, OutboxOldest};
use crate::metrics::IngestMetrics;
use crate::refused::Refused;
use crate::relay::Relay;
use crate::rounds::Rounds;
use crate::settings::{CacheAway, Settings};
use crate::slot::InstanceSlot;
use crate::sweep::Sweep;
use crate::turns::Turns;
use crate::write::WritePath;

/// Puts the parts together and starts their tasks. `identity` is a name that no other process has at the same time.
pub(crate) fn start(
    settings: &Settings,
    identity: String,
    catalog: &Arc<Catalog>,
    metrics: &Metrics,
    health: &Arc<Health>,
    supervisor: &Supervisor,
) -> anyhow::Result<Front> {
    let up = |name: &str| health.dependency(name).with_context(|| format!("{name} is no dependency"));
    let (redis, kafka, mysql) = (up("redis")?, up("kafka")?, up("mysql")?);
    let counted = IngestMetrics::new(metrics, catalog);
    let topics: Vec<_> = catalog.iter().map(|entity| settings.kafka.topic(entity.name())).collect();

    let clock = Arc::new(ClockWatch::new(settings.redis.clock_skew_ms));
    let connector = Connector::new(&settings.redis, watched(&clock))?;
    let cache = Cache::new(connector.clone(), settings.redis.clone(), &uuid::Uuid::now_v7().to_string());
    let (queue, writer) = WriteQueue::new(cache.clone(), settings.writes_waiting_most());
    let (acknowledged, acknowledgements) = mpsc::channel(settings.acknowledgements_most);
    let publisher = Publisher::new(&settings.kafka)?;
    metrics.collector(publisher.replaced());
    let database = Database::new(&settings.database)?;

    connector.supervise(redis, supervisor);
    topic::watch::supervise(settings.kafka.clone(), topics.clone(), publisher.clone(), kafka.clone(), supervisor);
    database.clone().supervise(mysql.clone(), supervisor);
    supervise_writer(writer.with_pulse(supervisor.pulse("write")), supervisor);
    acknowledge::supervise(cache.clone(), acknowledgements, counted.clone(), supervisor);
    let lag = supervise_lag(settings, topics, &cache, (metrics, &counted), supervisor);
    let tables = tables(catalog, &database);
    let relay = Relay {
        cache: cache.clone(),
        publisher: publisher.clone(),
        kafka: kafka.clone(),
        kafka_settings: settings.kafka.clone(),
        catalog: Arc::clone(catalog),
        refused: Refused::new(cache.clone(), settings.kafka.clone(), counted.clone()),
        after: settings.relay_after_ms,
        metrics: counted.clone(),
    };
    supervise_rounds(settings, relay, &tables, (&mysql, &database), &lag, supervisor);
    let bodies = Room::new(settings.bodies_bytes_most);
    show_depths(metrics, (&queue, &acknowledged, &bodies), &publisher, &database);

    let away = Away {
        accepts: settings.cache_away == CacheAway::Accept,
        clock: Arc::clone(&clock),
        slot: supervise_slot(settings, identity, &cache, &counted, supervisor),
        cache: cache.clone(),
        kafka: kafka.clone(),
        mysql,
        database: database.clone(),
        disagree: settings.redis.clock_skew_ms,
    };
    let writes = WritePath {
        clock,
        cache: cache.clone(),
        queue,
        away,
        publisher,
        kafka,
        kafka_settings: settings.kafka.clone(),
        acknowledged,
        answer_deadline: settings.answer_deadline_ms,
        redis_timeout: settings.redis.redis_timeout_ms,
        metrics: counted,
    };
    Ok(Front {
        entities: tables,
        writes,
        cache,
        lag,
        turns: Turns::new(),
        grace: settings.incomplete_grace_ms,
        body_bytes_most: settings.body_bytes_most,
        bodies,
        bulks: Bulks::new(settings.bulk.clone(), Arc::clone(health), supervisor.clone(), metrics),
        body_deadline: settings.body_deadline_ms,
        wait_most: settings.wait_most_s,
        event_bytes_most: settings.kafka.event_bytes_most,
        described: Described::new(catalog, settings),
    })
}

/// By entity.
fn tables(catalog: &Catalog, database: &Database) -> BTreeMap<String, EntityTable> {
    let table = |entity: &Arc<record::Entity>| EntityTable::new(database.clone(), Arc::clone(entity));
    catalog.iter().map(|entity| (entity.name().to_owned(), table(entity))).collect()
}

/// R10, R11, R16: what repairs.
fn supervise_rounds(
    settings: &Settings,
    relay: Relay,
    tables: &BTreeMap<String, EntityTable>,
    (mysql, database): (&Dependency, &Database),
    lag: &LagMetrics,
    supervisor: &Supervisor,
) {
    let (cache, metrics, catalog) = (relay.cache.clone(), relay.metrics.clone(), Arc::clone(&relay.catalog));
    let relay = Arc::new(relay);
    let sweep = Sweep {
        cache: cache.clone(),
        relay: Arc::clone(&relay),
        tables: tables.clone(),
        kafka_settings: settings.kafka.clone(),
        lag: lag.clone(),
        mysql: mysql.clone(),
        after: settings.sweep_after_ms,
        metrics: metrics.clone(),
        seen: HashMap::new(),
    };
    let doubts = Doubts {
        cache,
        lag: lag.clone(),
        catalog,
        database: database.clone(),
        grace: settings.incomplete_grace_ms,
        metrics,
        watched: HashMap::new(),
    };
    let rounds = Rounds { relay, sweep, doubts };
    supervisor.spawn("rounds", rounds.run(supervisor.stopping(), supervisor.pulse("rounds")));
}

/// Every reading of Redis' clock is handed to the watch.
fn watched(clock: &Arc<ClockWatch>) -> cache::connect::Observer {
    let clock = Arc::clone(clock);
    Arc::new(move |reading| {
        // What this thread was kept waiting since the answer came must not pass for a clock that is behind.
        let since = clock::now_micros().saturating_sub(reading.received);
        clock.observe(reading, clock::monotonic_micros().saturating_sub(since));
    })
}

/// How far everything is behind, seen from here.
fn supervise_lag(
    settings: &Settings,
    topics: Vec<String>,
    cache: &Cache,
    (metrics, counted): (&Metrics, &IngestMetrics),
    supervisor: &Supervisor,
) -> LagMetrics {
    let lag = LagMetrics::new(&settings.kafka, clock::now_micros);
    metrics.collector(lag.clone());
    let oldest = OutboxOldest::new();
    metrics.collector(oldest.clone());
    let observer = Observer {
        cache: cache.clone(),
        metrics: counted.clone(),
        lag: lag.clone(),
        most: (settings.redis.outbox_most, settings.redis.unsettled_most),
    };
    supervisor.spawn("depths", observer.observe(oldest, supervisor.stopping(), supervisor.pulse("depths")));
    topic::lag::supervise(settings.kafka.clone(), topics, lag.clone(), supervisor);
    lag
}

/// R4: the slot of this process, under a name that no other has.
fn supervise_slot(
    settings: &Settings,
    identity: String,
    cache: &Cache,
    metrics: &IngestMetrics,
    supervisor: &Supervisor,
) -> Arc<InstanceSlot> {
    let times = (settings.slot_lease_s, settings.redis.clock_skew_ms);
    let shown = metrics.instance_slot.clone();
    let slot = Arc::new(InstanceSlot::new(cache.clone(), identity, settings.instance_slot, times, shown));
    supervisor.spawn("slot", Arc::clone(&slot).keep(supervisor.stopping(), supervisor.pulse("slot")));
    slot
}

/// How full what has a bound is, looked up when it is asked: true also while a loop that would tell waits for a server.
fn show_depths(
    metrics: &Metrics,
    (queue, acknowledged, bodies): (&WriteQueue, &mpsc::Sender<Logged>, &Room),
    publisher: &Publisher,
    database: &Database,
) {
    publisher.show(metrics);
    database.show(metrics);
    let (queue, acknowledged) = (queue.clone(), acknowledged.clone());
    metrics.asked(
        "writes_waiting",
        "Writes that wait for Redis; at most twice --in-flight-most and the lines of all bulks",
        move || queue.waiting(),
    );
    metrics.asked(
        "acknowledgements_waiting",
        "Acknowledgements of the topic that wait until Redis learns of them; at most --acknowledgements-most",
        move || acknowledged.max_capacity() - acknowledged.capacity(),
    );
    let bodies = bodies.clone();
    metrics.asked(
        "bodies_bytes",
        "Bytes of bodies of all requests in progress; at most --bodies-bytes-most",
        move || bodies.taken(),
    );
}

/// HTTP has drained when the process stops its tasks, so that nothing waits in the queue any more.
fn supervise_writer(writer: Writer, supervisor: &Supervisor) {
    let stopping = supervisor.stopping();
    supervisor.spawn("write", async move {
        tokio::select! {
            // Its end, too, only comes when the front is gone: the process is stopping.
            () = writer.run() => stopping.cancelled().await,
            () = stopping.cancelled() => {}
        }
    });
}
