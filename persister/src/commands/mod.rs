//! The command line of the persister: one file per command.

mod migrate;
mod run;

use clap::{Parser, Subcommand};

pub use migrate::MigrateSettings;

pub use crate::settings::RunSettings;

/// Brings the topics into the tables, and keeps both in shape.
#[derive(Clone, Debug, Parser)]
#[command(name = "persister", version, max_term_width = 120)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Consume the topics until told to stop.
    Run(Box<RunSettings>),
    /// Publish schemas, create topics and tables, or add what they lack. Safe to run twice, and by two at once.
    Migrate(Box<MigrateSettings>),
}

impl Command {
    /// Which log events are written.
    #[must_use]
    pub fn log(&self) -> &str {
        match self {
            Self::Run(settings) => &settings.process.log,
            Self::Migrate(settings) => &settings.process.log,
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// What the command met.
    pub async fn execute(self) -> anyhow::Result<()> {
        match self {
            Self::Run(settings) => run::run(*settings).await,
            Self::Migrate(settings) => migrate::migrate(*settings).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_defaults_of_run_are_without_fault() {
        let Command::Run(settings) = Arguments::parse_from(["persister", "run"]).command else { unreachable!() };
        assert_eq!(settings.faults(), Vec::<String>::new());
    }
}
