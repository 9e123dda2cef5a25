//! Rate, errors and duration of every route.

use std::time::Instant;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web::Data;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts};
use service::Metrics;
use service::metrics::CALL_SECONDS;

use super::{Connections, Room};

/// Under the names that the field has settled, without our prefix.
#[derive(Clone, Debug)]
pub(crate) struct HttpMetrics {
    requests: IntCounterVec,
    duration: HistogramVec,
    connections: IntGauge,
}

impl HttpMetrics {
    #[expect(clippy::expect_used, reason = "names and labels are constants")]
    pub(crate) fn new(metrics: &Metrics, in_progress: Room) -> Self {
        let labels = &["route", "method", "status"];
        let requests = Opts::new("http_requests_total", "Requests answered");
        let duration = HistogramOpts::new("http_request_duration_seconds", "From a request's head to its answer's")
            .buckets(CALL_SECONDS.to_vec());
        let this = Self {
            requests: IntCounterVec::new(requests, labels).expect("valid names"),
            duration: HistogramVec::new(duration, labels).expect("valid names"),
            connections: IntGauge::new("http_connections", "Connections being served; at most --connections-most")
                .expect("a valid name"),
        };
        metrics.collector(this.requests.clone());
        metrics.collector(this.duration.clone());
        metrics.collector(this.connections.clone());
        let in_flight = Opts::new("http_requests_in_flight", "Requests from head to answer; at most --in-flight-most");
        metrics.asked_as(in_flight, move || in_progress.taken());
        this
    }

    pub(crate) fn connections(&self) -> Connections {
        Connections(self.connections.clone())
    }
}

/// Only known methods become labels: the set must stay closed.
fn method(request: &ServiceRequest) -> &'static str {
    match request.method().as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

pub(crate) async fn measured(
    metrics: Data<HttpMetrics>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let begun = Instant::now();
    let method = method(&request);
    let route = request.match_pattern().unwrap_or_else(|| "none".to_owned());
    let response = next.call(request).await?;
    let status = response.status();
    let labels = [route.as_str(), method, status.as_str()];
    metrics.requests.with_label_values(&labels).inc();
    metrics.duration.with_label_values(&labels).observe(begun.elapsed().as_secs_f64());
    Ok(response)
}
