//! Redis: killed, restarted without its data, flushed, frozen. What it forgets depends on its fsync policy.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use stack::Fsync;

use super::{Bite, Fault, Target, blocking, each};
use crate::chaos::collect;
use crate::chaos::journal::Micros;
use crate::chaos::stage::{Stage, Store};

/// What `everysec` may lose in a crash: a second, and one more while the disk is slow; and a margin for our clock.
const EVERY_SECOND: Duration = Duration::from_millis(2_500);

/// How long a Redis that has come back may take to get records again: nobody writes for T, and then a machine may be busy.
const FILLED_WITHIN: Duration = Duration::from_secs(20);

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
        let (redis, from) = (stage.redis(), stage.journal.now());
        match self.0 {
            What::Killed => {
                redis.kill()?;
                forgets(stage, from);
                tokio::time::sleep(hold).await;
                blocking(|| redis.restart()).await?;
                Ok(Bite::once("the server died"))
            }
            What::Restarted => {
                let before = redis.pid();
                blocking(|| redis.stop(Duration::from_secs(10)).map(drop)).await?;
                // An orderly end writes everything.
                if stage.fsync == Fsync::NoFile {
                    stage.lost(from, None);
                }
                blocking(|| redis.restart()).await?;
                ensure!(redis.pid() != before, "it is the same process");
                Ok(Bite::once("the server was another process"))
            }
            What::Emptied => {
                let count = filled(stage).await?;
                blocking(|| redis.restart_empty()).await?;
                stage.lost(from, None);
                Ok(Bite { what: "records were gone with the server", count })
            }
            What::Flushed => {
                let count = filled(stage).await?;
                let () = ::redis::cmd("FLUSHALL").query_async(&mut collect::redis(stage).await?).await?;
                stage.lost(from, None);
                ensure!(redis.is_running(), "it died of it");
                Ok(Bite { what: "records were flushed", count })
            }
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
fn forgets(stage: &Stage, from: Micros) {
    match stage.fsync {
        Fsync::NoFile => stage.lost(from, None),
        Fsync::EverySecond => stage.lost(from, Some(EVERY_SECOND)),
        Fsync::Always | Fsync::Never => {}
    }
}

/// Waits until Redis holds records; how many. It may have come back empty just now, and emptied again it would lose nothing.
async fn filled(stage: &Stage) -> Result<u64> {
    let until = tokio::time::Instant::now() + FILLED_WITHIN;
    loop {
        let keys = async { anyhow::Ok(collect::records(&mut collect::redis(stage).await?).await?) };
        let count = keys.await.unwrap_or(0);
        if count > 0 || tokio::time::Instant::now() > until {
            return Ok(count);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
