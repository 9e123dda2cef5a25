//! The registry of one process. Every name gets the prefix `write_behind_` here, so that no caller can forget it;
//! the two families whose names the field has settled (`http_*`, `kafka_consumergroup_lag`) are registered bare.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

/// Registers metrics and renders them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
}

/// Two registrations of one name are a programming error that the first start of the process shows.
const UNIQUE: &str = "metric names are unique and valid";

#[expect(clippy::expect_used, reason = "a wrong or repeated metric name cannot depend on input")]
impl Metrics {
    /// An empty registry with the process' own metrics (CPU, memory, descriptors).
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let process = prometheus::process_collector::ProcessCollector::for_self();
        registry.register(Box::new(process)).expect(UNIQUE);
        Self { registry }
    }

    fn register<C: Collector + Clone + 'static>(&self, collector: Result<C, prometheus::Error>) -> C {
        let collector = collector.expect(UNIQUE);
        self.registry.register(Box::new(collector.clone())).expect(UNIQUE);
        collector
    }

    /// A counter; `name` without prefix, with `_total`.
    #[must_use]
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::with_opts(prefixed(name, help)))
    }

    /// Counters by label.
    #[must_use]
    pub fn counter_vec(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(prefixed(name, help), labels))
    }

    /// A whole-numbered gauge.
    #[must_use]
    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::with_opts(prefixed(name, help)))
    }

    /// A gauge of seconds or another fraction.
    #[must_use]
    pub fn float_gauge(&self, name: &str, help: &str) -> Gauge {
        self.register(Gauge::with_opts(prefixed(name, help)))
    }

    /// Gauges by label.
    #[must_use]
    pub fn gauge_vec(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(prefixed(name, help), labels))
    }

    /// A histogram with the given bucket bounds.
    #[must_use]
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let opts = HistogramOpts { common_opts: prefixed(name, help), buckets: buckets.to_vec() };
        self.register(Histogram::with_opts(opts))
    }

    /// Histograms by label.
    #[must_use]
    pub fn histogram_vec(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        let opts = HistogramOpts { common_opts: prefixed(name, help), buckets: buckets.to_vec() };
        self.register(HistogramVec::new(opts, labels))
    }

    /// A gauge that is asked when it is scraped: of what a loop would show too late, or not at all while it waits.
    pub fn asked(&self, name: &str, help: &str, value: impl Fn() -> usize + Send + Sync + 'static) {
        self.asked_as(prefixed(name, help), value);
    }

    /// The same, under a name of the field's own.
    pub fn asked_as(&self, opts: Opts, value: impl Fn() -> usize + Send + Sync + 'static) {
        let gauge = IntGauge::with_opts(opts).expect(UNIQUE);
        self.collector(Asked { gauge, value });
    }

    /// Registers a collector that computes its values when it is scraped, or one with a name of the field's own.
    pub fn collector(&self, collector: impl Collector + 'static) {
        self.registry.register(Box::new(collector)).expect(UNIQUE);
    }

    /// The text format of Prometheus.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut out) {
            tracing::error!(%error, "metrics could not be rendered");
        }
        out
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

struct Asked<F> {
    gauge: IntGauge,
    value: F,
}

impl<F: Fn() -> usize + Send + Sync> Collector for Asked<F> {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gauge.set(i64::try_from((self.value)()).unwrap_or(i64::MAX));
        self.gauge.collect()
    }
}

/// Name and help with the prefix of all our metrics.
#[must_use]
pub fn prefixed(name: &str, help: &str) -> Opts {
    Opts::new(format!("write_behind_{name}"), help)
}

/// Bounds in seconds from 1 ms to 10 min: a write lag is milliseconds on a good day and minutes in an outage.
pub const LAG_SECONDS: &[f64] =
    &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// Bounds in seconds from 0.1 ms to 10 s: one call to a server, one request.
pub const CALL_SECONDS: &[f64] =
    &[0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
