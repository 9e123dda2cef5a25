//! A wire to Redis that can be cut just behind a request: Redis has it, and its reply never arrives. A new connection takes a
//! moment, so that there is a time without any.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Until a connection carries anything: long enough to be met by a request, and well below --redis-timeout-ms.
const CONNECTING: Duration = Duration::from_millis(150);

/// The wire. While it is armed, the connection on which a script's reply comes breaks instead, once.
pub(super) struct Link {
    pub(super) port: u16,
    armed: Arc<AtomicBool>,
    cut: Arc<AtomicU32>,
}

impl Link {
    #[expect(clippy::disallowed_methods, reason = "the test's runtime ends it")]
    pub(super) async fn to(port: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let link = Self { port: listener.local_addr()?.port(), armed: Arc::default(), cut: Arc::default() };
        let (armed, cut) = (Arc::clone(&link.armed), Arc::clone(&link.cut));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (armed, cut) = (Arc::clone(&armed), Arc::clone(&cut));
                tokio::spawn(async move { drop(carry(client, port, &armed, &cut).await) });
            }
        });
        Ok(link)
    }

    /// The reply of the next write script is lost.
    pub(super) fn lose_a_reply(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }

    /// How many were.
    pub(super) fn lost(&self) -> u32 {
        self.cut.load(Ordering::SeqCst)
    }
}

/// To and fro until an end closes; a request that was seen to be the write script is remembered until its reply.
async fn carry(mut client: TcpStream, port: u16, armed: &AtomicBool, cut: &AtomicU32) -> std::io::Result<()> {
    tokio::time::sleep(CONNECTING).await;
    let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
    let (mut request, mut reply) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut writing = false;
    loop {
        tokio::select! {
            read = client.read(&mut request) => {
                let bytes = &request[..read?];
                if bytes.is_empty() {
                    return Ok(());
                }
                // Only a write carries a record.
                writing |= armed.load(Ordering::SeqCst) && bytes.windows(6).any(|window| window == b"\"lost\"");
                server.write_all(bytes).await?;
            }
            read = server.read(&mut reply) => {
                let bytes = &reply[..read?];
                if bytes.is_empty() {
                    return Ok(());
                }
                if writing && armed.swap(false, Ordering::SeqCst) {
                    cut.fetch_add(1, Ordering::SeqCst);
                    return Ok(());
                }
                client.write_all(bytes).await?;
            }
        }
    }
}
