//! The AppCDS archive: the broker's classes as one run of Java left them in memory. It halves every later start.
//!
//! Made once for a Java and a set of jars, by starting a throwaway broker and stopping it again (about ten seconds).

use super::{Java, Speed, probe, settings};
use crate::server::{Place, Server};
use crate::{KafkaTools, port, random};
use anyhow::{Context, Result};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The archive for these tools; made when there is none yet. None where the tools' folder may not be written to:
/// then everything works, only slower.
pub(super) fn ready(tools: &KafkaTools) -> Result<Option<PathBuf>> {
    let archive = tools.folder.join(format!("kafka-{:016x}.jsa", key(tools)?));
    if archive.exists() {
        return Ok(Some(archive));
    }
    let Ok(work) = tempfile::Builder::new().prefix("archive.").tempdir_in(&tools.folder) else {
        return Ok(None);
    };
    let fresh = work.path().join("kafka.jsa");
    train(tools, work.path(), &fresh).context("making the class archive of Kafka")?;
    // At once or not at all: another process may do the same and neither may read half of it.
    std::fs::rename(&fresh, &archive)?;
    Ok(Some(archive))
}

/// An archive holds for the Java and the class path that made it.
fn key(tools: &KafkaTools) -> Result<u64> {
    let java = tools.java.canonicalize()?;
    let mut hasher = DefaultHasher::new();
    java.metadata()?.modified()?.hash(&mut hasher);
    java.hash(&mut hasher);
    tools.class_path.hash(&mut hasher);
    Ok(hasher.finish())
}

fn train(tools: &KafkaTools, work: &Path, archive: &Path) -> Result<()> {
    let java = Java { tools: tools.clone(), archive: None, speed: Speed::QuickStart };
    let file = work.join("server.properties");
    let server = port::settle(None, |port| {
        port::settle(None, |controller| {
            std::fs::write(
                &file,
                settings::of(
                    &settings::Node { number: 1, port, controllers: &[controller], doors: &[] },
                    &work.join("data"),
                ),
            )?;
            let config = file.to_string_lossy();
            let id = random::hex::<11>()?; // 22 characters, as Kafka wants them
            let format = ["format", "--ignore-formatted", "-t", &id, "-c", &config];
            java.run("kafka.tools.StorageTool", &format, "")?;
            let args = [file.as_os_str()];
            let mut spec = java.spec("kafka", &work.join("log"), "kafka.Kafka", &args);
            spec = spec.env("JDK_JAVA_OPTIONS", format!("-XX:ArchiveClassesAtExit={}", archive.display()));
            let probe = move || probe::brokers(port, &id).is_ok_and(|live| live > 0);
            Server::start(spec, port, &Place::attached(work), Box::new(probe))
        })
    })?;
    server.stop(Duration::from_secs(120))?;
    anyhow::ensure!(archive.exists(), "none was written:\n{}", server.log_tail(20));
    Ok(())
}
