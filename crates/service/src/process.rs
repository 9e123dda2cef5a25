//! How a binary begins and ends: TLS provider, logger, runtime, exit code.

use std::future::Future;
use std::process::ExitCode;

/// Sets the process up and runs `main` to its end. What it fails with is logged, once, like everything else: as JSON.
pub fn run(log: &str, main: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    // Two providers or none make rustls panic at its first use. It fails only when one was installed before.
    rustls::crypto::ring::default_provider().install_default().ok();
    if let Err(error) = crate::telemetry::init(log) {
        // There is no logger to tell it to.
        eprintln!("--log: {error}");
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(main)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
