//! Apache Kafka: KRaft nodes, each broker and controller in one, from the jars that `packages.sh` fetched.

mod archive;
mod probe;
mod settings;

use crate::process::{Ended, Process};
use crate::server::{Place, Server, made};
use crate::{KafkaTools, Lifetime, Spec, Tools, port, random};
use anyhow::{Context, Result, bail, ensure};
use settings::{Door, Node};
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
#[derive(Debug, Clone, Default)]
pub struct KafkaOptions {
    /// The port of its controller; any free one when none is named.
    pub controller_port: Option<u16>,
    /// How its Java machine is set.
    pub speed: Speed,
    /// One more listener for each of these ports, which it tells its clients instead of its own: those of proxies. See
    /// [`Kafka::doors`].
    pub doors: Vec<u16>,
}

/// A running Kafka. What every server can do ([`Server::kill`], [`Server::restart`], …) it does too.
#[derive(Debug)]
pub struct Kafka {
    server: Server,
    java: Java,
    doors: Vec<u16>,
}

impl Kafka {
    /// Starts it and waits until its broker is registered and takes requests.
    pub fn start(tools: &Tools, place: &Place, options: KafkaOptions) -> Result<Self> {
        let tools = tools.kafka()?;
        let java = Java { archive: archive::ready(&tools)?, tools, speed: options.speed };
        let doors = doors(&options.doors)?;
        let server = port::settle(place.port, |port| {
            port::settle(options.controller_port, |controller| {
                let id = random::hex::<11>()?; // 22 characters, as Kafka wants them
                start_on(&java, place, &Node { number: 1, port, controllers: &[controller], doors: &doors }, &id)
            })
        })?;
        Ok(Self { server, java, doors: doors.iter().map(|door| door.listens).collect() })
    }

    /// Starts one cluster of as many nodes as there are places, and waits until each takes requests and knows all others.
    /// Topics have a replica on up to three nodes, of which two must have a record before it is acknowledged. `doors` are
    /// by node.
    pub fn cluster(tools: &Tools, places: &[Place], doors_of: &[Vec<u16>]) -> Result<Vec<Self>> {
        let tools = tools.kafka()?;
        let java = Java { archive: archive::ready(&tools)?, tools, speed: Speed::QuickStart };
        let id = random::hex::<11>()?;
        let controllers = places.iter().map(|_| port::free()).collect::<Result<Vec<_>>>()?;
        // None serves before most of them run.
        let nodes = std::thread::scope(|scope| {
            let start = |(at, place): (usize, &Place)| {
                let (java, id, controllers) = (java.clone(), &id, &controllers);
                let (place, asked) = (place.clone(), doors_of.get(at).cloned().unwrap_or_default());
                scope.spawn(move || -> Result<Self> {
                    let (doors, port) = (doors(&asked)?, port::free()?);
                    let node = Node { number: at + 1, port, controllers, doors: &doors };
                    let server = start_on(&java, &place, &node, id)?;
                    Ok(Self { server, java, doors: doors.iter().map(|door| door.listens).collect() })
                })
            };
            let starting: Vec<_> = places.iter().enumerate().map(start).collect();
            let started = starting.into_iter().map(|node| node.join().unwrap_or_else(|_| bail!("a starter died")));
            started.collect::<Result<Vec<_>>>()
        })?;
        let since = std::time::Instant::now();
        while !nodes.iter().all(|node| probe::brokers(node.port(), &id).is_ok_and(|live| live == nodes.len())) {
            ensure!(since.elapsed() < Duration::from_secs(60), "the nodes do not find each other");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(nodes)
    }

    /// The port that each listener of [`KafkaOptions::doors`] really listens on, in their order.
    pub fn doors(&self) -> &[u16] {
        &self.doors
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

/// A free port for each that a proxy was given.
fn doors(advertised: &[u16]) -> Result<Vec<Door>> {
    advertised.iter().map(|advertised| Ok(Door { listens: port::free()?, advertised: *advertised })).collect()
}

/// `id` becomes the cluster's, where the data does not belong to one yet.
fn start_on(java: &Java, place: &Place, node: &Node<'_>, id: &str) -> Result<Server> {
    let dir = made(&place.dir)?;
    let file = dir.join("server.properties");
    std::fs::write(&file, settings::of(node, &dir.join("data")))?;
    if !dir.join("data/meta.properties").exists() {
        let config = file.to_string_lossy();
        java.run("kafka.tools.StorageTool", &["format", "-t", id, "-c", &config], "")?;
    }
    let spec = java.spec("kafka", &place.log, "kafka.Kafka", &[file]);
    let (cluster, port) = (cluster_of(&dir.join("data"))?, node.port);
    Server::start(spec, port, place, Box::new(move || probe::brokers(port, &cluster).is_ok_and(|live| live > 0)))
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
