//! Each link between a service and a store: cut both ways and one way, slow, narrow, reset, a black hole, half closed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;

use super::{Bite, Fault, Target, each};
use crate::chaos::proxy::{Mode, Proxy};
use crate::chaos::stage::{Service, Stage, Store};

const LINKS: [(Service, Store, &str); 6] = [
    (Service::Ingest, Store::Redis, "ingest-redis"),
    (Service::Ingest, Store::Kafka, "ingest-kafka"),
    (Service::Ingest, Store::Database, "ingest-database"),
    (Service::Persister, Store::Redis, "persister-redis"),
    (Service::Persister, Store::Kafka, "persister-kafka"),
    (Service::Persister, Store::Database, "persister-database"),
];

const MODES: [(Mode, &str); 9] = [
    (Mode::Cut, "cut"),
    (Mode::CutThere, "cut-there"),
    (Mode::CutBack, "cut-back"),
    (Mode::Latency(Duration::from_millis(200)), "latency"),
    (Mode::Bandwidth(64_000 / 8), "narrow"),
    (Mode::ResetMidAnswer, "reset-mid-answer"),
    (Mode::BlackHole, "black-hole"),
    (Mode::SlowClose, "slow-close"),
    (Mode::Reset, "reset"),
];

pub(super) fn all() -> Vec<Arc<dyn Fault>> {
    each(LINKS.into_iter().flat_map(|link| MODES.map(|mode| Link { link, mode })))
}

#[derive(Debug)]
struct Link {
    link: (Service, Store, &'static str),
    mode: (Mode, &'static str),
}

#[async_trait]
impl Fault for Link {
    fn name(&self) -> String {
        format!("{}-{}", self.link.2, self.mode.1)
    }

    /// A link is hurt with its store: with two stores away at a time writes are refused, and little is learned.
    fn target(&self) -> Target {
        Target::Store(self.link.1)
    }

    fn weight(&self) -> u32 {
        1
    }

    async fn strike(&self, stage: &Stage, hold: Duration) -> Result<Bite> {
        let (service, store, _) = self.link;
        let links = stage.links(service, store);
        let hurt = || links.iter().map(|link| link.counts().hurt()).sum::<u64>();
        let before = hurt();
        let set = |mode| links.iter().for_each(|link: &&Proxy| link.set(mode));
        set(self.mode.0);
        tokio::time::sleep(hold).await;
        // A link that rests is hurt by nothing: ingest asks the database only now and then.
        let until = tokio::time::Instant::now() + Duration::from_secs(10);
        while hurt() == before && tokio::time::Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        set(Mode::Pass);
        Ok(Bite { what: "bytes and connections were hurt", count: hurt() - before })
    }
}
