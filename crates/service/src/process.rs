//! How a binary begins and ends: settings, TLS provider, logger, runtime, exit code.

use std::ffi::OsString;
use std::future::Future;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use crate::settings::{Environment, Findings, ProcessSettings, print, read};

/// How long blocking calls may go on after everything else has ended.
pub const LINGER: Duration = Duration::from_secs(3);
/// Settings at fault, as clap has it for a command line that it does not understand.
const SETTINGS_AT_FAULT: u8 = 2;

/// How a command has ended whose exit code says more than that it failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{why}")]
pub struct Ended {
    /// The exit code.
    pub code: u8,
    /// For a human.
    pub why: String,
}

/// A command line and what it starts.
pub trait Program: clap::Parser {
    /// The process' own settings; `None` for a command that only asks something, and says what is wrong in plain words.
    fn process(&self) -> Option<&ProcessSettings>;

    /// Everything that is wrong with the settings, and with what they name on this machine. Connects to nothing.
    fn findings(&self) -> Findings;

    /// Does it, to its end.
    fn execute(self) -> impl Future<Output = anyhow::Result<()>>;
}

/// The whole of a `main`: reads all settings, and runs the program unless something is wrong or was only asked.
#[must_use]
pub fn main<P: Program>() -> ExitCode {
    let _armed = crate::fail_points::armed();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let read = match read::read::<P>(&arguments, &Environment::of_process()) {
        Ok(read) => read,
        Err(error) => error.exit(),
    };
    let process = read.program.process().cloned();
    if process.as_ref().is_some_and(|process| process.print_config) {
        say(&print::print(&read.settings));
        return ExitCode::SUCCESS;
    }
    let found = read.told(read.program.findings());
    match process {
        Some(process) if process.check_config => report(&found),
        Some(process) if found.faults.is_empty() => run(&process.log, async {
            for warning in found.warnings {
                tracing::warn!("{warning}");
            }
            read.program.execute().await
        }),
        Some(process) => {
            crate::telemetry::init(&process.log).ok();
            for fault in found.faults {
                tracing::error!("{fault}");
            }
            ExitCode::from(SETTINGS_AT_FAULT)
        }
        None if found.faults.is_empty() => ask(read.program.execute()),
        None => {
            report(&found);
            ExitCode::FAILURE
        }
    }
}

/// Whoever reads may have gone.
fn say(text: &str) {
    std::io::stdout().write_all(text.as_bytes()).ok();
}

/// Says what was found about settings that are only checked.
fn report(found: &Findings) -> ExitCode {
    for warning in &found.warnings {
        eprintln!("warning: {warning}");
    }
    for fault in &found.faults {
        eprintln!("fault: {fault}");
    }
    if found.faults.is_empty() {
        say("configuration is sound\n");
        ExitCode::SUCCESS
    } else {
        ExitCode::from(SETTINGS_AT_FAULT)
    }
}

/// Runs a command that only asks something.
fn ask(question: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(question)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// glibc's takes more than a tenth of ingest's time for the many small pieces of a request.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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

/// Ends the process as it is when it has not ended by itself within `budget`. Blocks: for a plain thread, since what keeps the
/// process may keep its runtime, too.
pub(crate) fn end_within(budget: Duration) {
    std::thread::sleep(budget);
    end(&format!("not stopped in order within {budget:?}"));
}

/// Ends the process as it is.
pub(crate) fn end(why: &str) {
    tracing::error!("{why}: the process ends as it is");
    std::process::exit(1);
}

fn failed(error: &anyhow::Error) -> ExitCode {
    tracing::error!("{error:#}");
    error.downcast_ref::<Ended>().map_or(ExitCode::FAILURE, |ended| ExitCode::from(ended.code))
}
