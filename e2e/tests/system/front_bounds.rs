//! DESIGN G10 at ingest's front: connections, heads, bodies, requests in progress. At each edge: exactly the bound passes, what
//! is past it is refused or waits as the setting says, and it opens again.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::system::{Servers, System};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::answers::shown;
use crate::wire::{JANE, Wire, head};

/// A sound record in exactly so many bytes.
fn body(bytes: usize) -> String {
    format!("{JANE}{}", " ".repeat(bytes - JANE.len()))
}

/// Writes Jane.
pub(crate) async fn put(system: &System, id: u32) -> Result<Response> {
    system.call(Method::PUT, &format!("/users/{id}"), Some(&json!({ "name": "Jane", "age": 1 }))).await
}

/// 503 of this kind, with the time to wait.
pub(crate) async fn refused(answer: Response, kind: &str) -> Result<()> {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_bodies_fill_their_room_exactly_and_a_byte_more_is_503_until_one_is_answered() -> Result<()> {
    let system = System::prepare(Servers::shared())?.with("BODY_BYTES_MOST", "1000").with("BODIES_BYTES_MOST", "1000");
    let system = system.up().await?;
    let taken = async || shown(&system, "write_behind_bodies_bytes").await;
    let send = |bytes: usize| system.client.put(format!("{}/users/2", system.ingest_url)).body(body(bytes));
    let send = async |bytes: usize| {
        Ok::<_, anyhow::Error>(send(bytes).header("content-type", "application/json").send().await?)
    };
    let mut slow = Wire::open(&system.ingest_url)?;
    let text = body(600);
    slow.send(&(head("PUT", "/users/1", 600) + &text[..599]))?;
    system.eventually("what has arrived is counted", async || Ok(taken().await? == 599.0)).await?;
    ensure!(send(401).await?.status() == 202, "599 and 401 bytes fit into 1000");
    system.eventually("what was answered is given back", async || Ok(taken().await? == 599.0)).await?;
    refused(send(402).await?, "bodies-full").await?;
    slow.send(&text[599..])?;
    let answer = slow.answer()?;
    ensure!(answer.status == 202, "who was there first goes on: {}", answer.head);
    system.eventually("all is given back", async || Ok(taken().await? == 0.0)).await?;
    ensure!(send(1000).await?.status() == 202, "the largest body fits again");
    // Who goes away before the end of its body gives back, too.
    slow.send(&(head("PUT", "/users/1", 600) + &text[..500]))?;
    system.eventually("another slow body is counted", async || Ok(taken().await? == 500.0)).await?;
    drop(slow);
    system.eventually("what a client left behind is given back", async || Ok(taken().await? == 0.0)).await?;
    let series = r#"write_behind_rejected_total{entity="users",reason="bodies-full"}"#;
    ensure!(shown(&system, series).await? == 1.0, "one refusal is counted");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_connections_past_their_bound_wait_until_one_ends() -> Result<()> {
    let system = System::prepare(Servers::shared())?.with("CONNECTIONS_MOST", "2").with("HTTP_WORKERS", "1");
    let system = system.up().await?;
    let ask = |wire: &mut Wire| wire.send("GET /users/nobody HTTP/1.1\r\nHost: ingest\r\n\r\n");
    let begun = Instant::now();
    let (mut one, mut two, mut three) =
        (Wire::open(&system.ingest_url)?, Wire::open(&system.ingest_url)?, Wire::open(&system.ingest_url)?);
    for wire in [&mut one, &mut two] {
        ask(wire)?;
        ensure!(wire.answer()?.status == 404, "two connections are served");
    }
    ask(&mut three)?;
    ensure!(three.is_silent_for(Duration::from_millis(500))?, "a third connection is served beside two");
    let open = shown(&system, "http_connections").await?;
    ensure!(begun.elapsed() < Duration::from_secs(4), "too slow a machine: idle connections are closed after 5 s");
    ensure!(open == 2.0, "{open} connections are open");
    drop(one);
    ensure!(three.answer()?.status == 404, "the third is served once the first has ended");
    drop((two, three));
    system.eventually("no connection is left", async || Ok(shown(&system, "http_connections").await? == 0.0)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_a_client_that_is_slow_with_its_head_or_its_body_is_cut_off_in_time() -> Result<()> {
    let system = System::prepare(Servers::shared())?.with("HEAD_DEADLINE_MS", "700").with("BODY_DEADLINE_MS", "700");
    let system = system.up().await?;
    let told = head("PUT", "/users/1", 100);
    for (what, sent) in [("head", "PUT /users/1 HTTP/1.1\r\nHost: in"), ("body", &*(told + "{\"name\":"))] {
        let (mut wire, begun) = (Wire::open(&system.ingest_url)?, Instant::now());
        wire.send(sent)?;
        // A byte now and then is as slow.
        std::thread::sleep(Duration::from_millis(400));
        wire.send("x")?;
        let answer = wire.answer()?;
        ensure!(answer.status == 408, "a slow {what}: {}", answer.head);
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
        system.eventually(&what, async || Ok(shown(&system, series).await? == count)).await
    };
    let work = async {
        in_flight(3.0).await?;
        // A write, a read, a route that is none, a head whose body never comes: nothing of them is looked at.
        let begun = Instant::now();
        refused(put(&system, 5).await?, "busy").await?;
        refused(system.call(Method::GET, "/users/0", None).await?, "busy").await?;
        refused(system.call(Method::GET, "/no/such/route", None).await?, "busy").await?;
        let mut wire = Wire::open(&system.ingest_url)?;
        wire.send(&head("PUT", "/users/5", 1000))?;
        let answer = wire.answer()?;
        ensure!(answer.status == 503 && answer.head.contains("retry-after: 1"), "{}", answer.head);
        ensure!(answer.ends, "the next request would meet the end unawares: {}", answer.head);
        let mut wire = Wire::open(&system.ingest_url)?;
        for _ in 0..3 {
            wire.send(&(head("PUT", "/users/5", JANE.len()) + JANE))?;
            let answer = wire.answer()?;
            ensure!(answer.status == 503 && !answer.ends, "{}", answer.head);
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
    ensure!(shown(&system, busy).await? == 0.0, "a write got further than the door");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_a_client_that_goes_away_gives_its_place_back_and_the_queue_has_room_for_what_it_left() -> Result<()> {
    let system = patient(Servers::own()?)?.with("IN_FLIGHT_MOST", "3").up().await?;
    ensure!(put(&system, 0).await?.status() == 202);
    system.servers.redis.pause()?;
    let at = async |series: &str, count: f64| {
        let what = format!("{series} is {count}");
        system.eventually(&what, async || Ok(shown(&system, series).await? == count)).await
    };
    let leave = async |count: u16| {
        let mut wires = Vec::new();
        for number in 0..count {
            let mut wire = Wire::open(&system.ingest_url)?;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_a_client_that_does_not_read_what_is_answered_is_cut_after_its_time_and_no_other_is() -> Result<()> {
    let system = System::prepare(Servers::shared())?.with("CLIENT_STALL_MS", "1000").with("BODY_BYTES_MOST", "600000");
    let system = system.up().await?;
    let large = json!({ "name": "J".repeat(100), "age": 1, "occupation": "x".repeat(200) });
    system.put("users", "1", &large).await?;
    let in_flight = async || shown(&system, "http_requests_in_flight").await;
    let get = "GET /users/1 HTTP/1.1\r\nHost: ingest\r\n\r\n";
    let mut other = Wire::open(&system.ingest_url)?;
    let mut wire = Wire::open(&system.ingest_url)?;
    wire.stall(&get.repeat(500))?;
    let begun = Instant::now();
    system
        .eventually("it is cut", async || {
            other.send(get)?;
            ensure!(other.answer()?.status == 200, "another client was cut");
            Ok(in_flight().await? == 0.0)
        })
        .await?;
    ensure!(begun.elapsed() < Duration::from_secs(10), "it was cut only after {:?}", begun.elapsed());
    drop(other);
    let open = async || shown(&system, "http_connections").await;
    // Those that rest are closed after 5 s; this one has never rested.
    system.eventually("no connection is left", async || Ok(open().await? == 0.0)).await?;
    drop(wire);
    Ok(())
}
