//! The binary: reads the command line and does what it says.

use std::process::ExitCode;

use clap::Parser;
use persister::Arguments;

fn main() -> ExitCode {
    Arguments::parse().command.execute()
}
