//! Apache Kafka: one KRaft node, broker and controller in one, from the jars that `packages.sh` fetched.

mod archive;
mod probe;
mod settings;

use crate::process::{Ended, Process};
use crate::server::{Place, Server, made};
use crate::{KafkaTools, Lifetime, Spec, Tools, port, random};
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How the broker's Java machine is set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Speed {
    /// Starts soon and stays small: for tests.
    #[default]
    QuickStart,
    /// Compiles its hot paths as in production: for benches and `make up`.
    Full,
}

/// What a broker needs beside its [`Place`].
#[derive(Debug, Clone, Copy, Default)]
pub struct KafkaOptions {
    /// The port of its controller; any free one when none is named.
    pub controller_port: Option<u16>,
    /// How its Java machine is set.
    pub speed: Speed,
}

/// A running Kafka. What every server can do ([`Server::kill`], [`Server::restart`], …) it does too.
#[derive(Debug)]
pub struct Kafka {
    server: Server,
    java: Java,
}

impl Kafka {
    /// Starts it and waits until its broker is registered and takes requests.
    pub fn start(tools: &Tools, place: &Place, options: KafkaOptions) -> Result<Self> {
        let tools = tools.kafka()?;
        let java = Java { archive: archive::ready(&tools)?, tools, speed: options.speed };
        let server = port::settle(place.port, |port| {
            port::settle(options.controller_port, |controller| start_on(&java, place, port, controller))
        })?;
        Ok(Self { server, java })
    }

    /// What clients take as `bootstrap.servers`.
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.server.port())
    }

    /// Runs one of Kafka's own command line tools, for example `org.apache.kafka.tools.TopicCommand`, and gives its
    /// output. `--bootstrap-server` is put in front. Takes about a second.
    pub fn tool(&self, class: &str, args: &[&str]) -> Result<String> {
        self.tool_with_input(class, args, "")
    }

    /// The same for a tool that reads its standard input, for example `org.apache.kafka.tools.ConsoleProducer`.
    pub fn tool_with_input(&self, class: &str, args: &[&str], input: &str) -> Result<String> {
        let brokers = self.brokers();
        let command = [&["--bootstrap-server", brokers.as_str()], args].concat();
        self.java.run(class, &command, input)
    }
}

impl Deref for Kafka {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

fn start_on(java: &Java, place: &Place, port: u16, controller: u16) -> Result<Server> {
    let dir = made(&place.dir)?;
    let file = dir.join("server.properties");
    std::fs::write(&file, settings::of_one_node(&dir.join("data"), port, controller))?;
    if !dir.join("data/meta.properties").exists() {
        let config = file.to_string_lossy();
        let id = random::hex::<11>()?; // 22 characters, as Kafka wants them
        java.run("kafka.tools.StorageTool", &["format", "-t", &id, "-c", &config], "")?;
    }
    let spec = java.spec("kafka", &place.log, "kafka.Kafka", &[file]);
    let cluster = cluster_of(&dir.join("data"))?;
    Server::start(spec, port, place, Box::new(move || probe::serves(port, &cluster).unwrap_or(false)))
}

/// The id of the cluster that this data belongs to.
fn cluster_of(data: &Path) -> Result<String> {
    let file = data.join("meta.properties");
    let properties = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let id = properties.lines().find_map(|line| line.strip_prefix("cluster.id="));
    Ok(id.with_context(|| format!("{} names no cluster.id", file.display()))?.to_owned())
}

/// How Java is called: the same for the broker and for every tool, since an archive holds for one way only.
#[derive(Debug, Clone)]
struct Java {
    tools: KafkaTools,
    archive: Option<PathBuf>,
    speed: Speed,
}

impl Java {
    fn spec<A: AsRef<OsStr>>(&self, name: &str, log: &Path, class: &str, args: &[A]) -> Spec {
        let mut spec = Spec::new(name, &self.tools.java, log)
            .env("CLASSPATH", &self.tools.class_path)
            .args(["-XX:+UseSerialGC", "-Djava.awt.headless=true"])
            .arg("-Dorg.slf4j.simpleLogger.showDateTime=true")
            .arg("-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ");
        spec = match self.speed {
            Speed::QuickStart => spec.args(["-Xmx256m", "-XX:TieredStopAtLevel=1"]),
            Speed::Full => spec.arg("-Xmx512m"),
        };
        if let Some(archive) = &self.archive {
            spec = spec.arg(format!("-XX:SharedArchiveFile={}", archive.display()));
        }
        spec.arg(class).args(args)
    }

    /// Runs a tool to its end on this input and gives what it printed.
    fn run(&self, class: &str, args: &[&str], input: &str) -> Result<String> {
        let (output, fed) = (tempfile::NamedTempFile::new()?, tempfile::NamedTempFile::new()?);
        std::fs::write(fed.path(), input)?;
        let name = class.rsplit('.').next().unwrap_or(class);
        let spec = self.spec(name, output.path(), class, args).input(fed.path());
        let tool = Process::spawn(&spec, Lifetime::Attached)?;
        let ended = tool.wait(Duration::from_secs(60))?;
        let printed = std::fs::read_to_string(output.path())?;
        match ended {
            Ended::Yes(Some(status)) if status.success() => Ok(printed),
            Ended::Yes(_) => bail!("{name} failed:\n{printed}"),
            Ended::No => bail!("{name} did not end within a minute:\n{printed}"),
        }
    }
}
