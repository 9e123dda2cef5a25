//! Settings that every process has, the value types that flags are made of, and what is done with every setting alike:
//! read from flag, environment or file ([`mod@read`]), checked all at once ([`findings`]), printed ([`mod@print`]).
//!
//! A setting is a flag and an environment variable of the same name; units stand in the name at this edge and are
//! `Duration` inside. All of it works on clap's definitions: a new flag needs nothing but its definition.

mod environment;
pub mod findings;
pub mod print;
pub mod read;
mod secret;
mod setting;
#[cfg(test)]
mod tests;
pub mod tls;

use std::path::PathBuf;
use std::time::Duration;

pub use environment::Environment;
pub use findings::Findings;
pub use secret::{Secrecy, Secret, ServerUrl, is_secret_name};
pub use setting::{Setting, Source, is_family};
use tracing_subscriber::EnvFilter;

/// Settings of logs and schemas, and what can be asked about all settings instead of a start.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Process")]
pub struct ProcessSettings {
    /// Which log events are written, in the syntax of `RUST_LOG`.
    #[arg(long, env = "RUST_LOG", default_value = "info", value_parser = filter)]
    pub log: String,

    /// The folder with `<entity>/v<N>.avsc` and `ids.json`.
    #[arg(long, env = "SCHEMAS_DIR", default_value = "schemas")]
    pub schemas_dir: PathBuf,

    /// Say everything that is wrong with the settings and the schemas, connect to nothing, and exit: 0 if all is sound,
    /// else 2.
    #[arg(long)]
    pub check_config: bool,

    /// Print every setting with its value and where it comes from, without secrets, as an environment file, and exit.
    #[arg(long)]
    pub print_config: bool,
}

/// No setting is longer, so that no sum of a time and a setting overflows.
const CENTURY: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// Parses a number of milliseconds.
///
/// # Errors
/// Anything that is not a whole number from 1 on.
pub fn millis(text: &str) -> Result<Duration, String> {
    span(text, Duration::from_millis, "milliseconds")
}

/// Parses a number of seconds.
///
/// # Errors
/// Anything that is not a whole number from 1 on.
pub fn seconds(text: &str) -> Result<Duration, String> {
    span(text, Duration::from_secs, "seconds")
}

fn span(text: &str, of: fn(u64) -> Duration, unit: &str) -> Result<Duration, String> {
    let parsed = text.parse().ok().map(of).filter(|span| !span.is_zero() && *span <= CENTURY);
    parsed.ok_or_else(|| format!("expected a whole number of {unit}, at least 1 and at most a century"))
}

/// Is this host the machine itself?
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    address.map_or(host == "localhost", |address| address.is_loopback())
}

fn filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| format!("no filter of log events: {error}"))
}
