//! The admin server: `/livez`, `/readyz`, `/metrics` and a page that shows them. It listens apart from the service's own port, starts
//! first and stops last, so that what happens during a start or a drain can be seen.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, dev::ServerHandle, web};
use serde_json::json;

use crate::{Health, Metrics, Pulses, Readiness, Supervisor, serving};

/// Beyond them a connection waits: nobody but probes and Prometheus comes here.
const CONNECTIONS_MOST: usize = 64;
/// How long answers in progress may take once the process stops.
pub const STOP_BUDGET: Duration = Duration::from_secs(2);

struct Shown {
    service: &'static str,
    health: Arc<Health>,
    metrics: Metrics,
    pulses: Pulses,
}

/// Binds the admin server and runs it until the returned handle stops it. The address actually bound is returned too, for
/// port 0.
///
/// # Errors
/// The address is taken or not ours.
pub fn serve(
    service: &'static str,
    address: SocketAddr,
    health: Arc<Health>,
    metrics: Metrics,
    supervisor: &Supervisor,
) -> std::io::Result<(ServerHandle, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    let bound = listener.local_addr()?;
    let shown = web::Data::new(Shown { service, health, metrics, pulses: supervisor.pulses().clone() });
    let app = move || {
        App::new()
            .app_data(shown.clone())
            .route("/", web::get().to(page))
            .route("/livez", web::get().to(livez))
            .route("/readyz", web::get().to(readyz))
            .route("/metrics", web::get().to(metrics_text))
    };
    let server = HttpServer::new(app)
        .workers(1)
        .max_connections(CONNECTIONS_MOST)
        .shutdown_timeout(STOP_BUDGET.as_secs())
        .disable_signals()
        .listen(listener)?
        .run();
    Ok((serving::supervise("admin", server, supervisor), bound))
}

/// Whether every task gets on. A process that does not ends by itself; this is for whoever looks before it has.
async fn livez(shown: web::Data<Shown>) -> HttpResponse {
    match shown.pulses.stalled() {
        stalled if stalled.is_empty() => HttpResponse::Ok().body("live\n"),
        stalled => HttpResponse::ServiceUnavailable().body(format!("stalled: {}\n", stalled.join(", "))),
    }
}

async fn readyz(shown: web::Data<Shown>, query: web::Query<std::collections::HashMap<String, String>>) -> HttpResponse {
    let readiness = shown.health.readiness();
    let mut answer = match readiness {
        Readiness::Ready | Readiness::Degraded => HttpResponse::Ok(),
        Readiness::NotReady => HttpResponse::ServiceUnavailable(),
    };
    if !query.contains_key("verbose") {
        return answer.body(format!("{}\n", readiness.as_str()));
    }
    let dependencies: serde_json::Map<_, _> = shown
        .health
        .dependencies()
        .map(|(name, up)| (name.to_owned(), json!(if up { "up" } else { "away" })))
        .collect();
    let tasks: serde_json::Map<_, _> =
        shown.pulses.gaits().into_iter().map(|(name, gait)| (name.to_owned(), json!(gait.as_str()))).collect();
    answer.json(json!({ "status": readiness.as_str(), "dependencies": dependencies, "tasks": tasks }))
}

async fn metrics_text(shown: web::Data<Shown>) -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(shown.metrics.render())
}

/// A page for a person with a browser and nothing else: state, and our own metrics, renewed every two seconds.
async fn page(shown: web::Data<Shown>) -> HttpResponse {
    let text = String::from_utf8_lossy(&shown.metrics.render()).into_owned();
    let rows: String = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.contains("_bucket{"))
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, value)| format!("<tr><td>{}</td><td>{value}</td></tr>", escaped(name)))
        .collect();
    let service = shown.service;
    let readiness = shown.health.readiness().as_str();
    let dependencies: String =
        shown.health.dependencies().map(|(name, up)| format!(" {name}: {};", if up { "up" } else { "away" })).collect();
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(format!(
        "<!doctype html><title>{service}</title><meta http-equiv=refresh content=2>\
         <style>body{{font:14px monospace}}td{{padding:0 1em 0 0}}</style>\
         <h1>{service}: {readiness}</h1><p>{dependencies}</p>\
         <p><a href=/readyz?verbose>readyz</a> <a href=/metrics>metrics</a></p><table>{rows}</table>"
    ))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
