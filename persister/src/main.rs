//! The binary: reads the command line and does what it says.

use clap::Parser;
use persister::Arguments;

fn main() -> anyhow::Result<()> {
    let Arguments { command } = Arguments::parse();
    service::process::run(&command.log().to_owned(), command.execute())
}
