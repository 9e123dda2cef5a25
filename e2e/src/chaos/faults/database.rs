//! The database: killed, restarted in order, frozen.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use async_trait::async_trait;

use super::{Bite, Fault, Target, blocking, each};
use crate::chaos::stage::{Stage, Store};

pub(super) fn all() -> Vec<Arc<dyn Fault>> {
    each([What::Killed, What::Restarted, What::Frozen].map(Hurt))
}

#[derive(Clone, Copy, Debug)]
enum What {
    Killed,
    Restarted,
    Frozen,
}

#[derive(Debug)]
struct Hurt(What);

#[async_trait]
impl Fault for Hurt {
    fn name(&self) -> String {
        match self.0 {
            What::Killed => "database-killed",
            What::Restarted => "database-restarted",
            What::Frozen => "database-frozen",
        }
        .to_owned()
    }

    fn target(&self) -> Target {
        Target::Store(Store::Database)
    }

    async fn strike(&self, stage: &Stage, hold: Duration) -> Result<Bite> {
        let database = stage.system.servers.database;
        match self.0 {
            What::Killed => {
                database.kill()?;
                tokio::time::sleep(hold).await;
                blocking(|| database.restart()).await?;
                Ok(Bite::once("the server died"))
            }
            What::Restarted => {
                let before = database.pid();
                blocking(|| database.restart()).await?;
                ensure!(database.pid() != before, "it is the same process");
                Ok(Bite::once("the server was another process"))
            }
            What::Frozen => {
                database.pause()?;
                tokio::time::sleep(hold).await;
                database.resume()?;
                Ok(Bite::once("the server stood still"))
            }
        }
    }
}
