//! The bare consumer that the persister is compared with: poll, decode, the same guarded multi-row upsert in batches of up
//! to 1,000 on two connections, offsets committed every second and at the end. Ends at the end of the topic.
//!
//! What it does not have: read-back, re-asserts, settles, purge marks, rebalances, holding, retries, metrics. An error ends
//! it. Its settings are those of `persister run`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use record::{Change, Decoded, Entity, Event, Headers, Value};
use service::settings::{ProcessSettings, Secret};
use service::{process, schemas};
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Connection, Executor};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use topic::KafkaSettings;

const BATCH: usize = 1000;
const WRITERS: i32 = 2;

#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    process: ProcessSettings,
    #[command(flatten)]
    kafka: KafkaSettings,
    #[arg(long, env = "DATABASE_URL")]
    database_url: Secret,
}

struct Row {
    id: String,
    version: u64,
    partition: i32,
    offset: i64,
    values: Vec<Value<'static>>,
    deleted: bool,
}

/// The next offset of each partition behind which everything is in the table.
type Done = Arc<Mutex<HashMap<i32, i64>>>;

fn main() -> std::process::ExitCode {
    let settings = Settings::parse();
    let log = settings.process.log.clone();
    process::run(&log, consume(settings))
}

async fn consume(settings: Settings) -> Result<()> {
    let catalog = schemas::load(&settings.process.schemas_dir)?;
    let entity = Arc::clone(catalog.get("users").context("no entity users")?);
    let done = Done::default();
    let (mut queues, mut writers) = (Vec::new(), JoinSet::new());
    for _ in 0..WRITERS {
        let (queue, queued) = mpsc::channel(4);
        let database = MySqlConnection::connect(settings.database_url.expose()).await?;
        queues.push(queue);
        writers.spawn(write(database, Arc::clone(&entity), queued, Arc::clone(&done)));
    }
    let (kafka, topic) = (settings.kafka.clone(), settings.kafka.topic(entity.name()));
    let (consumer, queued) = (consumer(&kafka, &topic)?, Arc::clone(&done));
    let polling = tokio::task::spawn_blocking(move || {
        poll(&consumer, &topic, &entity, &queues, &queued)?;
        drop(queues); // the writers end when they have written the rest
        anyhow::Ok((consumer, topic))
    });
    let (consumer, topic) = polling.await??;
    while let Some(ended) = writers.join_next().await {
        ended??;
    }
    commit(&consumer, &topic, &done, CommitMode::Sync)
}

fn consumer(settings: &KafkaSettings, topic: &str) -> Result<BaseConsumer> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &settings.kafka_brokers)
        .set("group.id", &settings.consumer_group)
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "earliest")
        .create()?;
    consumer.subscribe(&[topic])?;
    Ok(consumer)
}

/// Until every partition has been read to its end.
fn poll(
    consumer: &BaseConsumer,
    topic: &str,
    entity: &Entity,
    queues: &[mpsc::Sender<Vec<Row>>],
    done: &Done,
) -> Result<()> {
    let (mut ended, mut committed) = (HashSet::new(), Instant::now());
    let mut batches: Vec<_> = queues.iter().map(|_| Vec::with_capacity(BATCH)).collect();
    while ended.is_empty() || ended.len() < consumer.assignment()?.count() {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let row = row(entity, &message)?;
                // By partition, so that each is written in order.
                let writer = usize::try_from(row.partition % WRITERS)?;
                let batch = batches.get_mut(writer).context("no writer")?;
                batch.push(row);
                if batch.len() == BATCH {
                    let full = std::mem::replace(batch, Vec::with_capacity(BATCH));
                    queues.get(writer).context("no writer")?.blocking_send(full).ok().context("a writer has ended")?;
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(ended.insert(partition)),
            Some(Err(error)) => return Err(error.into()),
            None => {}
        }
        if committed.elapsed() > Duration::from_secs(1) {
            commit(consumer, topic, done, CommitMode::Async)?;
            committed = Instant::now();
        }
    }
    for (queue, rest) in queues.iter().zip(batches).filter(|(_, rest)| !rest.is_empty()) {
        queue.blocking_send(rest).ok().context("a writer has ended")?;
    }
    Ok(())
}

fn commit(consumer: &BaseConsumer, topic: &str, done: &Done, mode: CommitMode) -> Result<()> {
    let mut offsets = TopicPartitionList::new();
    for (partition, next) in done.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        offsets.add_partition_offset(topic, *partition, Offset::Offset(*next))?;
    }
    if offsets.count() > 0 { Ok(consumer.commit(&offsets, mode)?) } else { Ok(()) }
}

fn row(entity: &Entity, message: &BorrowedMessage<'_>) -> Result<Row> {
    let header = |name| message.headers()?.iter().find(|header| header.key == name)?.value;
    let headers = Headers { version: header("version"), op: header("op"), origin: header("origin") };
    let event = match Event::decode(message.key(), message.payload(), headers) {
        Decoded::Event(event) => event,
        Decoded::Poison(poison) => bail!("{}", poison.detail),
    };
    let values = match &event.change {
        Change::Upsert { schema, datum } => entity.read_avro(*schema, datum)?.into_owned().into_values(),
        Change::Tombstone => vec![Value::Null; entity.fields().len()],
    };
    Ok(Row {
        id: event.id.to_string(),
        version: event.version.get(),
        partition: message.partition(),
        offset: message.offset(),
        values,
        deleted: matches!(event.change, Change::Tombstone),
    })
}

async fn write(
    mut database: MySqlConnection,
    entity: Arc<Entity>,
    mut queued: mpsc::Receiver<Vec<Row>>,
    done: Done,
) -> Result<()> {
    database.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
    while let Some(batch) = queued.recv().await {
        let mut newest: BTreeMap<String, Row> = BTreeMap::new(); // sorted by id, or two writers deadlock
        let mut read = HashMap::new();
        for row in batch {
            read.insert(row.partition, row.offset + 1);
            if newest.get(&row.id).is_none_or(|other| other.version <= row.version) {
                newest.insert(row.id.clone(), row);
            }
        }
        upsert(&mut database, &entity, newest.into_values()).await?;
        done.lock().unwrap_or_else(PoisonError::into_inner).extend(read);
    }
    Ok(())
}

async fn upsert(
    database: &mut MySqlConnection,
    entity: &Entity,
    rows: impl ExactSizeIterator<Item = Row>,
) -> Result<()> {
    let stamp = service::clock::now_micros();
    let mut query = sqlx::query(AssertSqlSafe(statement(entity, rows.len())));
    for row in rows {
        query = query.bind(row.id);
        for value in row.values {
            query = match value {
                Value::Null => query.bind(None::<String>),
                Value::Integer(number) => query.bind(number),
                Value::Text(text) => query.bind(text.into_owned()),
                other => bail!("users have no {other:?}"),
            };
        }
        query = query.bind(row.deleted).bind(stamp).bind(row.offset).bind(row.version);
    }
    query.execute(database).await?;
    Ok(())
}

/// The persister's own, word for word (`crates/table/src/statements.rs`), but that the stamp comes as a number.
fn statement(entity: &Entity, rows: usize) -> String {
    let newer = "VALUES(`id`) = `id` AND VALUES(`version`) > `version`";
    let fields: Vec<_> = entity.fields().iter().map(|field| format!("`{}`", field.name)).collect();
    let columns = fields.iter().map(String::as_str).chain(["`deleted`", "`updated_at`"]);
    let moved: Vec<_> = columns.map(|column| format!("{column} = IF({newer}, VALUES({column}), {column})")).collect();
    let row = format!("(?, {}?, FROM_UNIXTIME(? / 1000000), ?, ?)", "?, ".repeat(fields.len()));
    format!(
        "INSERT INTO `users` (`id`, {}, `deleted`, `updated_at`, `log_offset`, `version`) VALUES {} \
         ON DUPLICATE KEY UPDATE {}, \
         `log_offset` = IF({newer}, VALUES(`log_offset`), IF(VALUES(`id`) = `id` AND VALUES(`version`) = `version`, \
         GREATEST(`log_offset`, VALUES(`log_offset`)), `log_offset`)), \
         `version` = IF({newer}, VALUES(`version`), `version`)",
        fields.join(", "),
        vec![row; rows].join(", "),
        moved.join(", ")
    )
}
