//! `docker-compose.yml` as compose renders it, with a recognisable value for each password.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::{Map, Value};
use stack::{Tools, shared, workspace};

use super::file;

/// Settings of `.env.example`: name and default, which a password has not.
pub(super) fn example() -> Vec<(String, String)> {
    let text = file(".env.example");
    let lines = text.lines().filter_map(|line| line.trim_start_matches('#').split_once('='));
    let is_name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    lines.filter(|(name, _)| is_name(name)).map(|(name, default)| (name.to_owned(), default.to_owned())).collect()
}

/// Variables of `docker-compose.yml` with their defaults.
pub(super) fn variables() -> BTreeSet<(String, String)> {
    let text = file("docker-compose.yml");
    // Named again without a message where compose has asked for it before.
    let with = |entry: &str| {
        let (name, rest) = entry.split_once(':')?;
        Some((name.to_owned(), rest.strip_prefix('-').unwrap_or_default().to_owned()))
    };
    let entries: Vec<_> = text.split("${").skip(1).filter_map(|rest| rest.split('}').next()).collect();
    let found: BTreeSet<_> = entries.iter().filter_map(|entry| with(entry)).collect();
    for bare in entries.iter().filter(|entry| !entry.contains(':')) {
        assert!(found.iter().any(|(name, _)| name == bare), "nothing asks for {bare}");
    }
    found
}

/// The value that a password has here.
pub(super) fn secret(name: &str) -> String {
    format!("secret-{}", name.to_lowercase().replace('_', "-"))
}

/// All of them.
pub(super) fn secrets() -> BTreeSet<String> {
    example().iter().filter(|(_, default)| default.is_empty()).map(|(name, _)| secret(name)).collect()
}

/// The whole file.
pub(super) fn compose() -> &'static Value {
    static RENDERED: OnceLock<Value> = OnceLock::new();
    RENDERED.get_or_init(|| {
        let done = config(None);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice(&done.stdout).expect("JSON")
    })
}

/// Its services.
pub(super) fn services() -> &'static Map<String, Value> {
    compose()["services"].as_object().expect("services")
}

/// What compose says where this password is missing.
pub(super) fn refusal(missing: &str) -> String {
    let done = config(Some(missing));
    assert!(!done.status.success(), "{missing} is not asked for");
    String::from_utf8_lossy(&done.stderr).into_owned()
}

fn config(missing: Option<&str>) -> Output {
    let settings: PathBuf = shared::scratch("compose").join("env");
    let given = example().into_iter().filter(|(name, default)| default.is_empty() && Some(name.as_str()) != missing);
    let lines: String = given.map(|(name, _)| format!("{name}={}\n", secret(&name))).collect();
    std::fs::write(&settings, lines).expect("a file of settings");
    Command::new(Tools::find().compose().expect("docker compose"))
        .env_clear() // a setting of this machine is none of the file's
        .arg("--project-directory")
        .arg(workspace())
        .arg("--file")
        .arg(workspace().join("docker-compose.yml"))
        .arg("--env-file")
        .arg(settings)
        .args(["--profile", "*", "config", "--format", "json"])
        .output()
        .expect("docker compose runs")
}

/// What a service is given.
pub(super) fn environment(service: &Value) -> BTreeMap<String, String> {
    let entries = service["environment"].as_object().into_iter().flatten();
    entries.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

/// Every text in it.
pub(super) fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(strings).collect(),
        Value::Object(fields) => fields.values().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

/// A time such as `1m15s`.
pub(super) fn seconds(value: &Value) -> u64 {
    let text = value.as_str().unwrap_or_default();
    let (minutes, rest) = text.split_once('m').unwrap_or(("0", text));
    let number = |digits: &str| digits.parse::<u64>().unwrap_or_else(|_| panic!("{text} is no time"));
    number(minutes) * 60 + number(rest.trim_end_matches('s'))
}
