//! A disk runs full, under Redis' append-only file or under the database. Needs root, and fails without it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use stack::Fsync;

use super::{Bite, Fault, Needs, Target, blocking, each};
use crate::chaos::stage::{Stage, Store};

pub(super) fn all() -> Vec<Arc<dyn Fault>> {
    each([Full(Store::Redis), Full(Store::Database)])
}

#[derive(Debug)]
struct Full(Store);

#[async_trait]
impl Fault for Full {
    fn name(&self) -> String {
        if self.0 == Store::Redis { "redis-disk-full" } else { "database-disk-full" }.to_owned()
    }

    fn target(&self) -> Target {
        Target::Store(self.0)
    }

    fn needs(&self) -> Needs {
        let redis = self.0 == Store::Redis;
        Needs { redis_disk: redis, database_disk: !redis, ..Needs::default() }
    }

    async fn strike(&self, stage: &Stage, hold: Duration) -> Result<Bite> {
        let folder: PathBuf = match self.0 {
            Store::Redis => stage.redis_dir.clone(),
            _ => stage.system.servers.database.folder().to_owned(),
        };
        let ballast = folder.join("ballast");
        let count = fill(&ballast).with_context(|| format!("filling {}", folder.display()))?;
        tokio::time::sleep(hold).await;
        let noticed = if self.0 == Store::Redis { redis_notices(stage).await } else { Ok(()) };
        // What was freed meanwhile, a server's own log among it, is taken as well.
        let full = is_full(&folder);
        std::fs::remove_file(&ballast)?;
        // With `appendfsync always` Redis ends rather than answer what it could not write.
        let redis = stage.redis();
        if self.0 == Store::Redis && stage.fsync == Fsync::Always && !redis.is_running() {
            blocking(|| redis.restart()).await?;
            return Ok(Bite::once("the server ended, since it could not write"));
        }
        ensure!(full, "there was room on the disk");
        noticed?;
        Ok(Bite { what: "kilobytes were taken", count })
    }
}

/// Waits until Redis says that it cannot write its file, or ends.
async fn redis_notices(stage: &Stage) -> Result<()> {
    let client = ::redis::Client::open(stage.system.redis_url.as_str())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let until = tokio::time::Instant::now() + Duration::from_secs(10);
    while tokio::time::Instant::now() < until {
        let said: String = ::redis::cmd("INFO").arg("persistence").query_async(&mut connection).await?;
        if said.contains("aof_last_write_status:err") {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("Redis wrote its file all the same")
}

/// Writes until nothing more fits; how many kilobytes that were.
fn fill(file: &Path) -> Result<u64> {
    use std::io::Write;
    let (mut file, block) = (std::fs::File::create(file)?, [0_u8; 4096]);
    let mut written = 0;
    loop {
        match file.write(&block) {
            Ok(bytes) => written += bytes as u64,
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(written / 1024),
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_full(folder: &Path) -> bool {
    let probe = folder.join("probe");
    let full = std::fs::write(&probe, [0_u8; 1 << 20]).is_err();
    // It may not even have been made.
    std::fs::remove_file(&probe).ok();
    full
}
