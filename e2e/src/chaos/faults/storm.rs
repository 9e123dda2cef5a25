//! Rebalances, one after another: persisters come and go.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use stack::{Lifetime, Process, port};

use super::{Bite, Fault, Target, each};
use crate::chaos::stage::{Service, Stage};
use crate::system::metric;

pub(super) fn all() -> Vec<Arc<dyn Fault>> {
    each([Storm])
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
            let url = format!("http://127.0.0.1:{}", port::free()?);
            let another = Process::spawn(&stage.persister_at(&url), Lifetime::Attached)?;
            tokio::time::sleep(hold.max(Duration::from_secs(2))).await;
            // Once in order, else not.
            if turn == 1 {
                another.kill()?;
            } else {
                tokio::task::spawn_blocking(move || another.stop(Duration::from_secs(20))).await??;
            }
        }
        let count = rebalances(stage).await.saturating_sub(before);
        Ok(Bite { what: "rebalances of the first persister", count })
    }
}

async fn rebalances(stage: &Stage) -> u64 {
    let text = stage.system.metrics(&stage.system.persister_admin_url).await.unwrap_or_default();
    let of = |kind: &str| metric(&text, &format!("write_behind_rebalances_total{{kind=\"{kind}\"}}")).unwrap_or(0.0);
    ["assigned", "revoked", "lost"].map(of).iter().sum::<f64>() as u64
}
