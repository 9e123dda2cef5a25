//! The process as a whole: what it is built of, in which order it starts, and in which it stops.
//!
//! Start: admin server, tasks, HTTP. Each store may be away. Stop: readiness falls, HTTP drains, what is queued goes out,
//! tasks end, the admin server last.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::from_fn;
use actix_web::{App as HttpApp, HttpServer, web};
use anyhow::Context;
use service::{Health, Metrics, Supervisor, admin, schemas, serving, supervisor};
use topic::Publisher;

use crate::http::{self, Front, HttpMetrics, Problem};
use crate::parts;
use crate::settings::Settings;
use crate::slot::InstanceSlot;

/// How long requests in progress may take once the process is to stop.
pub(crate) const HTTP_BUDGET_SECONDS: u64 = 15;
/// How long the producer may take to deliver what it has.
const FLUSH_BUDGET: Duration = Duration::from_secs(10);
/// How long tasks may take to end.
const TASKS_BUDGET: Duration = Duration::from_secs(5);
/// ingest, built and listening.
#[derive(Debug)]
pub struct App {
    supervisor: Supervisor,
    health: Arc<Health>,
    publisher: Publisher,
    slot: Arc<InstanceSlot>,
    http: ServerHandle,
    admin: ServerHandle,
    address: SocketAddr,
    admin_address: SocketAddr,
}

impl App {
    /// Builds everything and starts it. The settings have been looked at: [`Settings::findings`].
    ///
    /// # Errors
    /// Schemas at fault, or a port that is taken. A store that is away is no error.
    pub fn build(settings: Settings) -> anyhow::Result<Self> {
        let catalog = Arc::new(schemas::load(&settings.process.schemas_dir)?);
        let listener = TcpListener::bind(settings.listen).with_context(|| format!("--listen {}", settings.listen))?;
        let address = listener.local_addr()?;
        let metrics = Metrics::new();
        let health = Arc::new(Health::new(&metrics, &["redis", "kafka", "mysql"], &["redis"]));
        let supervisor = Supervisor::new();
        let (admin, admin_address) =
            admin::serve("ingest", settings.admin.admin_listen, Arc::clone(&health), metrics.clone(), &supervisor)
                .with_context(|| format!("--admin-listen {}", settings.admin.admin_listen))?;
        let front = parts::start(&settings, &catalog, &metrics, &health, &supervisor)?;
        let publisher = front.writes.publisher.clone();
        let slot = Arc::clone(&front.writes.away.slot);
        let http =
            serving::supervise("http", server(&settings, front, HttpMetrics::new(&metrics), listener)?, &supervisor);
        health.set_serving(true);
        tracing::info!(%address, admin = %admin_address, "ingest takes records");
        Ok(Self { supervisor, health, publisher, slot, http, admin, address, admin_address })
    }

    /// Where records are taken.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where health and metrics are shown.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Serves until SIGTERM or SIGINT arrives or a task fails, then stops in order.
    ///
    /// # Errors
    /// A task failed, or something did not end within its budget.
    pub async fn run_until_stopped(self) -> anyhow::Result<()> {
        let stopping = self.supervisor.stopping();
        tokio::select! {
            signal = supervisor::terminated() => signal?,
            () = stopping.cancelled() => {}
        }
        self.health.set_serving(false);
        self.http.stop(true).await;
        let publisher = self.publisher;
        let flushed = tokio::task::spawn_blocking(move || publisher.flush(FLUSH_BUDGET)).await?;
        if let Err(error) = flushed {
            tracing::warn!(%error, "events are still on their way; their records stay in the outbox for the relay");
        }
        // While Redis still can be asked.
        self.slot.give_back().await;
        self.supervisor.stop();
        self.admin.stop(true).await;
        anyhow::ensure!(self.supervisor.drained(TASKS_BUDGET).await, "tasks did not end in time");
        anyhow::ensure!(!self.supervisor.failed(), "a task failed");
        tracing::info!("ingest has stopped");
        Ok(())
    }
}

fn server(settings: &Settings, front: Front, metrics: HttpMetrics, listener: TcpListener) -> std::io::Result<Server> {
    let front = Arc::new(front);
    let metrics = web::Data::new(metrics);
    let aliases = settings.route_alias.clone();
    let app = move || {
        HttpApp::new()
            .app_data(metrics.clone())
            .wrap(from_fn(http::measured))
            .configure(http::routes(Arc::clone(&front), &aliases))
            .default_service(web::to(|| async { Problem::no_route() }))
    };
    let server = HttpServer::new(app)
        .workers(settings.http_workers)
        .shutdown_timeout(HTTP_BUDGET_SECONDS)
        .disable_signals()
        .listen(listener)?;
    Ok(server.run())
}
