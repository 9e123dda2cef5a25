//! Redis: killed, restarted without its data, flushed, frozen. What it forgets depends on its fsync policy.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use stack::{Fsync, Redis};

use super::{Bite, Fault, Target, blocking, each};
use crate::chaos::stage::{Stage, Store};

/// What `everysec` may lose in a crash: a second, and one more while the disk is slow; and a margin for our clock.
const EVERY_SECOND: Duration = Duration::from_millis(2_500);

pub(super) fn all() -> Vec<Arc<dyn Fault>> {
    each([What::Killed, What::Emptied, What::Flushed, What::Restarted, What::Frozen].map(Hurt))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Killed,
    Restarted,
    Emptied,
    Flushed,
    Frozen,
}

#[derive(Debug)]
struct Hurt(What);

#[async_trait]
impl Fault for Hurt {
    fn name(&self) -> String {
        match self.0 {
            What::Killed => "redis-killed",
            What::Restarted => "redis-restarted",
            What::Emptied => "redis-restarted-empty",
            What::Flushed => "redis-flushed",
            What::Frozen => "redis-frozen",
        }
        .to_owned()
    }

    fn target(&self) -> Target {
        Target::Store(Store::Redis)
    }

    async fn strike(&self, stage: &Stage, hold: Duration) -> Result<Bite> {
        let redis = stage.redis();
        stage.disturb();
        match self.0 {
            What::Killed => {
                redis.kill()?;
                forgets(stage);
                tokio::time::sleep(hold).await;
                blocking(|| redis.restart()).await?;
                Ok(Bite::once("the server died"))
            }
            What::Restarted => {
                let before = redis.pid();
                blocking(|| redis.stop(Duration::from_secs(10)).map(drop)).await?;
                // An orderly end writes everything.
                if stage.fsync == Fsync::NoFile {
                    stage.lost(None);
                }
                blocking(|| redis.restart()).await?;
                ensure!(redis.pid() != before, "it is the same process");
                Ok(Bite::once("the server was another process"))
            }
            What::Emptied => {
                blocking(|| redis.restart_empty()).await?;
                stage.lost(None);
                Ok(Bite::once("the server came back empty"))
            }
            What::Flushed => flush(stage, redis).await,
            What::Frozen => {
                redis.pause()?;
                tokio::time::sleep(hold).await;
                redis.resume()?;
                Ok(Bite::once("the server stood still"))
            }
        }
    }
}

/// By its policy. What was written to the file survives the process, but not what was not written yet.
fn forgets(stage: &Stage) {
    match stage.fsync {
        Fsync::NoFile => stage.lost(None),
        Fsync::EverySecond => stage.lost(Some(EVERY_SECOND)),
        Fsync::Always | Fsync::Never => {}
    }
}

async fn flush(stage: &Stage, redis: &Redis) -> Result<Bite> {
    let client = ::redis::Client::open(stage.system.redis_url.as_str())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let keys: u64 = ::redis::cmd("DBSIZE").query_async(&mut connection).await?;
    let () = ::redis::cmd("FLUSHALL").query_async(&mut connection).await?;
    stage.lost(None);
    ensure!(redis.is_running(), "it died of it");
    Ok(Bite { what: "keys were flushed", count: keys })
}
