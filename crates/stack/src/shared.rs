//! One server of each kind for a whole test binary, started when first asked for, gone when the binary ends.
//!
//! A server that cannot start panics with its log: a test run without its servers fails, it skips nothing. Tests that
//! hurt a server (kill, pause, wipe) start one of their own, in [`scratch`].

use crate::{Database, Kafka, KafkaOptions, Kind, Place, Redis, Tools, random};
use anyhow::{Context, Result};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The Kafka of this test binary.
pub fn kafka() -> &'static Kafka {
    static IT: OnceLock<Result<Kafka, String>> = OnceLock::new();
    once(&IT, |tools| Kafka::start(tools, &Place::attached(scratch("kafka")), KafkaOptions::default()))
}

/// The Redis of this test binary. Give every test a database number of its own.
pub fn redis() -> &'static Redis {
    static IT: OnceLock<Result<Redis, String>> = OnceLock::new();
    once(&IT, |tools| Redis::start(tools, &Place::attached(scratch("redis"))))
}

/// The database server of this test binary, of the kind that `STACK_DB` names. Give every test a database of its own.
pub fn database() -> &'static Database {
    static IT: OnceLock<Result<Database, String>> = OnceLock::new();
    once(&IT, |tools| {
        let database = Database::start(tools, &Place::attached(scratch("database")), Kind::from_env()?)?;
        // Past the harness, which keeps what a test prints: `test.sh` reads it.
        std::io::stderr().write_all(format!("database server: {}\n", database.version()?).as_bytes())?;
        Ok(database)
    })
}

/// A fresh folder that is removed after this process has ended; another one at every call.
pub fn scratch(name: &str) -> PathBuf {
    static ROOT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let root = loud("the scratch folder", ROOT.get_or_init(|| throwaway().map_err(|e| format!("{e:#}"))));
    let made = || -> Result<PathBuf> {
        let dir = root.join(format!("{name}-{}", random::hex::<4>()?));
        std::fs::create_dir(&dir)?;
        Ok(dir)
    };
    loud("a scratch folder", &made().map_err(|e| format!("{e:#}"))).clone()
}

fn once<T>(it: &'static OnceLock<Result<T, String>>, start: impl FnOnce(&Tools) -> Result<T>) -> &'static T {
    // A failure is remembered too: the tests after the first one must not wait for it again.
    loud("a required server", it.get_or_init(|| start(&Tools::find()).map_err(|e| format!("{e:#}"))))
}

#[expect(clippy::panic, reason = "a test without its server must fail, and this is what every test calls")]
fn loud<'a, T>(what: &str, result: &'a Result<T, String>) -> &'a T {
    match result {
        Ok(it) => it,
        Err(why) => panic!("{what} cannot be had: {why}"),
    }
}

/// A folder with a guard beside it: a shell that waits for the end of its input, which is our end, however we end.
fn throwaway() -> Result<PathBuf> {
    let root = tempfile::Builder::new().prefix("write-behind-").tempdir()?.keep();
    // Twice, since servers that are being killed may still write.
    let guard = "cat >/dev/null; rm -rf -- \"$0\" 2>/dev/null || { sleep 2; rm -rf -- \"$0\"; }";
    let guard = Command::new("setsid")
        .args(["sh", "-c", guard])
        .arg(&root)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting the guard of the scratch folder")?;
    // Its input closes when this process ends, so the handle must stay open until then.
    static GUARD: OnceLock<std::process::Child> = OnceLock::new();
    GUARD.get_or_init(|| guard);
    Ok(root)
}
