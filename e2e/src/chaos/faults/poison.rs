//! Events that can never be applied: put into the topic by somebody else (nobody can read them), or written by clients (the
//! table refuses them). Few, many, nothing else: then the brake must stop the lanes, and an operator lets them go.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::time::{Instant, sleep};

use super::{Bite, Fault, Target, each};
use crate::chaos::checker::POISON;
use crate::chaos::collect::FOREIGN;
use crate::chaos::journal::Journal;
use crate::chaos::operator;
use crate::chaos::stage::Stage;

/// How long a brake may take that has to come: the persister may be dead or frozen, or the database away.
const BRAKED_WITHIN: Duration = Duration::from_secs(60);

pub(super) fn all() -> Vec<Arc<dyn Fault>> {
    let shares = [("0.1%", 1000), ("10%", 10), ("100%", 1)];
    let mut all = each(shares.map(|(name, of)| Foreign { name, of }));
    all.extend(each(shares.map(|(name, of)| Refused { name, of })));
    all
}

/// One event of so many is nobody's, and no datum.
#[derive(Debug)]
struct Foreign {
    name: &'static str,
    of: u64,
}

#[async_trait]
impl Fault for Foreign {
    fn name(&self) -> String {
        format!("poison-{}", self.name)
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
            .set("message.timeout.ms", "60000");
        let producer: FutureProducer = config.create()?;
        let until = Instant::now() + hold;
        let (mut count, mut wrote) = (0, stage.journal.counts().acknowledged);
        // In step with what the clients write; all of it means so much that they hardly count.
        while count == 0 || Instant::now() < until {
            let now = stage.journal.counts().acknowledged;
            let owed = if self.of == 1 { 200 } else { ((now - wrote) / self.of).max(u64::from(count == 0)) };
            for _ in 0..owed {
                send(&producer, &topic, count).await?;
                count += 1;
            }
            wrote += if self.of == 1 { now - wrote } else { owed * self.of };
            wrote = wrote.min(now);
            sleep(Duration::from_millis(100)).await;
        }
        match self.of {
            1 => braked(stage).await,
            _ => Ok(Bite { what: "poison events were sent", count }),
        }
    }
}

/// Framed as ours, with a version of now, half of them with one that no writer may have, and a datum that is none. Every other
/// one is of a record that clients fight over.
async fn send(producer: &FutureProducer, topic: &str, number: u64) -> Result<()> {
    let slot = if number % 4 < 2 { 15 } else { 14 };
    let version = (service::clock::now_micros() / 16 * 16 + slot).to_string();
    let header = |key, value| Header { key, value: Some(value) };
    let headers = OwnedHeaders::new().insert(header("version", version.as_str())).insert(header("op", "upsert"));
    let headers = headers.insert(header(FOREIGN, "yes"));
    let key =
        if number.is_multiple_of(2) { format!("{POISON}{version}-{number}") } else { format!("k{}", number % 100) };
    let value = [0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff];
    let record = FutureRecord::to(topic).key(&key).payload(&value).headers(headers);
    let sent = producer.send(record, Duration::from_secs(60)).await;
    sent.map(drop).map_err(|(error, _)| error).context("poison could not be sent")
}

/// One write of so many has content that the table refuses.
#[derive(Debug)]
struct Refused {
    name: &'static str,
    of: u64,
}

#[async_trait]
impl Fault for Refused {
    fn name(&self) -> String {
        format!("refused-{}", self.name)
    }

    fn target(&self) -> Target {
        Target::Topic
    }

    async fn strike(&self, stage: &Stage, hold: Duration) -> Result<Bite> {
        let before = acknowledged(&stage.journal);
        stage.spoilt.set(self.of);
        let (until, late) = (Instant::now() + hold, Instant::now() + BRAKED_WITHIN);
        // While nobody can write, nobody writes poison.
        while Instant::now() < until || (acknowledged(&stage.journal) == before && Instant::now() < late) {
            sleep(Duration::from_millis(100)).await;
        }
        let braked = if self.of == 1 { Some(braked(stage).await) } else { None };
        stage.spoilt.set(0);
        let count = acknowledged(&stage.journal) - before;
        braked.unwrap_or(Ok(Bite { what: "writes of poison were acknowledged", count }))
    }
}

/// Waits until nothing but poison has stopped a lane.
async fn braked(stage: &Stage) -> Result<Bite> {
    let until = Instant::now() + BRAKED_WITHIN;
    loop {
        let count = operator::braked(stage).await;
        if count > 0 || Instant::now() > until {
            return Ok(Bite { what: "lanes were stopped by their brake", count });
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Writes of poison that were acknowledged.
fn acknowledged(journal: &Journal) -> u64 {
    let told = journal.so_far();
    told.writes.iter().filter(|write| write.op.is_poison() && !write.acknowledged.is_empty()).count() as u64
}
