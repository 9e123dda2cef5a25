//! Rate, errors and duration of every route.

use std::time::Duration;

use actix_web::http::StatusCode;
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

    /// `route` and `method` are of closed sets.
    pub(super) fn answered(&self, route: &str, method: &str, status: StatusCode, took: Duration) {
        let labels = [route, method, status.as_str()];
        self.requests.with_label_values(&labels).inc();
        self.duration.with_label_values(&labels).observe(took.as_secs_f64());
    }

    pub(crate) fn connections(&self) -> Connections {
        Connections(self.connections.clone())
    }
}
