//! How a binary begins and ends: TLS provider, logger, runtime, exit code.

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

/// How long blocking calls may go on after everything else has ended.
const LINGER: Duration = Duration::from_secs(3);

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
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let ended = runtime.block_on(main);
    let code = ended.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS);
    // What still waits for a server that does not answer must not keep the process from its end.
    runtime.shutdown_timeout(LINGER);
    code
}

fn failed(error: &anyhow::Error) -> ExitCode {
    tracing::error!("{error:#}");
    ExitCode::FAILURE
}
