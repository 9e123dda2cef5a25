//! Every task of a process is spawned here: named, watched, and told to stop. A task that ends before it was asked to, or
//! stands still, ends the process gracefully, since half a service is worse than none.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::pulse::{Pulse, Pulses, TasksStalled};
use crate::{Metrics, fail_points, process};

/// Ticks of the watch in the budget of a task.
const TICKS: u32 = 20;

/// Spawns and watches the tasks of one process, or those of one phase of its end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Supervisor {
    tasks: TaskTracker,
    stopping: CancellationToken,
    /// Of the process as a whole: a task has failed, and the process is to stop in its order.
    ending: CancellationToken,
    failed: Arc<AtomicBool>,
    pulses: Pulses,
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
        Self {
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            ending: CancellationToken::new(),
            failed: Arc::default(),
            pulses: Pulses::new(u64::from(TICKS)),
        }
    }

    /// A supervisor of the same process whose tasks are stopped at another time.
    #[must_use]
    pub fn phase(&self) -> Self {
        Self { tasks: TaskTracker::new(), stopping: CancellationToken::new(), ..self.clone() }
    }

    /// Becomes cancelled when the tasks are to stop.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Asks the tasks to stop.
    pub fn stop(&self) {
        self.stopping.cancel();
    }

    /// Becomes cancelled when a task has failed: whoever runs the process then stops it in its order.
    #[must_use]
    pub fn ending(&self) -> CancellationToken {
        self.ending.clone()
    }

    /// Runs a task for the life of the process. It watches [`Supervisor::stopping`]; if it returns or panics before
    /// that, the whole process is asked to end and [`Supervisor::failed`] becomes true.
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
            this.fail();
        });
    }

    /// Runs a task that may end at any time, such as a lane; only its panic ends the process.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns tasks")]
    pub fn spawn_passing(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let watched = tokio::spawn(task);
        let this = self.clone();
        self.tasks.spawn(async move {
            if let Err(error) = watched.await {
                tracing::error!(task = name, %error, "task {name} died, the process stops");
                this.fail();
            }
        });
    }

    /// The sign of life of a task.
    #[must_use]
    pub fn pulse(&self, name: &'static str) -> Pulse {
        self.pulses.of(name)
    }

    /// How every task with a pulse gets on.
    #[must_use]
    pub fn pulses(&self) -> &Pulses {
        &self.pulses
    }

    /// Asks the process to end when a task is at work and has not beaten for longer than `stall_after`. Once that is so, it has
    /// `end_within` to end in its order, and no longer. On a plain thread: a runtime whose workers are all blocked would
    /// not notice; the pulse `runtime` tells of that.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn watch(&self, stall_after: Duration, end_within: Duration, metrics: &Metrics) -> std::io::Result<()> {
        metrics.collector(TasksStalled::new(self.pulses.clone()));
        let tick = stall_after / TICKS;
        let (runtime, stopping) = (self.pulse("runtime"), self.stopping.clone());
        self.spawn("runtime", async move {
            while !stopping.is_cancelled() {
                runtime.beat();
                tokio::select! {
                    () = tokio::time::sleep(tick) => {}
                    () = stopping.cancelled() => {}
                }
            }
        });
        let this = self.clone();
        let watch = move || {
            loop {
                std::thread::sleep(tick);
                this.pulses.tick();
                let stalled = this.pulses.stalled();
                if !stalled.is_empty() {
                    let tasks = stalled.join(", ");
                    tracing::error!(tasks, "nothing was heard of {tasks} for {stall_after:?}, the process stops");
                    this.fail();
                    return process::end_within(end_within);
                }
            }
        };
        std::thread::Builder::new().name("watch".to_owned()).spawn(watch).map(drop)
    }

    fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
        self.ending.cancel();
    }

    /// Did a task end or stand still that should not have? The same for all phases of the process.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Waits for every task, at most `budget`; says whether all are done.
    pub async fn drained(&self, budget: Duration) -> bool {
        self.tasks.close();
        tokio::time::timeout(budget, self.tasks.wait()).await.is_ok()
    }

    /// Returns when the process is to stop: SIGTERM, SIGINT, or a task that failed. From then on it has `within` to stop in its
    /// order; after that, and at a second signal, it ends as it is: whatever dies at any moment loses nothing.
    ///
    /// # Errors
    /// The signal handlers cannot be installed.
    #[expect(clippy::disallowed_methods, reason = "nobody waits for the second signal")]
    pub async fn until_to_stop(&self, within: Duration) -> std::io::Result<()> {
        tokio::select! {
            signal = terminated() => signal?,
            () = self.ending.cancelled() => {}
        }
        std::thread::Builder::new().name("deadline".to_owned()).spawn(move || process::end_within(within))?;
        tokio::spawn(async {
            if terminated().await.is_ok() {
                process::end("asked to stop a second time");
            }
        });
        fail_points::reached(fail_points::STOP_BEGUN);
        Ok(())
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
    async fn a_task_that_ends_by_itself_ends_the_process() {
        let supervisor = Supervisor::new();
        supervisor.spawn("short", async {});
        supervisor.ending().cancelled().await;
        assert!(supervisor.drained(Duration::from_secs(5)).await);
        assert!(supervisor.failed());
    }

    #[tokio::test]
    async fn a_task_that_panics_ends_the_process() {
        let supervisor = Supervisor::new();
        supervisor.spawn("doomed", async { panic!("on purpose") });
        supervisor.ending().cancelled().await;
        assert!(supervisor.drained(Duration::from_secs(5)).await);
        assert!(supervisor.failed());
    }

    #[tokio::test]
    async fn a_task_that_fails_in_one_phase_ends_the_process_and_leaves_the_order_of_the_end_to_it() {
        let supervisor = Supervisor::new();
        let phase = supervisor.phase();
        let stopping = supervisor.stopping();
        supervisor.spawn("patient", async move { stopping.cancelled().await });
        phase.spawn_passing("doomed", async { panic!("on purpose") });
        supervisor.ending().cancelled().await;
        assert!(supervisor.failed() && phase.failed());
        assert!(!supervisor.drained(Duration::from_millis(50)).await, "a task was stopped before its phase");
        supervisor.stop();
        assert!(supervisor.drained(Duration::from_secs(5)).await);
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

    #[tokio::test]
    async fn a_task_that_stands_still_ends_the_process_and_one_that_waits_for_work_does_not() {
        let (supervisor, metrics) = (Supervisor::new(), Metrics::new());
        let (still, waiting) = (supervisor.pulse("still"), supervisor.pulse("waiting"));
        waiting.rest();
        supervisor.watch(Duration::from_millis(100), Duration::from_secs(3600), &metrics).unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!supervisor.failed(), "nothing stalls: {:?}", supervisor.pulses().gaits());
        still.beat();
        tokio::time::timeout(Duration::from_secs(5), supervisor.ending().cancelled()).await.expect("a stall is seen");
        assert_eq!(supervisor.pulses().stalled(), ["still"]);
        let text = String::from_utf8(metrics.render()).unwrap();
        assert!(text.contains("write_behind_tasks_stalled{task=\"still\"} 1"), "{text}");
        assert!(text.contains("write_behind_tasks_stalled{task=\"waiting\"} 0"), "{text}");
    }
}
