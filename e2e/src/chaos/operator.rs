//! What an operator does in a round: poison stops lanes by their brake, and somebody has to let it go.

use anyhow::{Result, ensure};
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use stack::{Ended, Lifetime, Process};

use super::collect;
use super::stage::Stage;
use crate::system::PATIENCE;

/// How many lanes of the first persister are stopped by their brake.
pub(super) async fn braked(stage: &Stage) -> u64 {
    let text = stage.system.metrics(&stage.system.persister_admin_url).await.unwrap_or_default();
    let lanes = text.lines().filter(|line| line.starts_with("write_behind_lane_held{") && line.contains("\"brake\""));
    lanes.filter(|line| line.ends_with(" 1")).count() as u64
}

/// Accepts as dead letters whatever is bad of what stands in the topic now.
///
/// # Errors
/// A store does not answer, or the command fails; the error ends with its log.
pub(super) async fn accept(stage: &Stage) -> Result<()> {
    for (partition, end) in ends(stage).await? {
        let system = &stage.system;
        let until = (end - 1).max(0).to_string();
        let spec = system.spec("persister", "accept", &system.accounts.persister).arg("dead").arg("accept");
        let spec =
            spec.arg("--entity").arg("users").arg("--partition").arg(partition.to_string()).arg("--until").arg(until);
        let process = Process::spawn(&spec, Lifetime::Attached)?;
        let (ended, log) =
            tokio::task::spawn_blocking(move || anyhow::Ok((process.wait(PATIENCE)?, process.log_tail(5)))).await??;
        ensure!(
            matches!(ended, Ended::Yes(Some(status)) if status.success()),
            "persister dead accept: {ended:?}\n{log}"
        );
    }
    Ok(())
}

/// The end of each partition.
async fn ends(stage: &Stage) -> Result<Vec<(i32, i64)>> {
    let partitions: Vec<i32> = collect::offsets(stage).await?.into_keys().collect();
    let (brokers, topic) = (stage.kafka.direct(), stage.topic());
    tokio::task::spawn_blocking(move || {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("group.id", "stranger");
        let consumer = BaseConsumer::from_config(&config)?;
        let end = |partition| anyhow::Ok((partition, consumer.fetch_watermarks(&topic, partition, PATIENCE)?.1));
        partitions.into_iter().map(end).collect()
    })
    .await?
}
