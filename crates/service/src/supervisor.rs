//! Every task of a process is spawned here: named, watched, and told to stop. A task that ends before it was asked to
//! ends the process gracefully, since half a service is worse than none.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Spawns and watches the tasks of one process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Supervisor {
    tasks: TaskTracker,
    stopping: CancellationToken,
    failed: Arc<AtomicBool>,
}

impl Default for Supervisor {
    fn default() -> Self {
        Self::new()
    }
}

impl Supervisor {
    /// No tasks yet.
    #[must_use]
    pub fn new() -> Self {
        Self { tasks: TaskTracker::new(), stopping: CancellationToken::new(), failed: Arc::default() }
    }

    /// Becomes cancelled when the process is to stop.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Asks the process to stop.
    pub fn stop(&self) {
        self.stopping.cancel();
    }

    /// Runs a task for the life of the process. It watches [`Supervisor::stopping`]; if it returns or panics before
    /// that, the whole process is asked to stop and [`Supervisor::failed`] becomes true.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns tasks")]
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let watched = tokio::spawn(task);
        let this = self.clone();
        self.tasks.spawn(async move {
            let end = watched.await;
            if this.stopping.is_cancelled() && end.is_ok() {
                return;
            }
            match end {
                Ok(()) => tracing::error!(task = name, "task {name} ended by itself, the process stops"),
                Err(error) => tracing::error!(task = name, %error, "task {name} died, the process stops"),
            }
            this.failed.store(true, Ordering::Relaxed);
            this.stop();
        });
    }

    /// Runs a task that may end at any time, such as a lane; only its panic stops the process.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns tasks")]
    pub fn spawn_passing(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let watched = tokio::spawn(task);
        let this = self.clone();
        self.tasks.spawn(async move {
            if let Err(error) = watched.await {
                tracing::error!(task = name, %error, "task {name} died, the process stops");
                this.failed.store(true, Ordering::Relaxed);
                this.stop();
            }
        });
    }

    /// Did a task end that should not have?
    #[must_use]
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Waits for every task, at most `budget`; says whether all are done.
    pub async fn drained(&self, budget: Duration) -> bool {
        self.tasks.close();
        tokio::time::timeout(budget, self.tasks.wait()).await.is_ok()
    }
}

/// Returns when SIGTERM or SIGINT arrives.
///
/// # Errors
/// The signal handlers cannot be installed.
pub async fn terminated() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_by_itself_stops_the_process() {
        let supervisor = Supervisor::new();
        supervisor.spawn("short", async {});
        supervisor.stopping().cancelled().await;
        assert!(supervisor.drained(Duration::from_secs(5)).await);
        assert!(supervisor.failed());
    }

    #[tokio::test]
    async fn a_task_that_panics_stops_the_process() {
        let supervisor = Supervisor::new();
        supervisor.spawn("doomed", async { panic!("on purpose") });
        supervisor.stopping().cancelled().await;
        assert!(supervisor.drained(Duration::from_secs(5)).await);
        assert!(supervisor.failed());
    }

    #[tokio::test]
    async fn tasks_that_end_when_asked_are_no_failure() {
        let supervisor = Supervisor::new();
        let stopping = supervisor.stopping();
        supervisor.spawn("patient", async move { stopping.cancelled().await });
        supervisor.stop();
        assert!(supervisor.drained(Duration::from_secs(5)).await);
        assert!(!supervisor.failed());
    }
}
