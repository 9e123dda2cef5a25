//! JSON logs on stderr, one event a line. A message is readable alone and carries the same names as fields; no record
//! content ever goes into a log.

use tracing_subscriber::EnvFilter;

/// Installs the logger; `filter` as in `RUST_LOG` (`info`, `persister=debug,warn`).
///
/// # Errors
/// A filter that does not parse, or a logger that is installed already.
pub fn init(filter: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_writer(std::io::stderr)
        .with_env_filter(EnvFilter::try_new(filter)?)
        .try_init()
}
