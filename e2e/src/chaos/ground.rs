//! The servers that a campaign stands on, from round to round. Starting Kafka and the database takes seconds, so they
//! stay; each round has a database, a topic and a consumer group of its own on them, and a Redis of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use stack::{Database, Kafka, KafkaOptions, Kind, Place, Redis, RedisOptions, Tools, shared};

use super::proxy::Proxy;

/// Kafka, of one node or of three, and the links that lead to it.
#[derive(Debug)]
pub struct Brokers {
    /// Its nodes.
    pub nodes: Vec<&'static Kafka>,
    /// The link from ingest to each node.
    pub from_ingest: Vec<Proxy>,
    /// The link from the persister to each node.
    pub from_persister: Vec<Proxy>,
}

impl Brokers {
    async fn start(tools: &Tools, count: usize) -> Result<Self> {
        let (mut from_ingest, mut from_persister) = (Vec::new(), Vec::new());
        for _ in 0..count {
            from_ingest.push(Proxy::listen().await?);
            from_persister.push(Proxy::listen().await?);
        }
        let doors: Vec<Vec<u16>> =
            from_ingest.iter().zip(&from_persister).map(|(a, b)| vec![a.port(), b.port()]).collect();
        let places: Vec<_> = (0..count).map(|_| Place::attached(shared::scratch("kafka"))).collect();
        let nodes: Vec<Kafka> = match (places.as_slice(), doors.as_slice()) {
            ([place], [doors]) => {
                vec![Kafka::start(tools, place, KafkaOptions { doors: doors.clone(), ..KafkaOptions::default() })?]
            }
            _ => Kafka::cluster(tools, &places, &doors)?,
        };
        // For as long as this process: a server's thread may outlive a round.
        let nodes: Vec<&'static Kafka> = nodes.into_iter().map(|node| &*Box::leak(Box::new(node))).collect();
        for (node, (ingest, persister)) in nodes.iter().zip(from_ingest.iter().zip(&from_persister)) {
            let (one, two) = (node.doors().first(), node.doors().get(1));
            ingest.lead_to(*one.context("a door for ingest")?);
            persister.lead_to(*two.context("a door for the persister")?);
        }
        Ok(Self { nodes, from_ingest, from_persister })
    }

    /// `bootstrap.servers` of somebody who is not tried.
    #[must_use]
    pub fn direct(&self) -> String {
        self.nodes.iter().map(|node| node.brokers()).collect::<Vec<_>>().join(",")
    }
}

/// `bootstrap.servers` through these links.
#[must_use]
pub fn through(links: &[Proxy]) -> String {
    links.iter().map(|link| format!("127.0.0.1:{}", link.port())).collect::<Vec<_>>().join(",")
}

/// The servers; started when a round first needs them.
#[derive(Debug)]
pub struct Ground {
    tools: Tools,
    one: Option<Arc<Brokers>>,
    three: Option<Arc<Brokers>>,
    database: Option<&'static Database>,
}

impl Default for Ground {
    fn default() -> Self {
        Self { tools: Tools::find(), one: None, three: None, database: None }
    }
}

impl Ground {
    /// Kills them: after a round that left them in an unknown state.
    ///
    /// # Errors
    /// One outlives it.
    pub fn end(self) -> Result<()> {
        for brokers in [self.one, self.three].into_iter().flatten() {
            brokers.nodes.iter().try_for_each(|node| node.kill())?;
        }
        self.database.map_or(Ok(()), |database| database.kill())
    }

    /// Kafka of one node, or of three.
    ///
    /// # Errors
    /// It does not start.
    pub async fn kafka(&mut self, three_nodes: bool) -> Result<Arc<Brokers>> {
        let (place, count) = if three_nodes { (&mut self.three, 3) } else { (&mut self.one, 1) };
        if let Some(brokers) = place {
            return Ok(Arc::clone(brokers));
        }
        let brokers = Arc::new(Brokers::start(&self.tools, count).await?);
        *place = Some(Arc::clone(&brokers));
        Ok(brokers)
    }

    /// The database, or a new one on a disk of `disk` megabytes.
    ///
    /// # Errors
    /// It does not start, or a disk is asked for and this is not root.
    pub fn database(&mut self, disk: Option<u64>) -> Result<&'static Database> {
        if let Some(database) = self.database.filter(|_| disk.is_none()) {
            return Ok(database);
        }
        let dir = shared::scratch("database");
        if let Some(megabytes) = disk {
            mount(&dir, megabytes)?;
        }
        let database = Database::start(&self.tools, &Place::attached(dir), Kind::from_env()?)?;
        let database: &'static Database = Box::leak(Box::new(database));
        if disk.is_none() {
            self.database = Some(database);
        }
        Ok(database)
    }

    /// A Redis for one round, on a disk of `disk` megabytes where one is given; and its folder.
    ///
    /// # Errors
    /// It does not start, or a disk is asked for and this is not root.
    pub fn redis(&self, options: RedisOptions, disk: Option<u64>) -> Result<(&'static Redis, std::path::PathBuf)> {
        let dir = shared::scratch("redis");
        if let Some(megabytes) = disk {
            mount(&dir, megabytes)?;
        }
        let redis = Redis::start_with(&self.tools, &Place::attached(&dir), options)?;
        Ok((Box::leak(Box::new(redis)), dir))
    }
}

/// A disk that can be filled without harm to the machine. It is seen by this process and its children only, and is gone
/// with them: see [`apart`].
fn mount(dir: &std::path::Path, megabytes: u64) -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "a full disk needs root: a sized tmpfs is mounted for it");
    ensure!(APART.load(Ordering::Relaxed), "a full disk needs mounts of our own: run it by `make chaos`");
    let options = format!("size={megabytes}m,mode=0755");
    let none = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("tmpfs"), dir, Some("tmpfs"), none, Some(options.as_str())).context("mounting a tmpfs")
}

/// Whether mounts of this process are its own.
static APART: AtomicBool = AtomicBool::new(false);

/// Gives this process mounts of its own, so that none of them outlives it. Before any thread is started; does nothing
/// without root.
///
/// # Errors
/// The system refuses.
pub fn apart() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).context("mounts of its own")?;
    let flags = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE;
    nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).context("mounts of its own")?;
    APART.store(true, Ordering::Relaxed);
    Ok(())
}
