//! The process as a whole: what it is built of, in which order it starts, and in which it stops.
//!
//! Start: admin server, tasks, HTTP. Each store may be away. Stop: readiness falls, HTTP drains, what is queued goes out,
//! tasks end, the admin server last.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::{Condition, from_fn};
use actix_web::{App as HttpApp, HttpServer, web};
use anyhow::Context;
use rustls::ServerConfig;
use service::{Health, Metrics, Supervisor, admin, process, reply, schemas, serving};
use socket2::SockRef;
use tokio::net::TcpSocket;
use topic::Publisher;

use crate::callers::Callers;
use crate::http::{self, Front, HttpMetrics, InProgress, Problem, Room};
use crate::parts;
use crate::settings::Settings;
use crate::slot::{self, InstanceSlot};
use crate::tls;

/// How long requests in progress may take once the process is to stop.
pub(crate) const HTTP_BUDGET_SECONDS: u64 = 15;
/// How long a client may still send of a body that nobody reads, once it is answered.
const UNREAD_BUDGET: Duration = Duration::from_secs(1);
/// How long the producer may take to deliver what it has.
const FLUSH_BUDGET: Duration = Duration::from_secs(10);
/// How long tasks may take to end.
const TASKS_BUDGET: Duration = Duration::from_secs(5);

/// How long a stop in order takes at most.
pub(crate) fn stop_budgets(stop_delay: Duration) -> Duration {
    let budgets = [Duration::from_secs(HTTP_BUDGET_SECONDS), FLUSH_BUDGET, admin::STOP_BUDGET, TASKS_BUDGET];
    stop_delay.saturating_add(budgets.iter().sum::<Duration>() + process::LINGER)
}

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
    stop_delay: Duration,
    stop_within: Duration,
}

impl App {
    /// Builds everything and starts it. The settings have been looked at: [`Settings::findings`].
    ///
    /// # Errors
    /// Schemas at fault, or a port that is taken. A store that is away is no error.
    pub fn build(settings: Settings) -> anyhow::Result<Self> {
        let catalog = Arc::new(schemas::load(&settings.process.schemas_dir)?);
        let listener = listen(&settings).with_context(|| format!("--listen {}", settings.listen))?;
        let address = listener.local_addr()?;
        let metrics = Metrics::new();
        let health = Arc::new(Health::new(&metrics, &["redis", "kafka", "mysql"], &["redis", "kafka"]));
        let supervisor = Supervisor::new();
        let (admin, admin_address) =
            admin::serve("ingest", settings.admin.admin_listen, Arc::clone(&health), metrics.clone(), &supervisor)
                .with_context(|| format!("--admin-listen {}", settings.admin.admin_listen))?;
        let (stop_delay, stop_within) = (settings.stop_delay_ms, settings.stop_within_ms);
        supervisor.watch(settings.stall_after_ms, stop_within, &metrics)?;
        let front = parts::start(&settings, slot::identity(admin_address), &catalog, &metrics, &health, &supervisor)?;
        let publisher = front.writes.publisher.clone();
        let slot = Arc::clone(&front.writes.away.slot);
        let requests = Room::new(settings.in_flight_most);
        let doors = Doors {
            callers: Callers::supervise(&settings.callers, &catalog, &metrics, &supervisor)?,
            health: Arc::clone(&health),
            metrics: HttpMetrics::new(&metrics, requests.clone()),
            requests,
            tls: tls::supervise(&settings.tls, &metrics, &supervisor)?,
        };
        let http = server(&settings, front, doors, listener)?;
        // Before anybody is answered: who asks while nothing is served is told that it ends.
        health.set_serving(true);
        let http = serving::supervise("http", http, &supervisor);
        tracing::info!(%address, admin = %admin_address, "ingest takes records");
        Ok(Self { supervisor, health, publisher, slot, http, admin, address, admin_address, stop_delay, stop_within })
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
        self.supervisor.until_to_stop(self.stop_within).await?;
        self.health.set_serving(false);
        tokio::time::sleep(self.stop_delay).await;
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

/// Binds, with bounds for the connections that nobody has accepted yet, and for how long the system keeps what a client does not
/// read.
fn listen(settings: &Settings) -> std::io::Result<TcpListener> {
    let address = settings.listen;
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As the standard library's own: a port that was in use a moment ago is ours again.
    socket.set_reuseaddr(true)?;
    // Whoever is accepted has it from here.
    SockRef::from(&socket).set_tcp_user_timeout(Some(settings.client_stall_ms))?;
    socket.bind(address)?;
    socket.listen(settings.connections_waiting_most)?.into_std()
}

/// What every request passes, whatever its route.
struct Doors {
    callers: Arc<Callers>,
    health: Arc<Health>,
    metrics: HttpMetrics,
    requests: Room,
    tls: Option<ServerConfig>,
}

fn server(settings: &Settings, front: Front, doors: Doors, listener: TcpListener) -> std::io::Result<Server> {
    let front = Arc::new(front);
    let connections = doors.metrics.connections();
    let (callers, health) = (web::Data::from(doors.callers), web::Data::from(doors.health));
    let (metrics, requests) = (web::Data::new(doors.metrics), web::Data::new(InProgress(doors.requests)));
    let (aliases, origins) = (settings.route_alias.clone(), settings.cors_origins.clone());
    let app = move || {
        reply::gather();
        HttpApp::new()
            .app_data(metrics.clone())
            .app_data(health.clone())
            .app_data(requests.clone())
            .app_data(callers.clone())
            // Whatever stands further down is passed earlier.
            .wrap(from_fn(http::limited))
            .wrap(from_fn(http::authenticated))
            .wrap(from_fn(http::admitted))
            .wrap(Condition::new(!origins.is_empty(), http::cors(&origins)))
            .wrap(from_fn(http::told))
            .wrap(from_fn(http::farewell))
            .wrap(from_fn(http::edge))
            // Of all the outermost: it holds the body of the request until the answer, which the edge may have made anew, is out.
            .wrap(from_fn(http::unread))
            .configure(http::routes(Arc::clone(&front), &aliases))
            .default_service(web::to(|| async { Problem::no_route() }))
    };
    let server = HttpServer::new(app)
        .workers(settings.http_workers)
        .max_connections(settings.connections_most / settings.http_workers.max(1))
        // The lines of a bulk's answer go out as they come.
        .tcp_nodelay(true)
        .client_request_timeout(settings.head_deadline_ms)
        .client_disconnect_timeout(UNREAD_BUDGET)
        .tls_handshake_timeout(settings.tls.tls_handshake_ms)
        .on_connect(move |_, extensions| drop(extensions.insert(connections.open())))
        .shutdown_timeout(HTTP_BUDGET_SECONDS)
        .disable_signals();
    let server = match doors.tls {
        Some(tls) => server.listen_rustls_0_23(listener, tls)?,
        None => server.listen(listener)?,
    };
    Ok(server.run())
}
