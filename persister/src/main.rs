//! The binary: reads the command line and does what it says.

use std::process::ExitCode;

use clap::Parser;
use persister::Arguments;

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let log = command.log().to_owned();
    service::process::run(&log, command.execute())
}
