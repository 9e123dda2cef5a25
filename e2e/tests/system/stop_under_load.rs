//! A stop in order under load: what was acknowledged is there afterwards, and no connection ends in the middle of an answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::topic_reader::read_all;
use e2e::{Servers, System};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use stack::Ended;
use tokio::task::JoinSet;

use crate::answers::shown;
use crate::bulk::{bulk, line, results, told};
use crate::bulk_stream::Talk;
use crate::wire::{Answer, JANE, Wire, head};

/// Connections that write as fast as they are answered.
const BUSY: usize = 64;
/// Connections whose bodies are under way when the stop begins.
const SLOW: usize = 8;
/// Writes that are answered before the stop begins.
const BEFORE: u64 = 2000;

/// What a connection came to.
#[derive(Debug, Default)]
struct Ending {
    /// Ids and versions.
    acknowledged: Vec<(String, u64)>,
    /// It was told that its connection ends, and got the whole answer that said so.
    in_order: bool,
}

fn take(ending: &mut Ending, id: String, answer: &Answer) -> Result<()> {
    let body = answer.json()?;
    ensure!(answer.status == 202, "{}: {body}", answer.status);
    ending.acknowledged.push((id, body["version"].as_u64().context("a version")?));
    ending.in_order = answer.ends;
    Ok(())
}

/// Writes until it is told that its connection ends.
fn busy(url: &str, number: usize, answered: &AtomicU64) -> Result<Ending> {
    let (mut wire, mut ending) = (Wire::open(url)?, Ending::default());
    for write in 0_u64.. {
        let id = format!("busy-{number}-{write}");
        wire.send(&(head("PUT", &format!("/users/{id}"), JANE.len()) + JANE)).with_context(|| id.clone())?;
        take(&mut ending, id.clone(), &wire.answer().context(id)?)?;
        answered.fetch_add(1, Ordering::Relaxed);
        if ending.in_order {
            break;
        }
    }
    wire.ends()?;
    Ok(ending)
}

/// Sends its head, waits until the stop has begun, and sends its body a byte at a time.
fn slow(url: &str, number: usize, stopping: &Barrier) -> Result<Ending> {
    let (mut wire, mut ending) = (Wire::open(url)?, Ending::default());
    let id = format!("slow-{number}");
    wire.send(&head("PUT", &format!("/users/{id}"), JANE.len()))?;
    stopping.wait();
    for at in 0..JANE.len() {
        wire.send(&JANE[at..=at]).with_context(|| id.clone())?;
        thread::sleep(Duration::from_millis(100));
    }
    take(&mut ending, id.clone(), &wire.answer().context(id)?)?;
    wire.ends()?;
    Ok(ending)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_loses_no_acknowledged_write_and_breaks_off_no_answer() -> Result<()> {
    let mut system = System::start().await?;
    let (answered, stopping) = (Arc::new(AtomicU64::new(0)), Arc::new(Barrier::new(SLOW + 1)));
    let clients: Vec<_> = (0..BUSY + SLOW)
        .map(|number| {
            let (url, answered, stopping) = (system.ingest_url.clone(), Arc::clone(&answered), Arc::clone(&stopping));
            thread::spawn(
                move || {
                    if number < BUSY { busy(&url, number, &answered) } else { slow(&url, number, &stopping) }
                },
            )
        })
        .collect();
    system.eventually("writes are answered", async || Ok(answered.load(Ordering::Relaxed) >= BEFORE)).await?;
    let ingest = system.ingest.take().context("ingest runs")?;
    let begun = Instant::now();
    ingest.signal(Signal::SIGTERM)?;
    stopping.wait();
    let endings: Vec<_> = clients.into_iter().map(|client| client.join().expect("no panic")).collect();
    let Ended::Yes(Some(status)) = ingest.wait(Duration::from_secs(40))? else {
        bail!("ingest goes on\n{}", ingest.log_tail(20));
    };
    ensure!(status.success(), "{status}\n{}", ingest.log_tail(20));
    println!("stopped in {:?} after {} answers", begun.elapsed(), answered.load(Ordering::Relaxed));

    let broken: Vec<_> =
        endings.iter().filter_map(|ending| ending.as_ref().err()).map(|error| format!("{error:#}")).collect();
    ensure!(
        broken.is_empty(),
        "{} of {} connections were broken off:\n{}",
        broken.len(),
        endings.len(),
        broken.join("\n")
    );
    let endings: Vec<Ending> = endings.into_iter().collect::<Result<_>>()?;
    let untold = endings.iter().filter(|ending| !ending.in_order).count();
    ensure!(untold == 0, "{untold} connections ended without having been told so");

    let written: Vec<_> = endings.into_iter().flat_map(|ending| ending.acknowledged).collect();
    let table = system.table().await?;
    let held = async || -> Result<std::collections::HashMap<String, u64>> {
        let rows: Vec<(String, u64)> =
            sqlx::query_as("SELECT id, CAST(version AS UNSIGNED) FROM users").fetch_all(&table).await?;
        Ok(rows.into_iter().collect())
    };
    let lost = async || -> Result<Vec<String>> {
        let held = held().await?;
        Ok(written.iter().filter(|(id, version)| held.get(id) != Some(version)).map(|(id, _)| id.clone()).collect())
    };
    let drained = system.eventually("every acknowledged write is a row", async || Ok(lost().await?.is_empty())).await;
    drained.with_context(|| format!("{} acknowledged", written.len()))
}

/// The ids of what was accepted, the ids in the table when everything has settled, and how long the bulk's end took.
async fn stopped(mut system: System, bulk: impl Future<Output = Result<Vec<Value>>>) -> Result<(Vec<Value>, Duration)> {
    let ingest = system.ingest.take().context("ingest runs")?;
    let begun = Instant::now();
    ingest.signal(Signal::SIGTERM)?;
    let results = bulk.await?;
    let took = begun.elapsed();
    let Ended::Yes(Some(status)) = ingest.wait(Duration::from_secs(40))? else {
        bail!("ingest goes on\n{}", ingest.log_tail(20));
    };
    ensure!(status.success(), "{status}\n{}", ingest.log_tail(20));
    let mut accepted: Vec<_> = results.iter().filter(|result| result["status"] == 202).collect();
    accepted.sort_by_key(|result| result["id"].as_str());
    let table = system.table().await?;
    system
        .eventually("what was accepted is in the table, and nothing else is", async || {
            let rows: Vec<(String, u64)> =
                sqlx::query_as("SELECT id, CAST(version AS UNSIGNED) FROM users ORDER BY id").fetch_all(&table).await?;
            let is = |(result, (id, version)): (&&Value, &(String, u64))| {
                result["id"] == id.as_str() && result["version"] == *version
            };
            Ok(rows.len() == accepted.len() && accepted.iter().zip(&rows).all(is))
        })
        .await?;
    Ok((results, took))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bulk_without_end_has_one_in_order_when_its_service_stops() -> Result<()> {
    let system = System::start().await?;
    let mut bulk = JoinSet::new();
    bulk.spawn(Talk::open(&system, &[]).await?.without_end(Duration::from_millis(5)));
    let accepted = r#"write_behind_accepted_total{entity="users",op="upsert",state="logged"}"#;
    system.eventually("lines are written", async || Ok(shown(&system, accepted).await? >= 50.0)).await?;
    let (results, took) = stopped(system, async { bulk.join_next().await.context("it runs")?? }).await?;
    ensure!(took < Duration::from_secs(5), "its end was told after {took:?}");
    for (at, result) in results.iter().enumerate() {
        ensure!(result["line"] == at + 1, "not line {}: {result}", at + 1);
    }
    let (last, others) = results.split_last().context("results")?;
    ensure!(told(last) == (503, "stopping".to_owned()), "the last one: {last}");
    ensure!(others.iter().all(|result| result["status"] == 202), "a line that was taken was not written: {others:?}");
    Ok(())
}

/// Of 60 lines 20 may be written at once, and two each second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_wait_for_their_callers_rate_are_not_begun_when_the_service_stops() -> Result<()> {
    let system = System::prepare(Servers::shared())?.with("RATE_PER_S", "2").with("RATE_BURST", "20").up().await?;
    let mut talk = Talk::open(&system, &[]).await?;
    talk.say((0..60).map(|at| line(&format!("{at}"), 7)).collect::<String>()).await?;
    let waiting = async || Ok(shown(&system, "write_behind_bulk_lines").await? > 0.0);
    system.eventually("lines are under way", waiting).await?;
    let mut heard = talk.hear().await?;
    let (results, took) = stopped(system, async {
        heard.extend(talk.end().await?);
        Ok(heard)
    })
    .await?;
    ensure!(took < Duration::from_secs(5), "the end was told after {took:?}");
    let refused = results.iter().filter(|result| told(result) == (503, "stopping".to_owned())).count();
    let accepted = results.iter().filter(|result| result["status"] == 202).count();
    ensure!(refused >= 30 && accepted >= 15, "{accepted} written, {refused} not begun: {results:?}");
    ensure!(refused + accepted == results.len() && results.len() <= 61, "{results:?}");
    Ok(())
}

/// Its writes were answered `cached`, since Kafka stood still.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_kafka_when_ingest_is_to_stop_goes_out_and_the_cache_learns_of_all_of_it() -> Result<()> {
    const LINES: usize = 1500;
    let timings = [
        ("ANSWER_DEADLINE_MS", "1000"),
        ("PRODUCE_DEADLINE_MS", "20000"),
        ("RELAY_AFTER_MS", "21000"),
        ("STOP_DELAY_MS", "100"),
        ("BULK_LINES_MOST", "1500"),
    ];
    let prepared = System::prepare(Servers::own()?)?;
    let mut system = timings.into_iter().fold(prepared, |system, (name, value)| system.with(name, value));
    // Nobody persists, which would take it out of the outbox, too.
    system.migrate()?;
    system.start_ingest().await?;
    ensure!(system.put("users", "0", &json!({ "name": "Ada", "age": 7 })).await?["state"] == "logged");
    system.servers.kafka.pause()?;
    let lines: String = (1..=LINES).map(|at| line(&at.to_string(), 7)).collect();
    let cached = results(bulk(&system, &[], lines).await?).await?;
    ensure!(cached.iter().all(|result| told(result) == (202, "cached".to_owned())), "{cached:?}");
    let ingest = system.ingest.take().context("ingest runs")?;
    ingest.signal(Signal::SIGTERM)?;
    let address = system.ingest_url.trim_start_matches("http://");
    let closed = async || Ok(tokio::net::TcpStream::connect(address).await.is_err());
    system.eventually("it listens no more", closed).await?;
    system.servers.kafka.resume()?;
    let Ended::Yes(Some(status)) = ingest.wait(Duration::from_secs(40))? else {
        bail!("ingest goes on\n{}", ingest.log_tail(20));
    };
    ensure!(status.success(), "{status}\n{}", ingest.log_tail(20));
    let events = read_all(&system.servers.kafka.brokers(), &format!("{}users", system.topic_prefix))?;
    ensure!(events.len() == 1 + LINES, "{} of {} events are in the topic", events.len(), 1 + LINES);
    let mut waiting = 0;
    for shard in 0..16 {
        waiting += system.redis::<usize>(&["ZCARD", &format!("wb:{{{shard:02}}}:outbox")], &[]).await?;
    }
    ensure!(waiting == 0, "the cache has not learnt of {waiting} events that the topic has");
    Ok(())
}
