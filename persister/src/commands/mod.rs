//! The command line of the persister: one file per command.

mod migrate;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use service::{healthcheck, process};

pub use migrate::MigrateSettings;

pub use crate::settings::{AdminSettings, RunSettings};

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
    /// Ask the running service of the same settings whether it is ready: exit 0 if it is, 1 if not.
    Healthcheck(AdminSettings),
}

impl Command {
    /// Does it, to the end of the process.
    #[must_use]
    pub fn execute(self) -> ExitCode {
        match self {
            Self::Run(settings) => process::run(&settings.process.log.clone(), run::run(*settings)),
            Self::Migrate(settings) => process::run(&settings.process.log.clone(), migrate::migrate(*settings)),
            Self::Healthcheck(admin) => healthcheck::run(admin.admin_listen),
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
