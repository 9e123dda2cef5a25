//! Events that can never be applied, put into the topic by somebody else: few, many, nothing else.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::{Bite, Fault, Target, each};
use crate::chaos::checker::POISON;
use crate::chaos::stage::Stage;

pub(super) fn all() -> Vec<Arc<dyn Fault>> {
    each([
        Poison { name: "poison-0.1%", of: 1000 },
        Poison { name: "poison-10%", of: 10 },
        Poison { name: "poison-100%", of: 1 },
    ])
}

/// One event of so many is poison.
#[derive(Debug)]
struct Poison {
    name: &'static str,
    of: u64,
}

#[async_trait]
impl Fault for Poison {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn target(&self) -> Target {
        Target::Topic
    }

    async fn strike(&self, stage: &Stage, hold: Duration) -> Result<Bite> {
        let (topic, brokers) = (stage.topic(), stage.kafka.direct());
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers)
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", "20000");
        let producer: FutureProducer = config.create()?;
        let until = tokio::time::Instant::now() + hold;
        let (mut count, mut wrote) = (0, stage.journal.counts().acknowledged);
        // In step with what the clients write; all of it means so much that they hardly count.
        while count == 0 || tokio::time::Instant::now() < until {
            let now = stage.journal.counts().acknowledged;
            let owed = if self.of == 1 { 200 } else { ((now - wrote) / self.of).max(u64::from(count == 0)) };
            for _ in 0..owed {
                send(&producer, &topic, count).await?;
                count += 1;
            }
            wrote += if self.of == 1 { now - wrote } else { owed * self.of };
            wrote = wrote.min(now);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(Bite { what: "poison events were sent", count })
    }
}

/// Framed as ours, with a version of now, and a datum that is none.
async fn send(producer: &FutureProducer, topic: &str, number: u64) -> Result<()> {
    let version = (service::clock::now_micros() / 16 * 16 + 15).to_string();
    let header = |key, value| Header { key, value: Some(value) };
    let headers = OwnedHeaders::new().insert(header("version", version.as_str())).insert(header("op", "upsert"));
    let (key, value) = (format!("{POISON}{version}-{number}"), [0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff]);
    let record = FutureRecord::to(topic).key(&key).payload(&value).headers(headers);
    let sent = producer.send(record, Duration::from_secs(5)).await;
    sent.map(drop).map_err(|(error, _)| error).context("poison could not be sent")
}
