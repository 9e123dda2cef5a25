//! HTTP byte for byte, since every decent client mends or refuses what these tests send.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result};

/// An answer as it came over the wire.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// A whole request that asks for the connection's end.
pub(super) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = head(method, path, headers);
    bytes.splice(bytes.len() - 2.., format!("Content-Length: {}\r\n\r\n", body.len()).into_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// A request's head alone, with the empty line behind it.
pub(super) fn head(method: &str, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: ingest\r\nConnection: close\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    text.into_bytes()
}

/// One piece of a body in chunks; an empty one ends it.
pub(super) fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Sends the bytes and reads until the server hangs up.
pub(super) fn exchange(url: &str, bytes: &[u8]) -> Result<Answer> {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://"))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    // A server that has read enough may hang up before it has read all; its answer is there all the same.
    drop(stream.write_all(bytes));
    let mut read = Vec::new();
    match stream.read_to_end(&mut read) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset && !read.is_empty() => {}
        read => drop(read.context("no end of the answer")?),
    }
    parse(&read)
}

fn parse(read: &[u8]) -> Result<Answer> {
    let text = std::str::from_utf8(read).context("the answer is not UTF-8")?;
    let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("no head in {text:?}"))?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status")?.parse()?;
    let header = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    Ok(Answer { status, headers: lines.filter_map(header).collect(), body: body.to_owned() })
}
