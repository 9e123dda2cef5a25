//! Asks a broker for its metadata, by hand: 30 bytes there, and the list of live brokers back.
//!
//! An open port is not enough: a KRaft broker listens before its controller has let it in.

use crate::port;
use std::io::{Read, Result, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Request 3 (Metadata), version 4, correlation id 1, no client id, no topics, no creation of topics.
const METADATA: [u8; 19] = [0, 0, 0, 15, 0, 3, 0, 4, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0, 0];

/// Whether the broker on this port answers and counts at least one live broker: itself.
pub(super) fn serves(port: u16) -> Result<bool> {
    let limit = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&port::address(port), limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(&METADATA)?;
    // Size, correlation id, throttle time, then the number of brokers.
    let mut head = [0; 16];
    stream.read_exact(&mut head)?;
    let [.., a, b, c, d] = head;
    Ok(i32::from_be_bytes([a, b, c, d]) > 0)
}
