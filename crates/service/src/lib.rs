//! What every process stands on: settings, logs, metrics, health, the admin server, failure classes, backoff and the
//! supervisor that names and watches every task. Knows nothing of Redis, Kafka or MySQL; `ingest`, `persister` and the
//! three store crates build on it.

pub mod admin;
pub mod backoff;
pub mod clock;
pub mod fail_points;
pub mod failure;
pub mod health;
pub mod healthcheck;
pub mod metrics;
pub mod process;
pub mod pulse;
pub mod reply;
pub mod schemas;
pub mod serving;
pub mod settings;
pub mod supervisor;
pub mod telemetry;

pub use backoff::Backoff;
pub use failure::FailureClass;
pub use health::{Dependency, Health, Readiness};
pub use metrics::Metrics;
pub use pulse::{Pulse, Pulses};
pub use supervisor::Supervisor;
