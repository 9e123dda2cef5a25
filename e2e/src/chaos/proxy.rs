//! A TCP proxy on one link between a service and a store: it passes bytes on, and misbehaves as it is told.
//!
//! `tc netem` is not to be had everywhere; this is, and it can do what no packet filter can: let a request pass and its
//! answer vanish. Each link has a proxy of its own, so that one service can be cut off while the other is not.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// What a proxy does with the bytes of every connection through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Passes them on.
    Pass,
    /// Keeps them, both ways, and delivers them when the fault is over: as a network does that comes back, late requests
    /// included.
    Cut,
    /// Keeps what goes to the store; its answers pass.
    CutThere,
    /// Keeps what comes from the store; requests pass.
    CutBack,
    /// What is sent arrives so much later, there and back; what follows it is on its way meanwhile.
    Latency(Duration),
    /// Passes so many bytes a second on, each way and connection.
    Bandwidth(u32),
    /// Resets a connection in the middle of an answer, every seventh time that there is one; new connections pass.
    ResetMidAnswer,
    /// Delivers requests and swallows the answers; afterwards the connections are reset, since bytes are missing.
    BlackHole,
    /// The store's end is closed at once, and the service is not told until the fault is over.
    SlowClose,
    /// Every connection is reset, the new ones too.
    Reset,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    There,
    Back,
}

/// What became of the bytes and connections of a proxy since it was made.
#[derive(Debug, Default)]
pub struct Counts {
    /// Bytes passed on.
    pub passed: AtomicU64,
    /// Bytes that were kept back or late.
    pub held: AtomicU64,
    /// Bytes that nobody got.
    pub swallowed: AtomicU64,
    /// Connections that were reset or refused.
    pub reset: AtomicU64,
}

impl Counts {
    /// Bytes and connections that were not served as they should have been: what a fault did.
    #[must_use]
    pub fn hurt(&self) -> u64 {
        [&self.held, &self.swallowed, &self.reset].iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

/// A link. Dropping it closes its listener and every connection through it.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    upstream: Arc<OnceLock<SocketAddr>>,
    mode: watch::Sender<Mode>,
    counts: Arc<Counts>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port of loopback; nobody gets through before [`Proxy::lead_to`].
    ///
    /// # Errors
    /// No port.
    #[expect(clippy::disallowed_methods, reason = "the proxy's drop ends the task")]
    pub async fn listen() -> Result<Self> {
        let port = stack::port::free()?;
        let listener = TcpListener::bind(stack::port::address(port)).await?;
        let (mode, upstream, counts) = (watch::Sender::new(Mode::Pass), Arc::default(), Arc::default());
        let accepting = tokio::spawn(accept(listener, Arc::clone(&upstream), mode.subscribe(), Arc::clone(&counts)));
        Ok(Self { port, upstream, mode, counts, accepting })
    }

    /// The same, leading to this port of loopback.
    ///
    /// # Errors
    /// No port.
    pub async fn to(port: u16) -> Result<Self> {
        let proxy = Self::listen().await?;
        proxy.lead_to(port);
        Ok(proxy)
    }

    /// Where its connections lead, from now on and for good.
    pub fn lead_to(&self, port: u16) {
        // The first one counts: a link does not change its end.
        self.upstream.get_or_init(|| stack::port::address(port));
    }

    /// Where to connect.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it does from now on, with the connections that there are, too.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// What it did so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    upstream: Arc<OnceLock<SocketAddr>>,
    mode: watch::Receiver<Mode>,
    counts: Arc<Counts>,
) {
    // Dropped with this task, and with it every connection.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let Some(upstream) = upstream.get().copied() else { continue };
        if *mode.borrow() == Mode::Reset {
            counts.reset.fetch_add(1, Ordering::Relaxed);
            reset(&client);
            continue;
        }
        connections.spawn(serve(client, upstream, mode.clone(), Arc::clone(&counts)));
    }
}

/// So that the close that follows is an RST.
fn reset(stream: &TcpStream) {
    // A peer that is gone already needs none.
    stream.set_zero_linger().ok();
}

async fn serve(mut client: TcpStream, upstream: SocketAddr, mode: watch::Receiver<Mode>, counts: Arc<Counts>) {
    let Ok(mut store) = TcpStream::connect(upstream).await else {
        counts.reset.fetch_add(1, Ordering::Relaxed);
        return reset(&client);
    };
    // Neither matters but for the time it takes.
    client.set_nodelay(true).ok();
    store.set_nodelay(true).ok();
    let ended = {
        let (client_reads, client_writes) = client.split();
        let (store_reads, store_writes) = store.split();
        tokio::select! {
            ended = carry(Way::There, client_reads, store_writes, mode.clone(), &counts) => ended,
            ended = carry(Way::Back, store_reads, client_writes, mode.clone(), &counts) => ended,
        }
    };
    match ended {
        Ended::Closed => {}
        Ended::Reset => {
            counts.reset.fetch_add(1, Ordering::Relaxed);
            reset(&client);
            reset(&store);
        }
        Ended::StoreOnly => {
            drop(store);
            counts.swallowed.fetch_add(1, Ordering::Relaxed);
            wait_for_another(mode, Mode::SlowClose).await;
        }
    }
}

async fn wait_for_another(mut mode: watch::Receiver<Mode>, than: Mode) {
    // An error: the proxy is gone, and this task with it.
    mode.wait_for(|now| *now != than).await.ok();
}

enum Ended {
    /// One side closed, in whatever way.
    Closed,
    Reset,
    StoreOnly,
}

async fn carry(
    way: Way,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut mode: watch::Receiver<Mode>,
    counts: &Counts,
) -> Ended {
    let mut buffer = vec![0; 16 << 10];
    let (mut under_way, mut open, mut incomplete) = (UnderWay::default(), true, false);
    loop {
        let now = *mode.borrow_and_update();
        if let Some(ended) = at_once(now, incomplete) {
            return ended;
        }
        if !open && under_way.read.is_empty() {
            return Ended::Closed;
        }
        tokio::select! {
            read = from.read(&mut buffer), if open && under_way.read.len() < UNDER_WAY_MOST => {
                match buffer.get(..read.unwrap_or(0)).filter(|bytes| !bytes.is_empty()) {
                    Some(bytes) => under_way.take(bytes, now, way, counts),
                    None => open = false,
                }
            }
            bytes = under_way.next(now, way) => match deliver(now, way, &bytes, &mut to, counts).await {
                Ok(Delivered::Whole) => {}
                Ok(Delivered::Nothing) => incomplete = true,
                Ok(Delivered::Half) => return Ended::Reset,
                Err(_) => return Ended::Closed,
            },
            changed = mode.changed() => if changed.is_err() {
                return Ended::Closed;
            },
        }
    }
}

/// Whether a connection ends by the mode alone. One that lacks bytes is of no use once the fault is over.
fn at_once(mode: Mode, incomplete: bool) -> Option<Ended> {
    match mode {
        Mode::Reset => Some(Ended::Reset),
        Mode::SlowClose => Some(Ended::StoreOnly),
        Mode::BlackHole => None,
        _ if incomplete => Some(Ended::Reset),
        _ => None,
    }
}

/// What was read and not passed on yet: as on a wire, what follows does not wait until what is before it has arrived.
#[derive(Default)]
struct UnderWay {
    read: VecDeque<(Instant, Vec<u8>)>,
    /// When a narrow link has passed on what it had.
    free: Option<Instant>,
}

/// Reads that may be under way each way; a connection that sends more has to wait.
const UNDER_WAY_MOST: usize = 256;

impl UnderWay {
    fn take(&mut self, bytes: &[u8], mode: Mode, way: Way, counts: &Counts) {
        if is_held(mode, way) || matches!(mode, Mode::Latency(_) | Mode::Bandwidth(_)) {
            counts.held.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        self.read.push_back((Instant::now(), bytes.to_vec()));
    }

    /// The next that has arrived. Nothing is lost when the wait is given up.
    async fn next(&mut self, mode: Mode, way: Way) -> Vec<u8> {
        let due = match self.read.front() {
            Some((read, _)) if !is_held(mode, way) => match mode {
                Mode::Latency(wait) => *read + wait,
                Mode::Bandwidth(rate) => {
                    let size = self.read.front().map_or(0, |(_, bytes)| bytes.len());
                    let takes = Duration::from_secs_f64(size as f64 / f64::from(rate.max(1)));
                    self.free.map_or(*read, |free| free.max(*read)) + takes
                }
                _ => *read,
            },
            _ => std::future::pending().await,
        };
        tokio::time::sleep_until(due).await;
        self.free = Some(due);
        self.read.pop_front().map(|(_, bytes)| bytes).unwrap_or_default()
    }
}

fn is_held(mode: Mode, way: Way) -> bool {
    matches!((mode, way), (Mode::Cut, _) | (Mode::CutThere, Way::There) | (Mode::CutBack, Way::Back))
}

enum Delivered {
    Whole,
    Half,
    Nothing,
}

async fn deliver(
    mode: Mode,
    way: Way,
    bytes: &[u8],
    to: &mut WriteHalf<'_>,
    counts: &Counts,
) -> std::io::Result<Delivered> {
    let size = bytes.len() as u64;
    match (mode, way) {
        (Mode::BlackHole, Way::Back) => {
            counts.swallowed.fetch_add(size, Ordering::Relaxed);
            return Ok(Delivered::Nothing);
        }
        (Mode::ResetMidAnswer, Way::Back) if counts.passed.fetch_add(1, Ordering::Relaxed) % 7 == 6 => {
            to.write_all(bytes.get(..bytes.len() / 2).unwrap_or_default()).await?;
            return Ok(Delivered::Half);
        }
        _ => {}
    }
    counts.passed.fetch_add(size, Ordering::Relaxed);
    to.write_all(bytes).await?;
    Ok(Delivered::Whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store that answers each byte with the same one, and a client of it through a proxy.
    async fn echo() -> (Proxy, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        #[expect(clippy::disallowed_methods, reason = "ends with the test")]
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await.ok();
                });
            }
        });
        let proxy = Proxy::to(port).await.unwrap();
        let client = TcpStream::connect(stack::port::address(proxy.port())).await.unwrap();
        (proxy, client)
    }

    async fn ask(client: &mut TcpStream) -> Result<u8> {
        client.write_all(b"x").await?;
        Ok(tokio::time::timeout(Duration::from_millis(200), client.read_u8()).await??)
    }

    #[tokio::test]
    async fn it_passes_what_it_gets() {
        let (proxy, mut client) = echo().await;
        assert_eq!(ask(&mut client).await.unwrap(), b'x');
        assert_eq!(proxy.counts().hurt(), 0);
    }

    #[tokio::test]
    async fn a_cut_keeps_bytes_and_delivers_them_when_it_is_over() {
        for mode in [Mode::Cut, Mode::CutThere, Mode::CutBack] {
            let (proxy, mut client) = echo().await;
            ask(&mut client).await.unwrap();
            proxy.set(mode);
            assert!(ask(&mut client).await.is_err(), "{mode:?} lets an answer through");
            assert!(proxy.counts().hurt() > 0);
            proxy.set(Mode::Pass);
            assert_eq!(client.read_u8().await.unwrap(), b'x');
        }
    }

    #[tokio::test]
    async fn a_black_hole_swallows_answers_and_resets_afterwards() {
        let (proxy, mut client) = echo().await;
        proxy.set(Mode::BlackHole);
        assert!(ask(&mut client).await.is_err());
        assert_eq!(proxy.counts().swallowed.load(Ordering::Relaxed), 1, "the request passed, its answer vanished");
        proxy.set(Mode::Pass);
        let ended = tokio::time::timeout(Duration::from_secs(5), client.read_u8()).await.expect("the end of it");
        assert!(ended.is_err(), "a connection that lacks an answer goes on");
    }

    #[tokio::test]
    async fn resets_meet_the_connections_that_there_are_and_the_new_ones() {
        let (proxy, mut client) = echo().await;
        ask(&mut client).await.unwrap();
        proxy.set(Mode::Reset);
        let mut another = TcpStream::connect(stack::port::address(proxy.port())).await.unwrap();
        for client in [&mut client, &mut another] {
            let ended = tokio::time::timeout(Duration::from_secs(5), client.read_u8()).await.expect("the end of it");
            assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        }
    }

    #[tokio::test]
    async fn a_slow_close_leaves_the_service_in_the_dark() {
        let (proxy, mut client) = echo().await;
        ask(&mut client).await.unwrap();
        proxy.set(Mode::SlowClose);
        assert!(ask(&mut client).await.is_err());
        proxy.set(Mode::Pass);
        let ended = tokio::time::timeout(Duration::from_secs(5), client.read_u8()).await.expect("the end of it");
        assert!(ended.is_err());
    }

    #[tokio::test]
    async fn latency_comes_there_and_back() {
        let (proxy, mut client) = echo().await;
        proxy.set(Mode::Latency(Duration::from_millis(50)));
        let begun = std::time::Instant::now();
        ask(&mut client).await.unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(100), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn what_follows_is_not_delayed_by_what_is_under_way() {
        let (proxy, mut client) = echo().await;
        proxy.set(Mode::Latency(Duration::from_millis(50)));
        let begun = std::time::Instant::now();
        for _ in 0..20 {
            client.write_all(b"x").await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut all = [0; 20];
        client.read_exact(&mut all).await.unwrap();
        let took = begun.elapsed();
        assert!(took < Duration::from_millis(20 * 50), "one after the other: {took:?}");
    }

    #[tokio::test]
    async fn a_narrow_link_takes_its_time_for_each_byte() {
        let (proxy, mut client) = echo().await;
        proxy.set(Mode::Bandwidth(100));
        let begun = std::time::Instant::now();
        client.write_all(&[b'x'; 10]).await.unwrap();
        let mut all = [0; 10];
        client.read_exact(&mut all).await.unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
    }
}
