//! DESIGN G10: everything that can grow has a bound. At each edge: exactly the bound passes, what is past it is refused or
//! waits as the setting says, and it opens again.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::system::{Servers, System, metric};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const JANE: &str = r#"{"name":"Jane","age":1}"#;
/// What Jane's event weighs in a lane at most: key, value, headers, and what carries them.
const EVENT_BYTES: f64 = 400.0;

/// A client that sends what it likes, when it likes.
struct Wire(TcpStream);

impl Wire {
    fn open(system: &System) -> Result<Self> {
        let stream = TcpStream::connect(system.ingest_url.trim_start_matches("http://"))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self(stream))
    }

    fn send(&mut self, text: &str) -> Result<()> {
        Ok(self.0.write_all(text.as_bytes())?)
    }

    /// What comes until an answer's head and body are there, or the connection ends.
    fn answer(&mut self) -> Result<String> {
        let (mut read, mut part) = (String::new(), [0; 4096]);
        loop {
            let bytes = self.0.read(&mut part)?;
            read += std::str::from_utf8(&part[..bytes])?;
            let length = read.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            let (_, body) = read.split_once("\r\n\r\n").unwrap_or_default();
            if bytes == 0 || length.is_some_and(|length| body.len() >= length) {
                return Ok(read);
            }
        }
    }

    /// Goes away for good: whoever only closes may still wait for his answer.
    fn reset(self) -> Result<()> {
        self.0.set_nonblocking(true)?;
        Ok(tokio::net::TcpStream::from_std(self.0)?.set_zero_linger()?)
    }

    fn is_silent_for(&mut self, span: Duration) -> Result<bool> {
        self.0.set_read_timeout(Some(span))?;
        let read = self.0.read(&mut [0; 1]);
        self.0.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(read.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)))
    }
}

fn head(method: &str, path: &str, length: usize) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: ingest\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// A sound record in exactly so many bytes.
fn body(bytes: usize) -> String {
    format!("{JANE}{}", " ".repeat(bytes - JANE.len()))
}

async fn shown(system: &System, admin_url: &str, series: &str) -> Result<f64> {
    metric(&system.metrics(admin_url).await?, series).with_context(|| format!("{series} is not shown"))
}

async fn put(system: &System, id: u32) -> Result<Response> {
    system.call(Method::PUT, &format!("/users/{id}"), Some(&json!({ "name": "Jane", "age": 1 }))).await
}

/// 503 of this kind, with the time to wait.
async fn refused(answer: Response, kind: &str) -> Result<()> {
    let (status, waits) = (answer.status(), answer.headers().contains_key("retry-after"));
    let told: Value = answer.json().await?;
    ensure!(status == 503 && waits, "past its bound: {status}, Retry-After: {waits}, {told}");
    ensure!(told["type"] == format!("urn:write-behind:problem:{kind}"), "refused for another reason: {told}");
    Ok(())
}

/// Timings with which a server that is paused for some seconds counts as there.
fn patient(servers: Servers) -> Result<System> {
    let timings = [
        ("REDIS_TIMEOUT_MS", "8000"),
        ("ANSWER_DEADLINE_MS", "9000"),
        ("PRODUCE_DEADLINE_MS", "20000"),
        ("RELAY_AFTER_MS", "21000"),
        ("STALL_AFTER_MS", "200000"),
    ];
    Ok(timings.into_iter().fold(System::prepare(servers)?, |system, (name, value)| system.with(name, value)))
}

/// Timings with which what was left in the outbox is soon in the topic.
fn hasty(servers: Servers) -> Result<System> {
    crate::faults::prepared(servers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_bodies_fill_their_room_exactly_and_a_byte_more_is_503_until_one_is_answered() -> Result<()> {
    let system = System::prepare(Servers::shared())?.with("BODY_BYTES_MOST", "1000").with("BODIES_BYTES_MOST", "1000");
    let system = system.up().await?;
    let taken = async || shown(&system, &system.ingest_admin_url, "write_behind_bodies_bytes").await;
    let send = |bytes: usize| system.client.put(format!("{}/users/2", system.ingest_url)).body(body(bytes));
    let send = async |bytes: usize| {
        Ok::<_, anyhow::Error>(send(bytes).header("content-type", "application/json").send().await?)
    };
    let mut slow = Wire::open(&system)?;
    let text = body(600);
    slow.send(&(head("PUT", "/users/1", 600) + &text[..599]))?;
    system.eventually("what has arrived is counted", async || Ok(taken().await? == 599.0)).await?;
    ensure!(send(401).await?.status() == 202, "599 and 401 bytes fit into 1000");
    system.eventually("what was answered is given back", async || Ok(taken().await? == 599.0)).await?;
    refused(send(402).await?, "bodies-full").await?;
    slow.send(&text[599..])?;
    let answer = slow.answer()?;
    ensure!(answer.starts_with("HTTP/1.1 202"), "who was there first goes on: {answer}");
    system.eventually("all is given back", async || Ok(taken().await? == 0.0)).await?;
    ensure!(send(1000).await?.status() == 202, "the largest body fits again");
    // Who goes away before the end of its body gives back, too.
    slow.send(&(head("PUT", "/users/1", 600) + &text[..500]))?;
    system.eventually("another slow body is counted", async || Ok(taken().await? == 500.0)).await?;
    drop(slow);
    system.eventually("what a client left behind is given back", async || Ok(taken().await? == 0.0)).await?;
    let series = r#"write_behind_rejected_total{entity="users",reason="bodies-full"}"#;
    ensure!(shown(&system, &system.ingest_admin_url, series).await? == 1.0, "one refusal is counted");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_connections_past_their_bound_wait_until_one_ends() -> Result<()> {
    let system = System::prepare(Servers::shared())?.with("CONNECTIONS_MOST", "2").with("HTTP_WORKERS", "1");
    let system = system.up().await?;
    let ask = |wire: &mut Wire| wire.send("GET /users/nobody HTTP/1.1\r\nHost: ingest\r\n\r\n");
    let begun = Instant::now();
    let (mut one, mut two, mut three) = (Wire::open(&system)?, Wire::open(&system)?, Wire::open(&system)?);
    for wire in [&mut one, &mut two] {
        ask(wire)?;
        ensure!(wire.answer()?.starts_with("HTTP/1.1 404"), "two connections are served");
    }
    ask(&mut three)?;
    ensure!(three.is_silent_for(Duration::from_millis(500))?, "a third connection is served beside two");
    let open = shown(&system, &system.ingest_admin_url, "http_connections").await?;
    ensure!(begun.elapsed() < Duration::from_secs(4), "too slow a machine: idle connections are closed after 5 s");
    ensure!(open == 2.0, "{open} connections are open");
    drop(one);
    ensure!(three.answer()?.starts_with("HTTP/1.1 404"), "the third is served once the first has ended");
    drop((two, three));
    system
        .eventually("no connection is left", async || {
            Ok(shown(&system, &system.ingest_admin_url, "http_connections").await? == 0.0)
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_a_client_that_is_slow_with_its_head_or_its_body_is_cut_off_in_time() -> Result<()> {
    let system = System::prepare(Servers::shared())?.with("HEAD_DEADLINE_MS", "700").with("BODY_DEADLINE_MS", "700");
    let system = system.up().await?;
    let told = head("PUT", "/users/1", 100);
    for (what, sent) in [("head", "PUT /users/1 HTTP/1.1\r\nHost: in"), ("body", &*(told + "{\"name\":"))] {
        let (mut wire, begun) = (Wire::open(&system)?, Instant::now());
        wire.send(sent)?;
        // A byte now and then is as slow.
        std::thread::sleep(Duration::from_millis(400));
        wire.send("x")?;
        let answer = wire.answer()?;
        ensure!(answer.starts_with("HTTP/1.1 408"), "a slow {what}: {answer}");
        let took = begun.elapsed();
        ensure!((400..3000).contains(&took.as_millis()), "a slow {what} is cut off after {took:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_requests_past_those_in_progress_are_503_before_any_work_and_the_writes_of_the_others_all_fit() -> Result<()>
{
    let system = patient(Servers::own()?)?.with("IN_FLIGHT_MOST", "3").up().await?;
    ensure!(put(&system, 0).await?.status() == 202);
    system.servers.redis.pause()?;
    let in_flight = async |count: f64| {
        let what = format!("{count} requests are in progress");
        let series = "http_requests_in_flight";
        system.eventually(&what, async || Ok(shown(&system, &system.ingest_admin_url, series).await? == count)).await
    };
    let work = async {
        in_flight(3.0).await?;
        // A write, a read, a route that is none, a head whose body never comes: nothing of them is looked at.
        let begun = Instant::now();
        refused(put(&system, 5).await?, "busy").await?;
        refused(system.call(Method::GET, "/users/0", None).await?, "busy").await?;
        refused(system.call(Method::GET, "/no/such/route", None).await?, "busy").await?;
        let mut wire = Wire::open(&system)?;
        wire.send(&head("PUT", "/users/5", 1000))?;
        let answer = wire.answer()?;
        ensure!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1"), "{answer}");
        ensure!(answer.contains("connection: close"), "the next request would meet the end unawares: {answer}");
        let mut wire = Wire::open(&system)?;
        for _ in 0..3 {
            wire.send(&(head("PUT", "/users/5", JANE.len()) + JANE))?;
            let answer = wire.answer()?;
            ensure!(answer.starts_with("HTTP/1.1 503") && !answer.contains("connection: close"), "{answer}");
        }
        ensure!(begun.elapsed() < Duration::from_secs(2), "they were refused only after {:?}", begun.elapsed());
        in_flight(3.0).await?;
        system.servers.redis.resume()
    };
    let (first, second, third, ()) = tokio::try_join!(put(&system, 1), put(&system, 2), put(&system, 3), work)?;
    for answer in [first, second, third] {
        ensure!(answer.status() == 202, "what found a place is written: {answer:?}");
    }
    in_flight(0.0).await?;
    ensure!(put(&system, 5).await?.status() == 202, "it opens again");
    let busy = r#"write_behind_rejected_total{entity="users",reason="busy"}"#;
    ensure!(shown(&system, &system.ingest_admin_url, busy).await? == 0.0, "a write got further than the door");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_a_client_that_goes_away_gives_its_place_back_and_the_queue_has_room_for_what_it_left() -> Result<()> {
    let system = patient(Servers::own()?)?.with("IN_FLIGHT_MOST", "3").up().await?;
    ensure!(put(&system, 0).await?.status() == 202);
    system.servers.redis.pause()?;
    let at = async |series: &str, count: f64| {
        let what = format!("{series} is {count}");
        system.eventually(&what, async || Ok(shown(&system, &system.ingest_admin_url, series).await? == count)).await
    };
    let leave = async |count: u16| {
        let mut wires = Vec::new();
        for number in 0..count {
            let mut wire = Wire::open(&system)?;
            wire.send(&(head("PUT", &format!("/users/{number}"), JANE.len()) + JANE))?;
            wires.push(wire);
        }
        at("http_requests_in_flight", f64::from(1 + count)).await?;
        wires.into_iter().try_for_each(Wire::reset)?;
        at("http_requests_in_flight", 1.0).await
    };
    let work = async {
        // The first is with Redis, and waits in no queue.
        at("http_requests_in_flight", 1.0).await?;
        at("write_behind_writes_waiting", 0.0).await?;
        leave(2).await?;
        leave(2).await?;
        at("write_behind_writes_waiting", 4.0).await?;
        let resume = async {
            at("write_behind_writes_waiting", 6.0).await?;
            system.servers.redis.resume()
        };
        tokio::try_join!(put(&system, 8), put(&system, 9), resume)
    };
    let (one, (two, three, ())) = tokio::try_join!(put(&system, 7), work)?;
    for answer in [one, two, three] {
        ensure!(answer.status() == 202, "those who left fill the queue of those who came: {answer:?}");
    }
    Ok(())
}

/// A connection that has sent so much that the answers do not fit into the buffers between, and reads nothing.
fn stalled(system: &System, requests: &str) -> Result<Wire> {
    let mut wire = Wire::open(system)?;
    wire.0.set_write_timeout(Some(Duration::from_millis(500)))?;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        match wire.0.write_all(requests.as_bytes()) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(wire),
            // It may be cut already.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                return Ok(wire);
            }
            Err(error) => return Err(error.into()),
        }
    }
    anyhow::bail!("the answers to so many requests find room")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_a_client_that_does_not_read_what_is_answered_is_cut_after_its_time_and_no_other_is() -> Result<()> {
    let system = System::prepare(Servers::shared())?.with("CLIENT_STALL_MS", "1000").with("BODY_BYTES_MOST", "600000");
    let system = system.up().await?;
    let large = json!({ "name": "J".repeat(100), "age": 1, "occupation": "x".repeat(200) });
    system.put("users", "1", &large).await?;
    let in_flight = async || shown(&system, &system.ingest_admin_url, "http_requests_in_flight").await;
    let get = "GET /users/1 HTTP/1.1\r\nHost: ingest\r\n\r\n";
    let mut other = Wire::open(&system)?;
    let wire = stalled(&system, &get.repeat(500))?;
    let begun = Instant::now();
    system
        .eventually("it is cut", async || {
            other.send(get)?;
            ensure!(other.answer()?.starts_with("HTTP/1.1 200"), "another client was cut");
            Ok(in_flight().await? == 0.0)
        })
        .await?;
    ensure!(begun.elapsed() < Duration::from_secs(10), "it was cut only after {:?}", begun.elapsed());
    drop(other);
    let open = async || shown(&system, &system.ingest_admin_url, "http_connections").await;
    // Those that rest are closed after 5 s; this one has never rested.
    system.eventually("no connection is left", async || Ok(open().await? == 0.0)).await?;
    drop(wire);
    Ok(())
}

/// Writes new records until each shard is full, and says how many were accepted. Every refusal is one for want of room.
async fn fill(system: &System, mut accepted: impl AsyncFnMut(u32) -> Result<()>) -> Result<u32> {
    let mut count = 0;
    for id in 0..300 {
        let answer = put(system, id).await?;
        if answer.status() == StatusCode::ACCEPTED {
            count += 1;
            accepted(id).await?;
        } else {
            refused(answer, "full").await?;
        }
    }
    Ok(count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_the_outbox_takes_exactly_its_bound_then_503_and_opens_again() -> Result<()> {
    let system = hasty(Servers::own()?)?.with("OUTBOX_MOST", "32").up().await?;
    system.servers.kafka.pause()?;
    system
        .eventually("Kafka is known to be away", async || {
            Ok(shown(&system, &system.ingest_admin_url, r#"write_behind_dependency_up{dependency="kafka"}"#).await?
                == 0.0)
        })
        .await?;
    ensure!(fill(&system, async |_| Ok(())).await? == 32, "300 records over 16 shards fill 32 places exactly");
    system
        .eventually("the outbox is shown to be full", async || {
            Ok(shown(&system, &system.ingest_admin_url, "write_behind_outbox_entries").await? == 32.0)
        })
        .await?;
    system.servers.kafka.resume()?;
    system.eventually("it opens again", async || Ok(put(&system, 299).await?.status() == 202)).await?;
    system
        .eventually("what waited is in the topic, and persisted", async || {
            let waiting = ["write_behind_outbox_entries", "write_behind_unsettled_entries"];
            let text = system.metrics(&system.ingest_admin_url).await?;
            Ok(waiting.iter().all(|name| metric(&text, name) == Some(0.0)))
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_the_unsettled_take_exactly_their_bound_then_503_and_open_again() -> Result<()> {
    let mut system = hasty(Servers::shared())?.with("UNSETTLED_MOST", "32");
    system.migrate()?;
    system.start_ingest().await?;
    let logged = async |id: u32| {
        system
            .eventually("the cache knows that the topic has it", async || {
                let shown = system.call(Method::GET, &format!("/users/{id}"), None).await?;
                Ok(shown.headers()["write-behind-state"] == "logged")
            })
            .await
    };
    ensure!(fill(&system, logged).await? == 32, "300 records over 16 shards fill 32 places exactly");
    system
        .eventually("the unsettled are shown to be full", async || {
            Ok(shown(&system, &system.ingest_admin_url, "write_behind_unsettled_entries").await? == 32.0)
        })
        .await?;
    system.start_persister().await?;
    system.eventually("it opens again", async || Ok(put(&system, 299).await?.status() == 202)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_a_full_producer_is_answered_cached_at_once_and_nothing_is_lost() -> Result<()> {
    let system = hasty(Servers::own()?)?.with("PRODUCER_EVENTS_MOST", "2").up().await?;
    ensure!(put(&system, 0).await?.status() == 202);
    let held = async || shown(&system, &system.ingest_admin_url, "write_behind_producer_events").await;
    system.servers.kafka.pause()?;
    let third = async {
        system.eventually("the producer holds two events", async || Ok(held().await? == 2.0)).await?;
        let bytes = shown(&system, &system.ingest_admin_url, "write_behind_producer_bytes").await?;
        ensure!(bytes > 20.0, "two events in {bytes} bytes");
        let begun = Instant::now();
        let answer = put(&system, 3).await?;
        ensure!(held().await? <= 2.0, "the producer has taken more than its bound");
        ensure!(begun.elapsed() < Duration::from_millis(900), "it waits for a producer that has not taken it");
        ensure!(answer.json::<Value>().await?["state"] == "cached", "nobody but Redis has it");
        Ok(())
    };
    let (one, two, ()) = tokio::try_join!(put(&system, 1), put(&system, 2), third)?;
    ensure!(one.status() == 202 && two.status() == 202, "{one:?} {two:?}");
    system.servers.kafka.resume()?;
    for id in 1..=3 {
        crate::every_type::until_persisted(&system, &format!("/users/{id}")).await?;
    }
    let bytes = async || shown(&system, &system.ingest_admin_url, "write_behind_producer_bytes").await;
    system.eventually("the producer is empty", async || Ok(held().await? == 0.0 && bytes().await? == 0.0)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_acknowledgements_past_their_bound_are_dropped_counted_and_made_good_by_the_relay() -> Result<()> {
    let system = hasty(Servers::own()?)?.with("ACKNOWLEDGEMENTS_MOST", "1").up().await?;
    let begun = Instant::now();
    let text = json!({ "name": "Jane", "age": 1 });
    system.servers.kafka.pause()?;
    let mut puts = JoinSet::new();
    for id in 0..20 {
        puts.spawn(system.client.put(format!("{}/users/{id}", system.ingest_url)).json(&text).send());
    }
    let writes = async {
        while let Some(answer) = puts.join_next().await {
            ensure!(answer??.status() == 202);
        }
        Ok(())
    };
    let held = async || shown(&system, &system.ingest_admin_url, "write_behind_producer_events").await;
    let acknowledged = async {
        system.eventually("the producer holds them", async || Ok(held().await? == 20.0)).await?;
        system.servers.kafka.resume()
    };
    tokio::try_join!(writes, acknowledged)?;
    let waiting = shown(&system, &system.ingest_admin_url, "write_behind_acknowledgements_waiting").await?;
    ensure!(waiting <= 1.0, "{waiting} acknowledgements wait");
    let series = "write_behind_acknowledgements_dropped_total";
    let dropped = shown(&system, &system.ingest_admin_url, series).await?;
    ensure!(dropped > 0.0, "twenty acknowledgements at once found room for one");
    for id in 0..20 {
        crate::every_type::until_persisted(&system, &format!("/users/{id}")).await?;
    }
    ensure!(begun.elapsed() < Duration::from_secs(60), "too slow");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_a_batch_takes_exactly_its_events_and_ends_at_its_bytes() -> Result<()> {
    for (name, most, bucket) in [("BATCH_ROWS_MOST", "5", "5"), ("BATCH_BYTES_MOST", "1", "1")] {
        let mut system = System::prepare(Servers::shared())?.with(name, most);
        system.migrate()?;
        system.start_ingest().await?;
        for id in 0..60 {
            ensure!(put(&system, id).await?.status() == 202);
        }
        system.start_persister().await?;
        system
            .eventually("all is applied", async || {
                let series = r#"write_behind_fates_total{entity="users",fate="applied"}"#;
                Ok(shown(&system, &system.persister_admin_url, series).await? == 60.0)
            })
            .await?;
        let within = |bucket: &str| format!("write_behind_batch_rows_bucket{{le=\"{bucket}\"}}");
        let text = system.metrics(&system.persister_admin_url).await?;
        let batches = metric(&text, "write_behind_batch_rows_count").context("batches")?;
        ensure!(metric(&text, &within(bucket)) == Some(batches), "{name}={most}: a batch is larger\n{text}");
        ensure!(
            bucket == "1" || metric(&text, &within("2")) < Some(batches),
            "{name}={most}: no batch is full\n{text}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_a_lane_takes_exactly_its_events_and_its_bytes_and_one_event_more_and_goes_on() -> Result<()> {
    let servers = Servers::own()?;
    for (name, most, series) in
        [("LANE_EVENTS_MOST", 3.0, "write_behind_lane_events"), ("LANE_BYTES_MOST", 400.0, "write_behind_lane_bytes")]
    {
        let mut system = hasty(servers)?.with(name, &most.to_string()).with("BATCH_ROWS_MOST", "1");
        system.migrate()?;
        system.start_persister().await?;
        system.start_ingest().await?;
        servers.database.pause()?;
        for id in 0..200 {
            ensure!(put(&system, id).await?.status() == 202);
        }
        let fullest = async || -> Result<f64> {
            let text = system.metrics(&system.persister_admin_url).await?;
            let depths = text.lines().filter(|line| line.starts_with(&format!("{series}{{")));
            let depths = depths.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
            depths.reduce(f64::max).context("no lane is shown")
        };
        system.eventually("a lane is full", async || Ok(fullest().await? >= most)).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (fullest, more) = (fullest().await?, if series.ends_with("bytes") { EVENT_BYTES } else { 0.0 });
        ensure!(fullest <= most + more, "{name}={most}: a lane holds {fullest}");
        servers.database.resume()?;
        system
            .eventually("what waited is applied", async || {
                let series = r#"write_behind_fates_total{entity="users",fate="applied"}"#;
                Ok(shown(&system, &system.persister_admin_url, series).await? == 200.0)
            })
            .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_reads_share_the_connections_to_the_database_and_are_503_when_all_stay_in_use() -> Result<()> {
    let system =
        hasty(Servers::own()?)?.with("DATABASE_CONNECTIONS", "2").with("DATABASE_TIMEOUT_MS", "3000").up().await?;
    let read = async |id: u32| system.call(Method::GET, &format!("/users/{id}"), None).await;
    ensure!(read(0).await?.status() == 404);
    system.servers.database.pause()?;
    let in_use = async {
        let series = "write_behind_database_connections_in_use";
        system
            .eventually("both are in use", async || Ok(shown(&system, &system.ingest_admin_url, series).await? == 2.0))
            .await
    };
    let (one, two, three, four, ()) = tokio::try_join!(read(1), read(2), read(3), read(4), in_use)?;
    for answer in [one, two, three, four] {
        refused(answer, "database-away").await?;
    }
    system.servers.database.resume()?;
    system.eventually("reads are answered again", async || Ok(read(1).await?.status() == 404)).await
}
