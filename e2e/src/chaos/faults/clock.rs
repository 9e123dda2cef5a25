//! The clock of Redis' host steps by an hour, and back.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use async_trait::async_trait;

use super::{Bite, Fault, Needs, Target, each};
use crate::chaos::stage::{Stage, Store};

const HOUR: i64 = 3600;

pub(super) fn all() -> Vec<Arc<dyn Fault>> {
    each([Step(HOUR), Step(-HOUR)])
}

#[derive(Debug)]
struct Step(i64);

#[async_trait]
impl Fault for Step {
    fn name(&self) -> String {
        if self.0 > 0 { "redis-clock-ahead" } else { "redis-clock-behind" }.to_owned()
    }

    fn target(&self) -> Target {
        Target::Store(Store::Redis)
    }

    fn needs(&self) -> Needs {
        Needs { clock: true, ..Needs::default() }
    }

    async fn strike(&self, stage: &Stage, hold: Duration) -> Result<Bite> {
        let before = redis_time(stage).await?;
        stage.redis().step_clock(self.0)?;
        let moved = redis_time(stage).await? - before;
        ensure!((moved - self.0).abs() < 60, "Redis' clock moved by {moved} s instead of {}", self.0);
        tokio::time::sleep(hold).await;
        stage.redis().step_clock(0)?;
        Ok(Bite { what: "seconds that the clock moved by", count: moved.unsigned_abs() })
    }
}

/// In seconds.
async fn redis_time(stage: &Stage) -> Result<i64> {
    let client = ::redis::Client::open(stage.system.redis_url.as_str())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let (seconds, _): (i64, i64) = ::redis::cmd("TIME").query_async(&mut connection).await?;
    Ok(seconds)
}
