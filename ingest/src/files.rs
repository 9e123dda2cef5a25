//! Files that change while ingest runs: each is looked at every second, and what is wrong with one later changes nothing.

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntGauge;
use service::{Pulse, Supervisor};
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(1);

/// What one or more files hold together.
pub(crate) struct Kept<T> {
    /// The task's.
    pub(crate) name: &'static str,
    /// Reads and checks all of it; the fault is for a person, and names the setting.
    pub(crate) load: Arc<dyn Fn() -> Result<T, String> + Send + Sync>,
    /// Puts it in force.
    pub(crate) take: Box<dyn Fn(T) + Send + Sync>,
    /// 1 while the files are at fault.
    pub(crate) faulty: IntGauge,
}

impl<T: Clone + PartialEq + Send + Sync + 'static> Kept<T> {
    /// Puts in force what the files hold, and from then on whatever else they hold.
    ///
    /// # Errors
    /// They are at fault now.
    pub(crate) fn supervise(self, supervisor: &Supervisor) -> anyhow::Result<()> {
        let held = (self.load)().map_err(anyhow::Error::msg)?;
        (self.take)(held.clone());
        let (name, pulse) = (self.name, supervisor.pulse(self.name));
        supervisor.spawn(name, self.watch(held, supervisor.stopping(), pulse));
        Ok(())
    }

    async fn watch(self, mut held: T, stopping: CancellationToken, pulse: Pulse) {
        // Each fault is told once.
        let mut told = None;
        while stopping.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            pulse.beat();
            let load = Arc::clone(&self.load);
            let loaded = tokio::task::spawn_blocking(move || load()).await;
            match loaded.unwrap_or_else(|error| Err(error.to_string())) {
                Ok(found) => {
                    self.faulty.set(0);
                    told = None;
                    if found != held {
                        held = found.clone();
                        (self.take)(found);
                    }
                }
                Err(fault) => {
                    self.faulty.set(1);
                    if told.as_ref() != Some(&fault) {
                        tracing::error!("{fault}: what was there before stays in force");
                        told = Some(fault);
                    }
                }
            }
            pulse.rest();
        }
    }
}
