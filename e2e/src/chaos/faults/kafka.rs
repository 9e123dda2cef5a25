//! Kafka: its one node killed, restarted, frozen; of three nodes one that leads killed, and all restarted in turn.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use stack::Kafka;

use super::{Bite, Fault, Needs, Target, blocking, each};
use crate::chaos::stage::{Stage, Store};

/// How long an asked-for answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn all() -> Vec<Arc<dyn Fault>> {
    let mut all = each([One::Killed, One::Restarted, One::Frozen]);
    all.extend(each([Three::LeaderKilled, Three::LeaderFrozen, Three::Rolled]));
    all
}

/// With one node Kafka is away.
#[derive(Clone, Copy, Debug)]
enum One {
    Killed,
    Restarted,
    Frozen,
}

#[async_trait]
impl Fault for One {
    fn name(&self) -> String {
        match self {
            Self::Killed => "kafka-killed",
            Self::Restarted => "kafka-restarted",
            Self::Frozen => "kafka-frozen",
        }
        .to_owned()
    }

    fn target(&self) -> Target {
        Target::Store(Store::Kafka)
    }

    fn needs(&self) -> Needs {
        Needs { three_nodes: Some(false), ..Needs::default() }
    }

    async fn strike(&self, stage: &Stage, hold: Duration) -> Result<Bite> {
        let node: &'static Kafka = stage.kafka.nodes.first().copied().context("a node")?;
        match self {
            Self::Killed => {
                node.kill()?;
                tokio::time::sleep(hold).await;
                blocking(|| node.restart()).await?;
                Ok(Bite::once("the broker died"))
            }
            Self::Restarted => {
                let before = node.pid();
                blocking(|| node.restart()).await?;
                ensure!(node.pid() != before, "it is the same process");
                Ok(Bite::once("the broker was another process"))
            }
            Self::Frozen => {
                node.pause()?;
                tokio::time::sleep(hold).await;
                node.resume()?;
                Ok(Bite::once("the broker stood still"))
            }
        }
    }
}

/// With three nodes Kafka goes on.
#[derive(Clone, Copy, Debug)]
enum Three {
    LeaderKilled,
    LeaderFrozen,
    Rolled,
}

#[async_trait]
impl Fault for Three {
    fn name(&self) -> String {
        match self {
            Self::LeaderKilled => "kafka-leader-killed",
            Self::LeaderFrozen => "kafka-leader-frozen",
            Self::Rolled => "kafka-rolling-restart",
        }
        .to_owned()
    }

    fn target(&self) -> Target {
        Target::Store(Store::Kafka)
    }

    fn needs(&self) -> Needs {
        Needs { three_nodes: Some(true), ..Needs::default() }
    }

    async fn strike(&self, stage: &Stage, hold: Duration) -> Result<Bite> {
        let (leaders, _) = look(stage).await?;
        let leader = leaders.first().copied().context("a leader")?;
        let node = stage.kafka.nodes.get(leader).copied().context("the leader's node")?;
        match self {
            Self::LeaderKilled => node.kill()?,
            Self::LeaderFrozen => node.pause()?,
            Self::Rolled => {
                for node in stage.kafka.nodes.clone() {
                    blocking(|| node.restart()).await?;
                    in_sync(stage).await?;
                }
                return Ok(Bite { what: "brokers were restarted", count: stage.kafka.nodes.len() as u64 });
            }
        }
        let moved = led_by_others(stage, leader).await;
        tokio::time::sleep(hold / 2).await;
        match self {
            Self::LeaderFrozen => node.resume()?,
            _ => blocking(|| node.restart()).await?,
        }
        in_sync(stage).await?;
        Ok(Bite { what: "partitions were led by others", count: moved? })
    }
}

/// The node that leads each partition, counted from 0; `usize::MAX` where none does. And whether all are in sync.
async fn look(stage: &Stage) -> Result<Look> {
    let (brokers, topic) = (stage.kafka.direct(), stage.topic());
    tokio::task::spawn_blocking(move || {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("group.id", "stranger");
        let metadata = BaseConsumer::from_config(&config)?.fetch_metadata(Some(&topic), PATIENCE)?;
        let topic = metadata.topics().first().context("the topic")?;
        let leaders = topic.partitions().iter().map(|partition| {
            usize::try_from(partition.leader()).ok().and_then(|node| node.checked_sub(1)).unwrap_or(usize::MAX)
        });
        let whole = topic.partitions().iter().all(|partition| partition.isr().len() == partition.replicas().len());
        Ok((leaders.collect(), whole))
    })
    .await?
}

/// Waits until a node that is away leads nothing any more; how many partitions the others lead then.
async fn led_by_others(stage: &Stage, away: usize) -> Result<u64> {
    let led = |leaders: &[usize]| leaders.iter().all(|leader| *leader != away && *leader != usize::MAX);
    let (leaders, _) = until("the others lead", stage, |(leaders, _)| led(leaders)).await?;
    Ok(leaders.len() as u64)
}

/// The next one must not be taken away before the last one has caught up.
async fn in_sync(stage: &Stage) -> Result<()> {
    until("all replicas are in sync", stage, |(_, whole)| *whole).await.map(drop)
}

type Look = (Vec<usize>, bool);

async fn until(what: &str, stage: &Stage, holds: impl Fn(&Look) -> bool) -> Result<Look> {
    let end = tokio::time::Instant::now() + Duration::from_secs(40);
    while tokio::time::Instant::now() < end {
        // None of them may answer for a moment.
        if let Ok(seen) = look(stage).await
            && holds(&seen)
        {
            return Ok(seen);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    bail!("not in time: {what}")
}
