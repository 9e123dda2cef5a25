//! Asks a broker for its metadata, by hand: 30 bytes there, and the list of live brokers back.
//!
//! An open port is not enough: a KRaft broker listens before its controller has let it in.

use crate::port;
use std::io::{Read, Result, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Request 3 (Metadata), version 4, correlation id 1, no client id, no topics, no creation of topics.
const METADATA: [u8; 19] = [0, 0, 0, 15, 0, 3, 0, 4, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0, 0];

/// How many live brokers the one on this port counts, itself among them; none where another cluster answers.
///
/// The cluster's id is asked for because another Kafka may have taken the port while ours was down: ours needs seconds
/// until it fails on it.
pub(super) fn brokers(port: u16, cluster: &str) -> Result<usize> {
    let limit = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&port::address(port), limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(&METADATA)?;
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let mut answer = Vec::new();
    stream.take(u32::from_be_bytes(size).into()).read_to_end(&mut answer)?;
    // Correlation id, throttle time, then the number of brokers, the brokers, and the cluster's id.
    let count = answer.get(8..12).and_then(|count| Some(u32::from_be_bytes(count.try_into().ok()?))).unwrap_or(0);
    let ours = answer.windows(cluster.len()).any(|part| part == cluster.as_bytes());
    Ok(if ours { count as usize } else { 0 })
}
