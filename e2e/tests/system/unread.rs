//! Requests that are refused while their body is still to come: the connection goes on, or the answer says that it ends. Never
//! does a client's next request meet an end that nobody has told it of; nor does a body without end hold a connection.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::System;

use crate::answers::shown;
use crate::callers::{issue, keyed};
use crate::wire::{JANE, Wire};

/// Far more than is taken of a body that nobody wants, or than a body may have.
const LARGE: usize = 4 * 1024 * 1024;

/// What is refused, and with what.
struct Refusal {
    what: &'static str,
    method: &'static str,
    path: &'static str,
    media: &'static str,
    status: u16,
    key: bool,
}

const JSON: &str = "application/json";

fn refusals() -> [Refusal; 9] {
    let at = |what, method, path, media, status| Refusal { what, method, path, media, status, key: true };
    [
        Refusal { key: false, ..at("no key", "PUT", "/users/1", JSON, 401) },
        at("another's entity", "PUT", "/orders/1", JSON, 403),
        at("an unknown route", "PUT", "/users/1/2/3/4", JSON, 404),
        at("a method that is none", "PUT", "/users", JSON, 405),
        at("a body at another method", "DELETE", "/users/a%20b", JSON, 400),
        at("an invalid id", "PUT", "/users/a%20b", JSON, 400),
        at("another media type", "PUT", "/users/1", "text/plain", 415),
        at("a bulk of another media type", "POST", "/users:bulk", JSON, 415),
        at("a read with a body", "GET", "/users/nobody", JSON, 404),
    ]
}

/// What of the body is there when it is refused.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sent {
    /// Small, all of it, in one piece with the head.
    Whole,
    /// As that, in chunks.
    Chunks,
    /// Small; it comes after the answer.
    Late,
    /// As that, in chunks.
    LateChunks,
    /// Large; it comes after the answer.
    Large,
    /// Small, and its client waits to be asked for it.
    Asked,
}

const SENT: [Sent; 6] = [Sent::Whole, Sent::Chunks, Sent::Late, Sent::LateChunks, Sent::Large, Sent::Asked];

/// Whether the connection went on.
fn refused(url: &str, key: &str, refusal: &Refusal, sent: Sent) -> Result<bool> {
    let Refusal { method, path, media, .. } = refusal;
    let mut wire = Wire::open(url)?;
    let authorization = format!("Authorization: Bearer {key}\r\n");
    let shown = if refusal.key { &authorization } else { "" };
    let chunked = matches!(sent, Sent::Chunks | Sent::LateChunks);
    let body = if sent == Sent::Large { "x".repeat(LARGE) } else { JANE.to_owned() };
    let framing =
        if chunked { "Transfer-Encoding: chunked".to_owned() } else { format!("Content-Length: {}", body.len()) };
    let body = if chunked { format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()) } else { body };
    let expect = if sent == Sent::Asked { "Expect: 100-continue\r\n" } else { "" };
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: i\r\nContent-Type: {media}\r\n{framing}\r\n{shown}{expect}\r\n");
    let at_once = matches!(sent, Sent::Whole | Sent::Chunks);
    wire.send(&if at_once { head + &body } else { head })?;
    let told = wire.answer()?;
    ensure!(told.status == refusal.status, "not {}: {}", refusal.status, told.head);
    ensure!(told.json()?["instance"].is_string(), "the refusal does not name its request: {}", told.json()?);
    if told.ends {
        wire.ends()?;
        return Ok(false);
    }
    if !at_once {
        wire.send(&body).context("the body")?;
    }
    wire.send(&format!("GET /users/nobody HTTP/1.1\r\nHost: i\r\n{authorization}\r\n")).context("the next")?;
    let next = wire.answer().context("the next request")?;
    ensure!(next.status == 404 && next.head.contains("application/problem+json"), "the next: {}", next.head);
    Ok(true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_leaves_its_connection_usable_or_says_that_it_ends() -> Result<()> {
    let key = issue(&["shop", "--entities", "users"])?;
    let (system, _) = keyed(&[&key])?;
    let system: System = system.up().await?;
    let (mut faults, mut ended) = (Vec::new(), Vec::new());
    for refusal in &refusals() {
        for sent in SENT {
            let what = format!("{}, {sent:?}", refusal.what);
            match refused(&system.ingest_url, &key.key, refusal, sent) {
                Ok(true) => {}
                Ok(false) => ended.push(what),
                Err(error) => faults.push(format!("{what}: {error:#}")),
            }
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    // Who is turned away at the door will ask again.
    let needless: Vec<_> =
        ended.iter().filter(|what| ["no key, Whole", "no key, Chunks"].contains(&&***what)).collect();
    ensure!(needless.is_empty(), "what was there was not taken: {needless:?}");
    Ok(())
}

/// What its client does with the rest of a body that has no end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rest {
    NeverComes,
    NeverEnds,
}

/// How long after its answer the connection has ended.
fn held(url: &str, key: &str, refusal: &Refusal, chunked: bool, rest: Rest) -> Result<Duration> {
    let Refusal { method, path, media, .. } = refusal;
    let framing = if chunked { "Transfer-Encoding: chunked" } else { "Content-Length: 1000000000" };
    let piece = "x".repeat(2000);
    let piece = if chunked { format!("7d0\r\n{piece}\r\n") } else { piece };
    let shown = if refusal.key { format!("Authorization: Bearer {key}\r\n") } else { String::new() };
    let mut wire = Wire::open(url)?;
    let begun = Instant::now();
    wire.send(&format!(
        "{method} {path} HTTP/1.1\r\nHost: i\r\nContent-Type: {media}\r\n{framing}\r\n{shown}\r\n{piece}"
    ))?;
    let answer = wire.answer()?;
    ensure!(answer.status == refusal.status, "not {}: {}", refusal.status, answer.head);
    ensure!(
        begun.elapsed() < Duration::from_secs(1) || answer.status == 408,
        "answered only after {:?}",
        begun.elapsed()
    );
    let answered = Instant::now();
    // A connection that has ended takes no more, or says so when it is read.
    while wire.is_silent_for(Duration::from_millis(50))? {
        ensure!(
            answered.elapsed() < Duration::from_secs(8),
            "its connection is held; told that it ends: {}",
            answer.ends
        );
        if rest == Rest::NeverEnds && wire.send(&piece).is_err() {
            break;
        }
    }
    ensure!(answer.ends, "nobody was told that it ends: {}", answer.head);
    Ok(answered.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_a_refusal_whose_body_has_no_end_says_that_its_connection_ends_and_ends_it_in_time() -> Result<()> {
    let key = issue(&["shop", "--entities", "users"])?;
    let (system, _) = keyed(&[&key])?;
    let system = system.with("BODY_BYTES_MOST", "1000").with("BODY_DEADLINE_MS", "1500").up().await?;
    let at = |what, media, status| Refusal { what, method: "PUT", path: "/users/1", media, status, key: true };
    let large = at("too large a body", JSON, 413);
    let refusals: Vec<_> = refusals().into_iter().chain([large]).collect();
    let faults: Vec<_> = std::thread::scope(|scope| {
        let mut clients = Vec::new();
        for refusal in &refusals {
            for (chunked, rest) in
                [(true, Rest::NeverComes), (true, Rest::NeverEnds), (false, Rest::NeverComes), (false, Rest::NeverEnds)]
            {
                let (url, key) = (&system.ingest_url, &key.key);
                let client = scope.spawn(move || held(url, key, refusal, chunked, rest));
                clients.push((format!("{}, in chunks: {chunked}, {rest:?}", refusal.what), client));
            }
        }
        clients.into_iter().map(|(what, client)| (what, client.join().expect("no panic"))).collect()
    });
    for (what, held) in &faults {
        println!("{what}: {held:?}");
    }
    let faults: Vec<_> =
        faults.into_iter().filter_map(|(what, held)| Some(format!("{what}: {:#}", held.err()?))).collect();
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    let none = async || Ok(shown(&system, "http_connections").await? == 0.0);
    system.eventually("no connection is left", none).await
}
