//! How a binary begins and ends: TLS provider, logger, runtime, exit.

use std::future::Future;

use anyhow::Context;

/// Sets the process up and runs `main` to its end.
///
/// # Errors
/// What `main` returns; it is logged here, once.
pub fn run(log: &str, main: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    // Two providers or none make rustls panic at its first use. It fails only when one was installed before.
    rustls::crypto::ring::default_provider().install_default().ok();
    crate::telemetry::init(log).map_err(|error| anyhow::anyhow!("--log: {error}"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("tokio runtime")?;
    runtime.block_on(main)
}
