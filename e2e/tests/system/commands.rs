//! Runs a command of the persister beside a system, to its end.

use std::process::{Command, Output};

use anyhow::Result;
use e2e::System;
use e2e::system::binary;
use serde_json::Value;

/// What a command has said, and its exit code.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) log: String,
}

impl Said {
    /// The object on each line of its output.
    pub(crate) fn objects(&self) -> Result<Vec<Value>> {
        self.out.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// The one object that it has said.
    pub(crate) fn object(&self) -> Result<Value> {
        let mut objects = self.objects()?;
        anyhow::ensure!(objects.len() == 1, "{self:?}");
        Ok(objects.remove(0))
    }
}

/// `persister` with these words and the system's settings; `database_url` is its account.
pub(crate) fn command(system: &System, database_url: &str, words: &[&str]) -> Command {
    let mut command = Command::new(binary("persister"));
    command
        .args(words)
        .env("SCHEMAS_DIR", &system.schemas)
        .env("REDIS_URL", &system.redis_url)
        .env("KAFKA_BROKERS", system.servers.kafka.brokers())
        .env("DATABASE_URL", database_url)
        .env("TOPIC_PREFIX", &system.topic_prefix)
        .env("CONSUMER_GROUP", &system.group)
        .env("ALLOW_SINGLE_BROKER", "true");
    command
}

/// Runs it without holding up the test's own tasks.
pub(crate) async fn run(mut command: Command) -> Result<Said> {
    let Output { status, stdout, stderr } = tokio::task::spawn_blocking(move || command.output()).await??;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Said { code: status.code(), out: text(&stdout), log: text(&stderr) })
}

/// `persister verify` as an account that may only read, quick to look again.
pub(crate) async fn verify(system: &System, words: &[&str]) -> Result<Said> {
    let quick = ["verify", "--json", "--again-after-ms=1000", "--drain-most-s=20"];
    run(command(system, &system.accounts.reader, &[&quick, words].concat())).await
}

/// `persister replay` as the persister.
pub(crate) async fn replay(system: &System, words: &[&str]) -> Result<Said> {
    run(command(system, &system.accounts.persister, &[&["replay", "--json"], words].concat())).await
}

/// `persister purge` as the persister.
pub(crate) async fn purge(system: &System, words: &[&str]) -> Result<Said> {
    run(command(system, &system.accounts.persister, &[&["purge", "--json"], words].concat())).await
}
