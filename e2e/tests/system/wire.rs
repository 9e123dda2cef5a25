//! A client of ingest that sends what it likes, when it likes, and sees where its connection ends.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// A sound record.
pub(crate) const JANE: &str = r#"{"name":"Jane","age":1}"#;

/// How long something is waited for that should come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection, and what has come on it that nobody has asked for yet.
pub(crate) struct Wire(TcpStream, Vec<u8>);

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// It says that its connection ends.
    pub(crate) ends: bool,
    /// In small letters.
    pub(crate) head: String,
    body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| self.body.clone())
    }
}

/// The head of a request with so long a JSON body.
pub(crate) fn head(method: &str, path: &str, length: usize) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: ingest\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}

impl Wire {
    pub(crate) fn open(url: &str) -> Result<Self> {
        let stream = TcpStream::connect(url.trim_start_matches("http://"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self(stream, Vec::new()))
    }

    pub(crate) fn send(&mut self, text: &str) -> Result<()> {
        Ok(self.0.write_all(text.as_bytes())?)
    }

    /// The next answer; before it, perhaps, the word that the body may come.
    pub(crate) fn answer(&mut self) -> Result<Answer> {
        let mut part = [0; 4096];
        loop {
            if let Some((answer, bytes)) = answer(&self.1)? {
                self.1.drain(..bytes);
                return Ok(answer);
            }
            let so_far = || format!("after {:?}", String::from_utf8_lossy(&self.1));
            let bytes = self.0.read(&mut part).with_context(so_far)?;
            ensure!(bytes > 0, "the connection ended {}", so_far());
            self.1.extend_from_slice(&part[..bytes]);
        }
    }

    /// Waits for the connection's end; before it nothing more may come.
    pub(crate) fn ends(&mut self) -> Result<()> {
        ensure!(self.1.is_empty(), "more came: {:?}", String::from_utf8_lossy(&self.1));
        match self.0.read(&mut [0; 1]) {
            Ok(0) => Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
            other => bail!("the connection should have ended: {other:?}"),
        }
    }

    pub(crate) fn is_silent_for(&mut self, span: Duration) -> Result<bool> {
        self.0.set_read_timeout(Some(span))?;
        let read = self.0.peek(&mut [0; 1]);
        self.0.set_read_timeout(Some(PATIENCE))?;
        Ok(read.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)))
    }

    /// Sends this again and again and reads nothing, until no more of it is taken off the connection.
    pub(crate) fn stall(&mut self, text: &str) -> Result<()> {
        self.0.set_write_timeout(Some(Duration::from_millis(500)))?;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            match self.0.write_all(text.as_bytes()) {
                Ok(()) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(()),
                // It may be cut already.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        bail!("the answers to so much find room")
    }

    /// Goes away for good: whoever only closes may still wait for his answer.
    pub(crate) fn reset(self) -> Result<()> {
        self.0.set_nonblocking(true)?;
        Ok(tokio::net::TcpStream::from_std(self.0)?.set_zero_linger()?)
    }
}

/// The first answer of what has come, and how many bytes it has, once all of it is there.
fn answer(read: &[u8]) -> Result<Option<(Answer, usize)>> {
    const GO_ON: &str = "HTTP/1.1 100 Continue\r\n\r\n";
    let Ok(all) = std::str::from_utf8(read) else { return Ok(None) };
    let text = all.strip_prefix(GO_ON).unwrap_or(all);
    let Some((head, rest)) = text.split_once("\r\n\r\n") else { return Ok(None) };
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let length: usize = length.with_context(|| format!("a length: {head}"))?;
    let Some(body) = rest.get(..length) else { return Ok(None) };
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    let ends = head.contains("connection: close");
    let bytes = all.len() - rest.len() + length;
    Ok(Some((Answer { status, ends, head, body: body.to_owned() }, bytes)))
}
