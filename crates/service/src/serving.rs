//! An HTTP server as a supervised task: it ends when its handle stops it, in its phase of the shutdown.

use actix_web::dev::{Server, ServerHandle};

use crate::Supervisor;

/// Runs `server` for the life of the process.
pub fn supervise(name: &'static str, server: Server, supervisor: &Supervisor) -> ServerHandle {
    let handle = server.handle();
    let stopping = supervisor.stopping();
    supervisor.spawn(name, async move {
        match server.await {
            // Stopped on purpose; the other tasks may still be at work.
            Ok(()) => stopping.cancelled().await,
            Err(error) => tracing::error!(%error, server = name, "a server ended"),
        }
    });
    handle
}
