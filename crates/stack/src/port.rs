//! Ports on loopback: free ones for tests, and whether a wanted one is taken.

use crate::random;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};

/// Picked ports lie below the range that Linux gives to outgoing connections (32768 on). A port from that range can be
/// taken while its server is down for a restart: by any client of anybody, even by the retries of the server's own
/// client, which then connects to itself.
const PICKED: std::ops::Range<u16> = 20_000..32_000;

/// How often a server is started again when somebody else took the port that was free a moment ago.
const TRIES: u32 = 8;

/// The address of a port on loopback.
pub fn address(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// What [`free`] gave away. Never given twice: its server may be down for a restart and find another one there.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port that nobody listens on at this moment and that this process has not picked before.
pub fn free() -> Result<u16> {
    let width = PICKED.end.saturating_sub(PICKED.start);
    for _ in 0..1_000 {
        let port = PICKED.start.saturating_add(u16::from_le_bytes(random::bytes()?) % width);
        if !is_taken(port)? && GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port) {
            return Ok(port);
        }
    }
    bail!("no free port in {PICKED:?} after a thousand tries")
}

/// Whether somebody listens on this port.
pub fn is_taken(port: u16) -> Result<bool> {
    match TcpListener::bind(address(port)) {
        Ok(_) => Ok(false),
        Err(e) if e.kind() == ErrorKind::AddrInUse => Ok(true),
        Err(e) => Err(e).with_context(|| format!("port {port}")),
    }
}

/// A server could not have its port. Names the port, so that its owner can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occupied {
    /// The port that is in use.
    pub port: u16,
}

impl std::fmt::Display for Occupied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "port {} is in use by another program", self.port)
    }
}

impl std::error::Error for Occupied {}

/// Starts a server on the port asked for, or on free ones until one holds.
pub(crate) fn settle<T>(wanted: Option<u16>, start: impl Fn(u16) -> Result<T>) -> Result<T> {
    if let Some(port) = wanted {
        if is_taken(port)? {
            return Err(Occupied { port }.into());
        }
        return start(port);
    }
    let mut tries = 1;
    loop {
        match start(free()?) {
            Err(e) if e.is::<Occupied>() && tries < TRIES => tries += 1,
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{GIVEN, PICKED, free};

    #[test]
    fn a_port_is_never_given_twice() {
        GIVEN.lock().unwrap().extend(PICKED);
        let exhausted = free().expect_err("all were given");
        assert!(exhausted.to_string().contains("no free port"), "{exhausted}");
    }
}
