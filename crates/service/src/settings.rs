//! Settings that every process has, and the value types that flags are made of. A setting is a flag and an environment
//! variable of the same name; units stand in the name at this edge and are `Duration` inside.

use std::path::PathBuf;
use std::time::Duration;

/// Settings of logs, admin server and schemas.
#[derive(Clone, Debug, clap::Args)]
pub struct ProcessSettings {
    /// Which log events are written, in the syntax of `RUST_LOG`.
    #[arg(long, env = "RUST_LOG", default_value = "info")]
    pub log: String,

    /// The folder with `<entity>/v<N>.avsc` and `ids.json`.
    #[arg(long, env = "SCHEMAS_DIR", default_value = "schemas")]
    pub schemas_dir: PathBuf,
}

/// Parses a number of milliseconds.
///
/// # Errors
/// Anything that is not a whole number.
pub fn millis(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_millis).map_err(|_| "expected a whole number of milliseconds".to_owned())
}

/// Parses a number of seconds.
///
/// # Errors
/// Anything that is not a whole number.
pub fn seconds(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_secs).map_err(|_| "expected a whole number of seconds".to_owned())
}

/// A text that must not be shown: a URL with a password in it. `Debug` hides it.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the driver that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(redacted)")
    }
}
