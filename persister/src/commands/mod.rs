//! The command line of the persister: one file per command.

mod dead;
mod fitting;
mod migrate;
mod purge;
mod replay;
mod run;
mod verify;

use std::io::Write as _;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use record::{Catalog, Entity};
use service::process::Program;
use service::settings::{Findings, ProcessSettings};
use service::{healthcheck, schemas};
use topic::dead::topic_of;
use topic::setup::Found;

pub use dead::{AcceptSettings, DeadCommand};
pub use migrate::MigrateSettings;
pub use purge::PurgeSettings;
pub use replay::ReplaySettings;
pub(crate) use run::stop_budgets;
pub use verify::VerifySettings;

pub use crate::settings::{AdminSettings, BaseSettings, RunSettings};

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
    /// Compare cache, topic and table: exit 0 if they agree, 1 if they differ, 2 if they could not be compared.
    Verify(Box<VerifySettings>),
    /// Bring what a topic holds into its table once more: exit 0, 1 if events could not be applied, 2 if it did not end.
    Replay(Box<ReplaySettings>),
    /// Delete old tombstones from the tables: exit 0, or 2 if nothing may be purged now.
    Purge(Box<PurgeSettings>),
    /// What an operator says about dead letters.
    #[command(subcommand)]
    Dead(DeadCommand),
    /// Ask the running service of the same settings whether it is ready: exit 0 if it is, 1 if not.
    Healthcheck(AdminSettings),
}

impl Program for Arguments {
    fn process(&self) -> Option<&ProcessSettings> {
        match &self.command {
            Command::Run(settings) => Some(&settings.process),
            Command::Migrate(settings) => Some(&settings.base.process),
            Command::Verify(settings) => Some(&settings.base.process),
            Command::Replay(settings) => Some(&settings.base.process),
            Command::Purge(settings) => Some(&settings.base.process),
            Command::Dead(DeadCommand::Accept(settings)) => Some(&settings.base.process),
            Command::Healthcheck(_) => None,
        }
    }

    fn findings(&self) -> Findings {
        match &self.command {
            Command::Run(settings) => settings.findings(),
            Command::Migrate(settings) => settings.findings(),
            Command::Verify(settings) => settings.findings(),
            Command::Replay(settings) => settings.findings(),
            Command::Purge(settings) => settings.findings(),
            Command::Dead(DeadCommand::Accept(settings)) => settings.findings(),
            Command::Healthcheck(_) => Findings::default(),
        }
    }

    async fn execute(self) -> anyhow::Result<()> {
        match self.command {
            Command::Run(settings) => run::run(*settings).await,
            Command::Migrate(settings) => migrate::migrate(*settings).await,
            Command::Verify(settings) => verify::verify(*settings).await,
            Command::Replay(settings) => replay::replay(*settings).await,
            Command::Purge(settings) => purge::purge(*settings).await,
            Command::Dead(DeadCommand::Accept(settings)) => dead::accept(*settings).await,
            Command::Healthcheck(admin) => healthcheck::ask(admin.admin_listen).await,
        }
    }
}

/// The entities that were asked for, all where none were named.
fn chosen<'c>(catalog: &'c Catalog, named: &[String]) -> impl Iterator<Item = &'c Arc<Entity>> {
    catalog.iter().filter(move |entity| named.is_empty() || named.iter().any(|name| name == entity.name()))
}

/// Finds names that no schema has, and what is wrong with the schemas.
fn unknown_entities(process: &ProcessSettings, named: &[String], found: &mut Findings) {
    match schemas::load(&process.schemas_dir) {
        Ok(catalog) => found.faults.extend(
            named
                .iter()
                .filter(|name| catalog.get(name).is_none())
                .map(|name| format!("--entity: there is no schema of {name}")),
        ),
        Err(error) => found.faults.extend(error.faults()),
    }
}

/// A result goes to stdout, where nothing else does. Whoever reads may have gone.
fn say(text: &str) {
    std::io::stdout().write_all(text.as_bytes()).ok();
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

/// A letter stands in the partition of its event.
///
/// # Errors
/// There is none of that number, or the topic is not as letters need it.
fn fit_for_letters(topic: &str, found: &Found, partitions: i32) -> anyhow::Result<()> {
    anyhow::ensure!(found.faults.is_empty(), "{}", found.faults.join("\n"));
    anyhow::ensure!(
        found.partitions >= partitions,
        "topic {} has {} partitions, {topic} has {partitions}: add what it lacks",
        topic_of(topic),
        found.partitions
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
        for (command, flags) in [("migrate", &[][..]), ("verify", &[]), ("purge", &[]), ("replay", &["--all"])] {
            assert_eq!(found(command, flags), Findings::default(), "{command}");
        }
    }

    /// `k51`: and a write that goes past Redis is seen nowhere for as long as two produce deadlines and D.
    #[test]
    fn r18_what_is_purged_is_older_than_any_write_that_may_still_come() {
        let told = |age: &str, deadline: &str| {
            let flags = ["--idempotency-ttl-s=20", "--settled-ttl-s=10", age, deadline];
            found("purge", &flags).faults.join("\n")
        };
        assert_eq!(told("--purge-age-s=21", "--produce-deadline-ms=10475"), "", "at both edges");
        let early = told("--purge-age-s=21", "--produce-deadline-ms=10476");
        assert!(early.contains("twice --produce-deadline-ms"), "younger than a write past Redis: {early:?}");
        let early = told("--purge-age-s=20", "--produce-deadline-ms=9000");
        assert!(early.contains("longer than --idempotency-ttl-s"), "a retry may come later: {early:?}");
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let flags = [
            "--batch-rows-most=0",
            "--drain-deadline-ms=120000",
            "--session-timeout-ms=130000",
            "--future-most-ms=49",
            "--stall-after-ms=200000",
        ];
        let faults = found("run", &flags).faults;
        assert_eq!(faults.len(), 5, "{faults:?}");
        let flags = ["--topic-partitions=0", "--topic-replicas=2", "--database-connections=1"];
        assert_eq!(found("migrate", &flags).faults.len(), 3);
        assert_eq!(found("migrate", &["--topic-replicas=1", "--allow-single-broker"]).faults.len(), 0);
        let flags = ["--looks-most=1", "--ids-in-memory-most=0", "--entity=users,nobody"];
        assert_eq!(found("verify", &flags).faults.len(), 3);
        assert_eq!(found("purge", &["--chunk=0", "--entity=nobody", "--purge-age-s=20"]).faults.len(), 4);
        let flags = ["--since=2026-11-28T06:00:00Z", "--from-offset=0=1,1=5", "--reset-purge-mark"];
        assert_eq!(found("replay", &flags).faults.len(), 3);
        let brakes =
            ["--brake-window-events=0", "--brake-dead-percent=101", "--brake-late-percent=101", "--brake-least=0"];
        let brakes = [&brakes[..], &["--brake-in-a-row=0"]].concat();
        assert_eq!(found("run", &brakes).faults.len(), 5);
    }
}
