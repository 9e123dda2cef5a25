//! The command line of the persister: one file per command.

mod migrate;
mod run;

use clap::{Parser, Subcommand};
use service::healthcheck;
use service::process::Program;
use service::settings::{Findings, ProcessSettings};

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

impl Program for Arguments {
    fn process(&self) -> Option<&ProcessSettings> {
        match &self.command {
            Command::Run(settings) => Some(&settings.process),
            Command::Migrate(settings) => Some(&settings.process),
            Command::Healthcheck(_) => None,
        }
    }

    fn findings(&self) -> Findings {
        match &self.command {
            Command::Run(settings) => settings.findings(),
            Command::Migrate(settings) => settings.findings(),
            Command::Healthcheck(_) => Findings::default(),
        }
    }

    async fn execute(self) -> anyhow::Result<()> {
        match self.command {
            Command::Run(settings) => run::run(*settings).await,
            Command::Migrate(settings) => migrate::migrate(*settings).await,
            Command::Healthcheck(admin) => healthcheck::ask(admin.admin_listen).await,
        }
    }
}

/// A topic cannot grow in place: a delete and the write before it may lie in different partitions then.
///
/// # Errors
/// It has.
fn same_partitions(topic: &str, found: i32, begun: i32) -> anyhow::Result<()> {
    anyhow::ensure!(
        found == begun,
        "topic {topic} has {found} partitions, its table was begun with {begun}: a topic cannot grow in place"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    fn found(command: &str, flags: &[&str]) -> Findings {
        let schemas = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas");
        Arguments::parse_from(["persister", command, "--schemas-dir", schemas].iter().chain(flags)).findings()
    }

    #[test]
    fn defaults_are_without_fault() {
        assert_eq!(found("run", &[]), Findings::default());
        assert_eq!(found("migrate", &[]), Findings::default());
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let flags =
            ["--batch-rows-most=0", "--drain-deadline-ms=120000", "--session-timeout-ms=130000", "--future-most-ms=49"];
        let faults = found("run", &flags).faults;
        assert_eq!(faults.len(), 4, "{faults:?}");
        let flags = ["--topic-partitions=0", "--topic-replicas=2", "--database-connections=1"];
        assert_eq!(found("migrate", &flags).faults.len(), 3);
        assert_eq!(found("migrate", &["--topic-replicas=1", "--allow-single-broker"]).faults.len(), 0);
    }
}
