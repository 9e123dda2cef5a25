//! Concurrent clients: Zipf keys; creates, updates, deletes, reads, conditional and retried writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};

use super::journal::{Acknowledged, Content, Journal, NAME_MOST, Op, Seen, State, Written};

/// Longer than ingest may take for any answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much of what clients put is poison: contents that the table refuses, though ingest does not.
#[derive(Debug, Default)]
pub struct Spoilt {
    /// One of so many; 0: none.
    one_of: AtomicU64,
    asked: AtomicU64,
}

impl Spoilt {
    /// From now on one of so many, the very next one first; 0: none.
    pub fn set(&self, one_of: u64) {
        self.asked.store(0, Ordering::SeqCst);
        self.one_of.store(one_of, Ordering::SeqCst);
    }

    fn next(&self) -> bool {
        let one_of = self.one_of.load(Ordering::SeqCst);
        one_of > 0 && self.asked.fetch_add(1, Ordering::SeqCst).is_multiple_of(one_of)
    }
}

/// What the clients do.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// How many there are.
    pub clients: u64,
    /// Records that they share.
    pub ids: u32,
    /// Longest rest between two requests of a client.
    pub rest: Duration,
    /// Decides everything that they do, but not how the answers interleave.
    pub seed: u64,
}

/// Clients at work.
#[derive(Debug)]
pub struct Crowd {
    stop: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Crowd {
    /// Sends them to work on this ingest.
    ///
    /// # Errors
    /// No HTTP client.
    #[expect(clippy::disallowed_methods, reason = "Crowd::stop awaits every client")]
    pub fn start(ingest_url: &str, habits: Habits, journal: &Arc<Journal>, spoilt: &Arc<Spoilt>) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..habits.clients)
            .map(|number| {
                let one = One {
                    number,
                    url: ingest_url.to_owned(),
                    http: Client::builder().timeout(PATIENCE).build()?,
                    habits,
                    random: SmallRng::seed_from_u64(habits.seed ^ (number << 40)),
                    journal: Arc::clone(journal),
                    spoilt: Arc::clone(spoilt),
                    zipf: Zipf::new(habits.ids),
                    known: None,
                };
                Ok(tokio::spawn(one.work(Arc::clone(&stop))))
            })
            .collect::<Result<_>>()?;
        Ok(Self { stop, clients })
    }

    /// Lets them end what they are at, and waits for it.
    ///
    /// # Errors
    /// A client died.
    pub async fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await?;
        }
        Ok(())
    }
}

/// Record k is asked for with a weight of 1 / (k + 1): a few are fought over, many are rare.
#[derive(Clone, Debug)]
struct Zipf {
    cumulated: Vec<f64>,
}

impl Zipf {
    fn new(ids: u32) -> Self {
        let mut sum = 0.0;
        let cumulated = (1..=ids).map(|rank| {
            sum += 1.0 / f64::from(rank);
            sum
        });
        Self { cumulated: cumulated.collect() }
    }

    fn pick(&self, random: &mut SmallRng) -> usize {
        let most = self.cumulated.last().copied().unwrap_or(0.0);
        let at = random.random::<f64>() * most;
        self.cumulated.partition_point(|sum| *sum < at)
    }
}

/// Numbers contents over all clients and rounds of a process.
static NEXT: AtomicU64 = AtomicU64::new(1);

#[derive(Debug)]
struct One {
    number: u64,
    url: String,
    http: Client,
    habits: Habits,
    random: SmallRng,
    journal: Arc<Journal>,
    spoilt: Arc<Spoilt>,
    zipf: Zipf,
    /// The record it read last, with its version.
    known: Option<(String, u64)>,
}

/// How one try ended.
enum Answer {
    Acknowledged { version: u64, state: State, checked: bool },
    Refused,
    Unknown,
}

impl One {
    async fn work(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            let id = format!("k{}", self.zipf.pick(&mut self.random));
            match self.random.random_range(0..100) {
                0..20 => self.read(&id).await,
                20..30 => self.write(&id, Op::Delete).await,
                30..35 => self.create().await,
                _ => {
                    let content = self.content();
                    self.write(&id, Op::Put(content)).await;
                }
            }
            let rest = self.random.random_range(0..=self.habits.rest.as_micros());
            tokio::time::sleep(Duration::from_micros(u64::try_from(rest).unwrap_or(0))).await;
        }
    }

    fn content(&mut self) -> Content {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let occupation = self.random.random_bool(0.8).then(|| "x".repeat(self.random.random_range(1..200)));
        let much = if self.spoilt.next() { " much too long" } else { "" };
        Content {
            name: format!("client {} write {number}{}", self.number, much.repeat(NAME_MOST / much.len().max(1) + 1)),
            age: self.random.random_range(0..150),
            occupation,
        }
    }

    /// A record that nobody else knows of.
    async fn create(&mut self) {
        let content = self.content();
        let id = format!("c{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.write(&id, Op::Put(content)).await;
    }

    /// A write, which is tried again with its key where its outcome is unknown, and now and then where it is known.
    async fn write(&mut self, id: &str, op: Op) {
        let keyed = self.random.random_bool(0.3);
        let known = self.known.take_if(|(known, _)| known == id);
        let depends_on = known.map(|(_, version)| version);
        let key = keyed.then(|| format!("key-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let (id, begun) = (id.to_owned(), self.journal.now());
        let (mut acknowledged, mut indeterminate) = (Vec::new(), false);
        for tried in 1..=4 {
            let sent = self.request(&id, &op, key.as_deref(), depends_on).send().await;
            let at = self.journal.now();
            let again = match judge(sent).await {
                Answer::Acknowledged { version, state, checked } => {
                    acknowledged.push(Acknowledged { version, state, checked, at });
                    tried == 1 && self.random.random_bool(0.2)
                }
                Answer::Unknown => {
                    indeterminate = true;
                    true
                }
                // Whoever is refused at once must not ask a thousand times a second.
                Answer::Refused => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    indeterminate
                }
            };
            if !keyed || !again {
                break;
            }
        }
        let ended = self.journal.now();
        self.journal.wrote(Written { id, op, depends_on, keyed, begun, ended, acknowledged, indeterminate });
    }

    fn request(&self, id: &str, op: &Op, key: Option<&str>, depends_on: Option<u64>) -> RequestBuilder {
        let path = format!("{}/users/{id}", self.url);
        let mut request = match op {
            Op::Delete => self.http.request(Method::DELETE, path),
            Op::Put(Content { name, age, occupation }) => self
                .http
                .request(Method::PUT, path)
                .json(&json!({ "name": name, "age": age, "occupation": occupation })),
        };
        if let Some(key) = key {
            request = request.header("idempotency-key", format!("\"{key}\""));
        }
        if let Some(version) = depends_on {
            request = request.header("if-match", format!("\"{version}\""));
        }
        request
    }

    async fn read(&mut self, id: &str) {
        let begun = self.journal.now();
        // Whoever has read a record before may ask for nothing older, and gives up soon: it may have been a dead letter.
        let least = self.known.as_ref().filter(|(known, _)| known == id).map(|(_, version)| *version);
        let mut request = self.http.get(format!("{}/users/{id}", self.url));
        if let Some(least) = least {
            request = request.header("min-version", least).header("prefer", "wait=1");
        }
        let answer = request.send().await;
        self.known = None;
        let Ok(answer) = answer else { return };
        let source = answer.headers().get("write-behind-source");
        let unchecked = source.is_some_and(|source| source == "table-unchecked");
        let Some(found) = shown(answer).await else { return };
        self.known = found.as_ref().map(|(version, _)| (id.to_owned(), *version));
        self.journal.saw(Seen { id: id.to_owned(), begun, ended: self.journal.now(), unchecked, least, found });
    }
}

/// A refusal promises that nothing happened; a connection that never came about sent nothing. The rest is unknown.
async fn judge(sent: reqwest::Result<Response>) -> Answer {
    let answer = match sent {
        Ok(answer) => answer,
        Err(error) if error.is_connect() => return Answer::Refused,
        Err(_) => return Answer::Unknown,
    };
    let status = answer.status();
    if status.is_client_error() || status == 503 {
        return Answer::Refused;
    }
    if !status.is_success() {
        return Answer::Unknown;
    }
    let checked = answer.headers().get("idempotency-checked").is_none_or(|checked| checked != "false");
    let Ok(body) = answer.json::<Value>().await else { return Answer::Unknown };
    let version = body.get("version").and_then(Value::as_u64);
    let state = match body.get("state").and_then(Value::as_str) {
        Some("cached") => State::Cached,
        Some("persisted") => State::Persisted,
        _ => State::Logged,
    };
    version.map_or(Answer::Unknown, |version| Answer::Acknowledged { version, state, checked })
}

/// What a GET showed: a record with its version, that there is none, or (`None`) nothing that could be judged.
pub(crate) async fn shown(answer: Response) -> Option<Option<(u64, Content)>> {
    if answer.status() == 404 {
        return Some(None);
    }
    if !answer.status().is_success() {
        return None;
    }
    let version = answer.headers().get("etag")?.to_str().ok()?.trim_matches('"').parse().ok()?;
    Some(Some((version, content(&answer.json().await.ok()?)?)))
}

/// A user's fields out of JSON.
pub(crate) fn content(json: &Value) -> Option<Content> {
    Some(Content {
        name: json.get("name")?.as_str()?.to_owned(),
        age: json.get("age")?.as_i64()?,
        occupation: json.get("occupation").and_then(Value::as_str).map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_records_are_fought_over_and_many_are_rare() {
        let (zipf, mut random) = (Zipf::new(200), SmallRng::seed_from_u64(1));
        let mut picked = [0; 200];
        for _ in 0..10_000 {
            picked[zipf.pick(&mut random)] += 1;
        }
        assert!(picked[0] > 1_000, "{picked:?}");
        assert!(picked.iter().filter(|times| **times > 0).count() > 150, "{picked:?}");
    }
}
