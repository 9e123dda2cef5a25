//! The thin pipeline that ingest is compared with: the body becomes a record and an Avro event as in ingest, a plain `SET`, then an
//! awaited produce (`acks=all`), then 202.
//!
//! What it does not have: versions that are right (its clock alone gives them), an outbox, so that what Kafka does not acknowledge
//! is nobody's, conditions, idempotency keys, callers, bounds, metrics. Its events can be read by the persister and by
//! `reference-consumer`.

use std::sync::Arc;

use actix_web::web::{Bytes, Data, Path};
use actix_web::{App, HttpResponse, HttpServer, ResponseError, web};
use anyhow::{Context, Result};
use clap::Parser;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use record::Entity;
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use service::settings::{ProcessSettings, Secret};
use service::{clock, schemas};
use topic::KafkaSettings;

#[derive(Clone, Parser)]
struct Settings {
    #[command(flatten)]
    process: ProcessSettings,
    #[command(flatten)]
    kafka: KafkaSettings,
    #[arg(long, env = "REDIS_URL")]
    redis_url: Secret,
    #[arg(long, env = "LISTEN")]
    listen: String,
    #[arg(long, env = "HTTP_WORKERS")]
    http_workers: usize,
}

struct Thin {
    entity: Arc<Entity>,
    topic: String,
    redis: MultiplexedConnection,
    kafka: FutureProducer,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failed(String);

impl ResponseError for Failed {}

async fn put(thin: Data<Thin>, path: Path<(String, String)>, body: Bytes) -> Result<HttpResponse, Failed> {
    let (name, id) = path.into_inner();
    let input = thin.entity.parse_json(&body).map_err(|faults| Failed(format!("{faults:?}")))?;
    let change = thin.entity.change(Some(&input.record));
    let mut text = String::with_capacity(body.len());
    thin.entity.write_json(&input.record, &mut text);
    let (mut redis, failed) = (thin.redis.clone(), |error: &dyn std::fmt::Display| Failed(error.to_string()));
    let _: () = redis.set(format!("thin:{name}:{id}"), text).await.map_err(|error| failed(&error))?;
    let version = (clock::now_micros() / 16 * 16).to_string();
    let value = change.to_value().ok_or_else(|| Failed("no value".to_owned()))?;
    let header = |key, value| Header { key, value: Some(value) };
    let headers = OwnedHeaders::new_with_capacity(3)
        .insert(header("version", version.as_str()))
        .insert(header("op", change.op()))
        .insert(header("origin", "write"));
    let record = FutureRecord::to(&thin.topic).key(&id).payload(&*value).headers(headers);
    let sent = thin.kafka.send_result(record).map_err(|(error, _)| failed(&error))?;
    match sent.await {
        Ok(Ok(_)) => Ok(HttpResponse::Accepted().json(serde_json::json!({ "id": id }))),
        Ok(Err((error, _))) => Err(failed(&error)),
        Err(error) => Err(failed(&error)),
    }
}

#[actix_web::main]
async fn main() -> Result<()> {
    let settings = Settings::parse();
    let catalog = schemas::load(&settings.process.schemas_dir)?;
    let entity = Arc::clone(catalog.get("users").context("no entity users")?);
    let kafka: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &settings.kafka.kafka_brokers)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .set("compression.type", "lz4")
        .set("partitioner", "murmur2_random")
        .create()?;
    let redis = redis::Client::open(settings.redis_url.expose())?.get_multiplexed_async_connection().await?;
    let thin = Data::new(Thin { topic: settings.kafka.topic(entity.name()), entity, redis, kafka });
    let app = move || App::new().app_data(Data::clone(&thin)).route("/{entity}/{id}", web::put().to(put));
    Ok(HttpServer::new(app).workers(settings.http_workers).bind(settings.listen)?.run().await?)
}
