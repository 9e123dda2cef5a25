//! The binary: reads the settings, starts the app, runs it until it is told to stop.

use std::process::ExitCode;

use clap::Parser;
use ingest::{App, Arguments, Command};
use service::{healthcheck, process};

fn main() -> ExitCode {
    let Arguments { command, settings } = Arguments::parse();
    match command {
        Some(Command::Healthcheck(admin)) => healthcheck::run(admin.admin_listen),
        None => process::run(&settings.process.log.clone(), async { App::build(settings)?.run_until_stopped().await }),
    }
}
