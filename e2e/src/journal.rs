//! The tests' notion of truth: every acknowledged write is an obligation, checked once the faults have stopped.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, ensure};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use sqlx::{MySqlPool, Row};

/// A version and the name that it carried; `None` for a delete.
type Told = (u64, Option<String>);

/// What was sent for one record, and what of it was acknowledged.
#[derive(Clone, Debug, Default)]
struct Story {
    /// The newest that was acknowledged.
    newest: Option<Told>,
    /// Names that were sent, acknowledged or not: nothing else may ever stand in the row.
    sent: Vec<String>,
}

/// What clients were told.
#[derive(Debug, Default)]
pub struct Journal {
    stories: Mutex<HashMap<String, Story>>,
    acknowledged: AtomicU64,
    refused: AtomicU64,
    unanswered: AtomicU64,
}

/// Clients that write users until they are stopped.
#[derive(Debug)]
pub struct Load {
    journal: Arc<Journal>,
    target: Arc<Mutex<String>>,
    stop: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<Result<()>>>,
}

/// The purge mark (R18).
async fn purged(table: &MySqlPool) -> Result<u64> {
    let sql = "SELECT purged FROM _write_behind_entities WHERE entity = 'users'";
    Ok(sqlx::query_scalar(sql).fetch_one(table).await?)
}

fn may_be_purged((version, name): &Told, purged: u64) -> bool {
    name.is_none() && *version <= purged
}

impl Load {
    /// `clients` clients write, and now and then delete, `ids` records in a random order that `seed` decides. A refused
    /// write is tried again with new content; a lost answer counts as unknown.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "Load::finish awaits every client")]
    pub fn start(ingest_url: &str, clients: u64, ids: u32, seed: u64) -> Self {
        let (journal, stop) = (Arc::new(Journal::default()), Arc::new(AtomicBool::new(false)));
        let target = Arc::new(Mutex::new(ingest_url.to_owned()));
        let client = |number: u64| {
            let (journal, stop, target) = (Arc::clone(&journal), Arc::clone(&stop), Arc::clone(&target));
            tokio::spawn(async move {
                let http = Client::builder().timeout(std::time::Duration::from_secs(5)).build()?;
                let mut random = SmallRng::seed_from_u64(seed ^ (number << 32));
                for turn in 0_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let id = random.random_range(0..ids).to_string();
                    let name = (!random.random_ratio(1, 10)).then(|| format!("client {number} turn {turn}"));
                    let url = target.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    journal.write(&http, &url, &id, name).await;
                }
                Ok(())
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { journal, target, stop, clients }
    }

    /// From their next write on the clients ask another ingest, as a balancer would have it.
    pub fn turn_to(&self, ingest_url: &str) {
        ingest_url.clone_into(&mut self.target.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Writes acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.journal.acknowledged.load(Ordering::Relaxed)
    }

    /// Stops the clients, waits for their last answers and hands over what they were told.
    ///
    /// # Errors
    /// A client failed.
    pub async fn finish(self) -> Result<Arc<Journal>> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await??;
        }
        Ok(self.journal)
    }
}

impl Journal {
    fn stories(&self) -> MutexGuard<'_, HashMap<String, Story>> {
        self.stories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self, http: &Client, url: &str, id: &str, name: Option<String>) {
        let path = format!("{url}/users/{id}");
        let request = match &name {
            Some(name) => {
                self.stories().entry(id.to_owned()).or_default().sent.push(name.clone());
                // Version 1 demands an occupation, later ones take it.
                http.request(Method::PUT, path).json(&json!({ "name": name, "age": 1, "occupation": "client" }))
            }
            None => http.request(Method::DELETE, path),
        };
        let Ok(answer) = request.send().await else {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
            return;
        };
        if !answer.status().is_success() {
            self.refused.fetch_add(1, Ordering::Relaxed);
            // Whoever is refused at once must not ask a thousand times a second.
            return tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let Ok(body) = answer.json::<Value>().await else { return };
        let Some(version) = body.get("version").and_then(Value::as_u64) else { return };
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        let mut stories = self.stories();
        let story = stories.entry(id.to_owned()).or_default();
        if story.newest.as_ref().is_none_or(|(newest, _)| *newest < version) {
            story.newest = Some((version, name));
        }
    }

    /// Writes acknowledged, and refused.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.acknowledged.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    /// Writes of which nobody knows what became of them.
    #[must_use]
    pub fn unanswered(&self) -> u64 {
        self.unanswered.load(Ordering::Relaxed)
    }

    /// How many acknowledged writes the table does not have yet, at their version or a newer one. Of a delete at or below the
    /// purge mark it need have nothing.
    ///
    /// # Errors
    /// The table cannot be read.
    pub async fn missing(&self, table: &MySqlPool) -> Result<usize> {
        let rows = sqlx::query("SELECT id, version FROM users").fetch_all(table).await?;
        let held: HashMap<String, u64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let purged = purged(table).await?;
        let stories = self.stories();
        let owed = stories.iter().filter_map(|(id, story)| Some((id, story.newest.as_ref()?)));
        let lacks = |id: &String, newest: &Told| match held.get(id) {
            Some(held) => *held < newest.0,
            None => !may_be_purged(newest, purged),
        };
        Ok(owed.filter(|(id, newest)| lacks(id, newest)).count())
    }

    /// Once drained: nothing lost, nothing phantom, nothing resurrected.
    ///
    /// # Errors
    /// Names the first record at fault.
    pub async fn check(&self, table: &MySqlPool) -> Result<()> {
        let rows = sqlx::query("SELECT id, version, deleted, name FROM users").fetch_all(table).await?;
        let purged = purged(table).await?;
        let stories = self.stories();
        for row in &rows {
            let (id, version, deleted, name): (String, u64, bool, Option<String>) =
                (row.get(0), row.get(1), row.get(2), row.get(3));
            let story = stories.get(&id).cloned().unwrap_or_default();
            if let Some(name) = &name {
                ensure!(story.sent.contains(name), "phantom: record {id} holds {name:?}, which nobody sent");
            }
            let Some((newest, told)) = story.newest else { continue };
            ensure!(version >= newest, "lost: record {id} was acknowledged at {newest}, the table has {version}");
            if version == newest {
                ensure!(deleted == told.is_none(), "record {id} at {version}: deleted is {deleted}, told {told:?}");
                ensure!(name == told, "record {id} at {version} holds {name:?}, acknowledged was {told:?}");
            }
        }
        let held: HashMap<String, ()> = rows.iter().map(|row| (row.get(0), ())).collect();
        for (id, story) in stories.iter() {
            let owed = story.newest.as_ref().is_some_and(|newest| !may_be_purged(newest, purged));
            ensure!(
                !owed || held.contains_key(id),
                "lost: record {id} has no row, acknowledged was {:?}",
                story.newest
            );
        }
        Ok(())
    }
}
