//! `stack up | down | clean | doctor`: the whole of write-behind on this machine, without a container engine.
//!
//! Called by the Makefile, which builds first. State lives in `.stack/`; nothing else of the machine is touched.

mod doctor;
mod down;
mod fresh;
mod ports;
mod progress;
mod servers;
mod services;
mod settings;
mod state;
mod up;

use clap::{Parser, Subcommand};
use settings::Settings;
use std::process::ExitCode;

/// Runs write-behind and its servers on this machine.
#[derive(Debug, Parser)]
#[command(name = "stack")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Command {
    /// Starts what is not running and waits until all is ready
    Up,
    /// Stops what `up` started, and nothing else
    Down,
    /// Stops everything and forgets the data
    Clean,
    /// Says what is missing, and the command that mends it
    Doctor,
}

fn main() -> ExitCode {
    let Arguments { command, settings } = Arguments::parse();
    let done = match command {
        Command::Up => up::run(&settings),
        Command::Down => down::run(&settings),
        Command::Clean => down::clean(&settings),
        Command::Doctor => doctor::run(&settings),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // One line a cause, without the backtrace that a bug would deserve.
            eprintln!("\nstack: {e:#}");
            ExitCode::FAILURE
        }
    }
}
