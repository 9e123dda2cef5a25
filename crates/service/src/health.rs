//! Which of the stores a process can reach, and whether that is enough to be ready. `/readyz` and the metric
//! `write_behind_dependency_up` show the same state.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::IntGauge;
use tokio::sync::watch;

use crate::Metrics;

/// A server that the process talks to.
#[derive(Clone, Debug)]
pub struct Dependency {
    name: &'static str,
    gauge: IntGauge,
    /// Why it is away, as last logged; `None` while it answers.
    reason: Arc<Mutex<Option<String>>>,
}

impl Dependency {
    fn new(name: &'static str, gauge: IntGauge) -> Self {
        Self { name, gauge, reason: Arc::new(Mutex::new(Some(String::new()))) }
    }

    fn known(&self) -> MutexGuard<'_, Option<String>> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the server answered.
    pub fn answers(&self) {
        self.gauge.set(1);
        if self.known().take().is_some() {
            tracing::info!(dependency = self.name, "{} answers", self.name);
        }
    }

    /// Notes that the server did not answer, or refused. Each reason is logged once: a wrong password has to be seen, and
    /// an outage is not to be told every second.
    pub fn away(&self, reason: impl std::fmt::Display) {
        self.gauge.set(0);
        let reason = reason.to_string();
        let mut known = self.known();
        if known.as_ref() != Some(&reason) {
            tracing::warn!(dependency = self.name, reason, "{} is away: {reason}", self.name);
            *known = Some(reason);
        }
    }

    /// Did the server answer when it was last asked?
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.gauge.get() == 1
    }
}

/// What `/readyz` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// All is there.
    Ready,
    /// Work is accepted although a dependency is away: 200, or an orchestrator would take every instance away at once.
    Degraded,
    /// No work can be accepted, or the process is starting or stopping: 503.
    NotReady,
}

impl Readiness {
    /// The word in the answer.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::NotReady => "not ready",
        }
    }
}

/// The health of a process: its dependencies and whether it is serving at all.
#[derive(Debug)]
pub struct Health {
    serving: watch::Sender<bool>,
    dependencies: BTreeMap<&'static str, Dependency>,
    enough: &'static [&'static str],
}

impl Health {
    /// Registers a gauge for each of `names`; nothing is up and nothing is served yet. While none of `enough` is up the
    /// process is not ready; without any other it is degraded. An empty `enough` asks for nothing.
    #[must_use]
    pub fn new(metrics: &Metrics, names: &[&'static str], enough: &'static [&'static str]) -> Self {
        let up =
            metrics.gauge_vec("dependency_up", "1 while the dependency answers, 0 while it does not", &["dependency"]);
        let dependency = |&name| {
            let gauge = up.with_label_values(&[name]);
            (name, Dependency::new(name, gauge))
        };
        Self { serving: watch::Sender::new(false), dependencies: names.iter().map(dependency).collect(), enough }
    }

    /// The handle through which a store's owner reports; `None` for a name that was not given to [`Health::new`].
    #[must_use]
    pub fn dependency(&self, name: &str) -> Option<Dependency> {
        self.dependencies.get(name).cloned()
    }

    /// Whether the process accepts work: set once it listens, and cleared first of all when it stops.
    pub fn set_serving(&self, serving: bool) {
        self.serving.send_replace(serving);
    }

    /// Whether the process accepts work.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        *self.serving.borrow()
    }

    /// Returns as soon as the process accepts no work.
    pub async fn until_not_serving(&self) {
        // Its other end lives as long as we do.
        drop(self.serving.subscribe().wait_for(|serving| !serving).await);
    }

    /// The state right now.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let up = |name: &&'static str| self.dependencies.get(name).is_some_and(Dependency::is_up);
        let enough = self.enough.is_empty() || self.enough.iter().any(up);
        if !self.is_serving() || !enough {
            Readiness::NotReady
        } else if self.dependencies.values().all(Dependency::is_up) {
            Readiness::Ready
        } else {
            Readiness::Degraded
        }
    }

    /// Each dependency and whether it is up, by name.
    pub fn dependencies(&self) -> impl Iterator<Item = (&'static str, bool)> + '_ {
        self.dependencies.iter().map(|(name, dependency)| (*name, dependency.is_up()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g5_ready_is_who_can_accept_work_with_any_one_store_away() {
        let (redis, kafka, mysql) = ("redis", "kafka", "mysql");
        for up in [&[][..], &[redis], &[kafka], &[mysql], &[redis, kafka], &[redis, mysql], &[kafka, mysql]] {
            let health = Health::new(&Metrics::new(), &[redis, kafka, mysql], &["redis", "kafka"]);
            health.set_serving(true);
            up.iter().for_each(|name| health.dependency(name).unwrap().answers());
            let accepts = up.contains(&redis) || up.contains(&kafka);
            let said = if accepts { Readiness::Degraded } else { Readiness::NotReady };
            assert_eq!(health.readiness(), said, "with {up:?}");
            health.set_serving(false);
            assert_eq!(health.readiness(), Readiness::NotReady, "it is to stop");
        }
    }
}
