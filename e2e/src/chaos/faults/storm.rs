//! Rebalances, one after another: persisters come and go, or somebody else takes their group.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use stack::{Lifetime, Process};
use tokio::time::{Instant, sleep};

use super::{Bite, Fault, Target, each};
use crate::chaos::stage::{Service, Stage};
use crate::system::metric;

pub(super) fn all() -> Vec<Arc<dyn Fault>> {
    let mut all = each([Storm]);
    all.extend(each([Taken]));
    all
}

#[derive(Debug)]
struct Storm;

#[async_trait]
impl Fault for Storm {
    fn name(&self) -> String {
        "rebalance-storm".to_owned()
    }

    fn target(&self) -> Target {
        Target::Service(Service::Persister)
    }

    async fn strike(&self, stage: &Stage, hold: Duration) -> Result<Bite> {
        let before = rebalances(stage).await;
        for turn in 0..3 {
            let another = Process::spawn(&stage.another_persister()?, Lifetime::Attached)?;
            sleep(hold.max(Duration::from_secs(2))).await;
            // Once in order, else not.
            if turn == 1 {
                another.kill()?;
            } else {
                tokio::task::spawn_blocking(move || another.stop(Duration::from_secs(20))).await??;
            }
        }
        // On a busy machine, or with names that outlive their members, the last of it may still be on its way.
        let until = Instant::now() + JOINED_WITHIN;
        loop {
            let count = rebalances(stage).await.saturating_sub(before);
            if count > 0 || Instant::now() > until {
                return Ok(Bite { what: "rebalances of the first persister", count });
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn rebalances(stage: &Stage) -> u64 {
    let text = stage.system.metrics(&stage.system.persister_admin_url).await.unwrap_or_default();
    let of = |kind: &str| metric(&text, &format!("write_behind_rebalances_total{{kind=\"{kind}\"}}")).unwrap_or(0.0);
    ["assigned", "revoked", "lost"].map(of).iter().sum::<f64>() as u64
}

/// While the persister is dead a stranger with the range assignor takes its group: the next persister is refused, and must go
/// on by itself when the stranger has left.
#[derive(Debug)]
struct Taken;

/// How long a group may take to give up a member that died, and to share out what it had.
const JOINED_WITHIN: Duration = Duration::from_secs(40);

#[async_trait]
impl Fault for Taken {
    fn name(&self) -> String {
        "group-taken-by-a-stranger".to_owned()
    }

    fn target(&self) -> Target {
        Target::Service(Service::Persister)
    }

    async fn strike(&self, stage: &Stage, hold: Duration) -> Result<Bite> {
        let mut running = stage.process(Service::Persister).await;
        running.take().context("it ran")?.kill()?;
        let (left, until_left) = std::sync::mpsc::sync_channel::<()>(1);
        let joined = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let stranger = tokio::task::spawn_blocking({
            let (brokers, group, topic) = (stage.kafka.direct(), stage.system.group.clone(), stage.topic());
            let joined = Arc::clone(&joined);
            move || stay(&brokers, &group, &topic, &joined, &until_left)
        });
        let until = Instant::now() + JOINED_WITHIN;
        let partitions = || joined.load(std::sync::atomic::Ordering::Relaxed);
        while partitions() == 0 && Instant::now() < until && !stranger.is_finished() {
            sleep(Duration::from_millis(100)).await;
        }
        drop(running);
        stage.start(Service::Persister).await?;
        sleep(hold).await;
        let refused = stage.process(Service::Persister).await.as_ref().is_some_and(Process::is_running);
        drop(left);
        stranger.await??;
        ensure!(refused, "the persister has ended, since it was refused");
        Ok(Bite { what: "partitions were a stranger's", count: partitions() })
    }
}

/// A member that reads, commits nothing, and leaves in order when its end of the channel is told.
fn stay(
    brokers: &str,
    group: &str,
    topic: &str,
    joined: &std::sync::atomic::AtomicU64,
    until: &std::sync::mpsc::Receiver<()>,
) -> Result<()> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("session.timeout.ms", "6000")
        .set("partition.assignment.strategy", "range");
    let stranger: BaseConsumer = config.create()?;
    stranger.subscribe(&[topic])?;
    while until.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
        // Refused, for as long as the dead member counts as one.
        drop(stranger.poll(Duration::from_millis(50)));
        let partitions = stranger.assignment().map_or(0, |assignment| assignment.count());
        joined.fetch_max(partitions as u64, std::sync::atomic::Ordering::Relaxed);
    }
    Ok(())
}
