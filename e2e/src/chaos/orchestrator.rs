//! What an orchestrator does in a round: a service that ended by itself is started again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stack::Process;
use tokio::task::JoinHandle;

use super::stage::{Service, Stage};

/// At work until it is dropped. What a fault has killed, the fault starts.
#[derive(Debug)]
pub(super) struct Orchestrator {
    working: JoinHandle<()>,
    ended: Arc<Mutex<Vec<Service>>>,
}

impl Orchestrator {
    #[expect(clippy::disallowed_methods, reason = "the orchestrator's drop ends the task")]
    pub(super) fn of(stage: &Arc<Stage>) -> Self {
        let ended = Arc::default();
        let working = tokio::spawn(work(Arc::clone(stage), Arc::clone(&ended)));
        Self { working, ended }
    }

    /// Which it has started again, in their order.
    pub(super) fn started(&self) -> Vec<Service> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Orchestrator {
    fn drop(&mut self) {
        self.working.abort();
    }
}

async fn work(stage: Arc<Stage>, ended: Arc<Mutex<Vec<Service>>>) {
    loop {
        for service in [Service::Ingest, Service::Persister] {
            let has_ended = stage.process(service).await.as_ref().is_some_and(|process| !Process::is_running(process));
            // One that does not start is tried again.
            if has_ended && stage.start(service).await.is_ok() {
                ended.lock().unwrap_or_else(PoisonError::into_inner).push(service);
            }
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}
