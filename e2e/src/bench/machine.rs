//! What a figure was measured on. Nothing that tells one machine from another of its kind.

use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};
use stack::Tools;

use crate::Servers;

/// Processor, memory, kernel, and the versions of everything that took part.
///
/// # Errors
/// A server does not say its version.
pub async fn facts(servers: &Servers) -> Result<Value> {
    let cores = std::thread::available_parallelism()?.get();
    let database = servers.database.query("SELECT VERSION()")?.trim().to_owned();
    Ok(json!({
        "cores": cores,
        "processor": field("/proc/cpuinfo", "model name"),
        "memory": field("/proc/meminfo", "MemTotal"),
        "kernel": std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().split('-').next(),
        "redis": redis_version(servers).await?,
        "kafka": Tools::find().kafka()?.folder.file_name().map(|name| name.to_string_lossy().into_owned()),
        "database": database,
        "wrk": said(Command::new("wrk").arg("-v")).split_whitespace().nth(1),
        "commit": said(Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(stack::workspace())).trim(),
        "load_before": std::fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').next(),
    }))
}

/// The facts as lines for people.
#[must_use]
pub fn lines(facts: &Value) -> String {
    let entries = facts.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null() && *value != "");
    let shown = entries.map(|(name, value)| match value {
        Value::String(text) => format!("{name} {text}"),
        other => format!("{name} {other}"),
    });
    shown.collect::<Vec<_>>().join(" · ")
}

async fn redis_version(servers: &Servers) -> Result<Option<String>> {
    let mut connection = redis::Client::open(servers.redis.url(0))?.get_multiplexed_async_connection().await?;
    let info: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
    let line = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
    Ok(line.map(|version| version.trim().to_owned()))
}

fn field(file: &str, name: &str) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

/// What a command printed; nothing when there is no such command. (`wrk -v` ends with an error.)
fn said(command: &mut Command) -> String {
    command.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}
