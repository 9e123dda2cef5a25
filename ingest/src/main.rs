//! The binary: reads the settings, starts the app, runs it until it is told to stop.

use std::process::ExitCode;

use clap::Parser;
use ingest::{App, Settings};

fn main() -> ExitCode {
    let settings = Settings::parse();
    service::process::run(&settings.process.log.clone(), async { App::build(settings)?.run_until_stopped().await })
}
