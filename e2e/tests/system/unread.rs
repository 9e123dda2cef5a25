//! Requests that are refused while their body is still to come: the connection goes on, or the answer says that it ends. Never
//! does a client's next request meet an end that nobody has told it of.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use e2e::System;

use crate::callers::{issue, keyed};

const BODY: &str = r#"{"name":"Ada","age":36}"#;
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

struct Answer {
    status: u16,
    ends: bool,
    head: String,
}

/// A whole answer; before it, perhaps, the word that the body may come.
fn answer(stream: &mut TcpStream) -> Result<Answer> {
    let (mut read, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let bytes = stream.read(&mut part).with_context(|| format!("after {:?}", String::from_utf8_lossy(&read)))?;
        ensure!(bytes > 0, "the connection ended after {:?}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&part[..bytes]);
        let text = std::str::from_utf8(&read)?.to_ascii_lowercase();
        let text = text.strip_prefix("http/1.1 100 continue\r\n\r\n").unwrap_or(&text);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if body.len() >= length.context("a length")? {
            let status = head.split(' ').nth(1).context("a status")?.parse()?;
            return Ok(Answer { status, ends: head.contains("connection: close"), head: head.to_owned() });
        }
    }
}

fn ends(stream: &mut TcpStream) -> Result<()> {
    match stream.read(&mut [0; 1]) {
        Ok(0) => Ok(()),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
        other => bail!("the connection should have ended: {other:?}"),
    }
}

/// Whether the connection went on.
fn refused(url: &str, key: &str, refusal: &Refusal, sent: Sent) -> Result<bool> {
    let Refusal { method, path, media, .. } = refusal;
    let mut stream = TcpStream::connect(url.trim_start_matches("http://"))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_nodelay(true)?;
    let authorization = format!("Authorization: Bearer {key}\r\n");
    let shown = if refusal.key { &authorization } else { "" };
    let chunked = matches!(sent, Sent::Chunks | Sent::LateChunks);
    let body = if sent == Sent::Large { "x".repeat(LARGE) } else { BODY.to_owned() };
    let framing =
        if chunked { "Transfer-Encoding: chunked".to_owned() } else { format!("Content-Length: {}", body.len()) };
    let body = if chunked { format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()) } else { body };
    let expect = if sent == Sent::Asked { "Expect: 100-continue\r\n" } else { "" };
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: i\r\nContent-Type: {media}\r\n{framing}\r\n{shown}{expect}\r\n");
    let at_once = matches!(sent, Sent::Whole | Sent::Chunks);
    stream.write_all(if at_once { head.clone() + &body } else { head }.as_bytes())?;
    let told = answer(&mut stream)?;
    ensure!(told.status == refusal.status, "not {}: {}", refusal.status, told.head);
    if told.ends {
        ends(&mut stream)?;
        return Ok(false);
    }
    if !at_once {
        stream.write_all(body.as_bytes()).context("the body")?;
    }
    stream
        .write_all(format!("GET /users/nobody HTTP/1.1\r\nHost: i\r\n{authorization}\r\n").as_bytes())
        .context("the next")?;
    let next = answer(&mut stream).context("the next request")?;
    ensure!(next.status == 404 && next.head.contains("application/problem+json"), "the next: {}", next.head);
    Ok(true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_leaves_its_connection_usable_or_says_that_it_ends() -> Result<()> {
    const JSON: &str = "application/json";
    let at = |what, method, path, media, status| Refusal { what, method, path, media, status, key: true };
    let refusals = [
        Refusal { key: false, ..at("no key", "PUT", "/users/1", JSON, 401) },
        at("another's entity", "PUT", "/orders/1", JSON, 403),
        at("an unknown route", "PUT", "/users/1/2/3/4", JSON, 404),
        at("a method that is none", "PUT", "/users", JSON, 405),
        at("a body at another method", "DELETE", "/users/a%20b", JSON, 400),
        at("an invalid id", "PUT", "/users/a%20b", JSON, 400),
        at("another media type", "PUT", "/users/1", "text/plain", 415),
        at("a bulk of another media type", "POST", "/users:bulk", JSON, 415),
        at("a read with a body", "GET", "/users/nobody", JSON, 404),
    ];
    let key = issue(&["shop", "--entities", "users"])?;
    let (system, _) = keyed(&[&key])?;
    let system: System = system.up().await?;
    let (mut faults, mut ended) = (Vec::new(), Vec::new());
    for refusal in &refusals {
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
