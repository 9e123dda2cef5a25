//! The binary: reads the settings, starts the app, runs it until it is told to stop.

use clap::Parser;
use ingest::{App, Settings};

fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    service::process::run(&settings.process.log.clone(), async {
        App::build(settings)?.run_until_stopped().await
    })
}
