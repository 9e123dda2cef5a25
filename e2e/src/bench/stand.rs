//! What a bench stands on: servers of its own, set as in production, and systems on them.

use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use stack::{Database, Kafka, KafkaOptions, Kind, Place, Redis, Speed, Tools, shared};
use topic::KafkaSettings;

use crate::{Servers, System};

/// Starts the servers; they end with this process. Kafka compiles its hot paths as in production.
///
/// # Errors
/// One does not start.
pub fn servers() -> Result<Servers> {
    let tools = Tools::find();
    let place = |name: &str| Place::attached(shared::scratch(name));
    let options = KafkaOptions { speed: Speed::Full, ..KafkaOptions::default() };
    Ok(Servers {
        kafka: Box::leak(Box::new(Kafka::start(&tools, &place("kafka"), options)?)),
        redis: Box::leak(Box::new(Redis::start(&tools, &place("redis"))?)),
        database: Box::leak(Box::new(Database::start(&tools, &place("database"), Kind::from_env()?)?)),
    })
}

/// The settings with which a system's programs find its topics, as they parse them.
#[must_use]
pub fn kafka_settings(system: &System) -> KafkaSettings {
    #[derive(Parser)]
    struct Settings {
        #[command(flatten)]
        kafka: KafkaSettings,
    }
    let brokers = system.servers.kafka.brokers();
    let arguments = ["bench", "--kafka-brokers", &brokers, "--consumer-group", &system.group];
    let arguments = arguments.into_iter().chain(["--topic-prefix", &system.topic_prefix, "--allow-single-broker"]);
    Settings::parse_from(arguments).kafka
}

/// The name of a system's database, for statements that only root may run.
#[must_use]
pub fn database_name(system: &System) -> &str {
    system.accounts.reader.rsplit('/').next().unwrap_or_default()
}

/// Forgets what a system cached, so that the next one finds the memory that this one found.
///
/// # Errors
/// Redis does not answer.
pub async fn forget_cache(system: &System) -> Result<()> {
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(30)));
    let client = redis::Client::open(&*system.redis_url)?;
    let mut connection = client.get_multiplexed_async_connection_with_config(&patient).await?;
    Ok(redis::cmd("FLUSHDB").query_async(&mut connection).await?)
}
