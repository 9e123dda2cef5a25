//! Our own processes: killed, killed at a certain place, and frozen.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use service::fail_points;
use stack::{Lifetime, Process};

use super::{Bite, Fault, Target, each};
use crate::chaos::stage::{Service, Stage};

pub(super) fn all() -> Vec<Arc<dyn Fault>> {
    let both = [Service::Ingest, Service::Persister];
    let mut all = each(both.map(Kill));
    all.extend(each(both.map(Freeze)));
    all.extend(each([
        KillAt { name: "persister-dies-in-the-transaction", place: fail_points::TABLE_WRITTEN, asked_to_stop: false },
        KillAt { name: "persister-dies-before-the-offset", place: fail_points::LANE_APPLIED, asked_to_stop: false },
        KillAt { name: "persister-dies-in-a-revoke", place: fail_points::INTAKE_REVOKING, asked_to_stop: true },
    ]));
    all
}

fn called(service: Service) -> &'static str {
    match service {
        Service::Ingest => "ingest",
        Service::Persister => "persister",
    }
}

/// `kill -9`, and a new one.
#[derive(Debug)]
struct Kill(Service);

#[async_trait]
impl Fault for Kill {
    fn name(&self) -> String {
        format!("{}-killed", called(self.0))
    }

    fn target(&self) -> Target {
        Target::Service(self.0)
    }

    async fn strike(&self, stage: &Stage, hold: Duration) -> Result<Bite> {
        let status = stage.process(self.0).await.take().context("it ran")?.kill()?;
        ensure!(status.is_none_or(|status| !status.success()), "{} ended well: {status:?}", called(self.0));
        tokio::time::sleep(hold / 4).await;
        stage.start(self.0).await?;
        Ok(Bite::once("the process died"))
    }
}

/// SIGSTOP, and SIGCONT later than its group would have it: it comes back as a zombie.
#[derive(Debug)]
struct Freeze(Service);

#[async_trait]
impl Fault for Freeze {
    fn name(&self) -> String {
        format!("{}-frozen", called(self.0))
    }

    fn target(&self) -> Target {
        Target::Service(self.0)
    }

    async fn strike(&self, stage: &Stage, hold: Duration) -> Result<Bite> {
        stage.process(self.0).await.as_ref().context("it ran")?.pause()?;
        // A persister is to be thrown out of its group meanwhile.
        let beyond = if self.0 == Service::Persister { Duration::from_secs(6) } else { Duration::ZERO };
        tokio::time::sleep(hold.max(beyond)).await;
        stage.process(self.0).await.as_ref().context("it ran")?.resume()?;
        Ok(Bite::once("the process stood still"))
    }
}

/// It has to have work, which it has not while Kafka's nodes are restarted on a busy machine.
const ENDED_WITHIN: Duration = Duration::from_secs(100);

/// So many starts it may take a persister to become a member.
const MEMBER_WITHIN: usize = 4;

/// Ends by itself at a place, as a kill would that comes just then.
#[derive(Debug)]
struct KillAt {
    name: &'static str,
    place: &'static str,
    /// The place lies on the way out.
    asked_to_stop: bool,
}

#[async_trait]
impl Fault for KillAt {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn target(&self) -> Target {
        Target::Service(Service::Persister)
    }

    async fn strike(&self, stage: &Stage, _: Duration) -> Result<Bite> {
        let mut running = stage.process(Service::Persister).await;
        running.take().context("it ran")?.kill()?;
        // Not at once: it is to have work behind it. A revoke comes once.
        let skipped = if self.asked_to_stop { "" } else { "3*off->" };
        let spec = stage.persister_that_dies(&format!("{}={skipped}return", self.place));
        let mut doomed = Process::spawn(&spec, Lifetime::Attached)?;
        if self.asked_to_stop {
            // By KIP-848 the name of a member that was killed is refused until its session is over.
            for _ in 0..MEMBER_WITHIN {
                let ready = stage.system.ready(&doomed, &stage.system.persister_admin_url).await;
                if ready.is_ok() || doomed.is_running() {
                    ready?;
                    break;
                }
                doomed = Process::spawn(&spec, Lifetime::Attached)?;
            }
            doomed.signal(nix::sys::signal::Signal::SIGTERM)?;
        }
        let died = stage.ended(&doomed, ENDED_WITHIN).await;
        drop(running);
        stage.start(Service::Persister).await?;
        died?;
        Ok(Bite::once("the process died at its place"))
    }
}
