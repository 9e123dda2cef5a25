//! A request's body and its answer at the same time: hands what the client sends to whoever writes it, and the results to the
//! client. Runs where the connection does, and only as fast as both sides take it.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::web::{Bytes, Payload};
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::PollSender;

/// What comes from the client.
#[derive(Debug)]
pub(super) enum Part {
    Bytes(Bytes),
    /// The body ends here, as it should.
    End,
    Broken(io::ErrorKind),
}

/// Parts of the body that are on their way at one time.
pub(super) const PARTS_MOST: usize = 2;

/// The bytes of the parts. A client that is gone leaves a body that breaks off.
pub(super) fn bytes(parts: mpsc::Receiver<Part>) -> impl Stream<Item = io::Result<Bytes>> + Send + Unpin {
    Box::pin(stream::unfold(parts, async |mut parts| {
        let item = match parts.recv().await {
            Some(Part::Bytes(bytes)) => Ok(bytes),
            Some(Part::End) => return None,
            Some(Part::Broken(kind)) => Err(kind.into()),
            None => Err(io::ErrorKind::ConnectionAborted.into()),
        };
        Some((item, parts))
    }))
}

/// The answer's body, which reads the request's.
pub(super) struct Exchange {
    /// `None`: it has ended.
    payload: Option<Payload>,
    parts: PollSender<Part>,
    results: mpsc::Receiver<Bytes>,
    /// Longest pause of the client while nothing of its own is in progress.
    pause_most: Duration,
    idle: Arc<AtomicBool>,
    pause: Pin<Box<Sleep>>,
}

impl Exchange {
    /// `idle` says whether everything that came is answered.
    pub(super) fn new(
        payload: Payload,
        parts: mpsc::Sender<Part>,
        results: mpsc::Receiver<Bytes>,
        pause_most: Duration,
        idle: Arc<AtomicBool>,
    ) -> Self {
        let (parts, pause) = (PollSender::new(parts), Box::pin(sleep(pause_most)));
        Self { payload: Some(payload), parts, results, pause_most, idle, pause }
    }

    fn forward(&mut self, part: Part) {
        // The payload's end is the last that is sent; whoever takes no more has ended before.
        let ends = !matches!(part, Part::Bytes(_));
        if self.parts.send_item(part).is_err() || ends {
            self.payload = None;
        }
    }

    /// Waiting for the client begins anew.
    fn resume(&mut self) {
        self.pause.as_mut().reset(Instant::now() + self.pause_most);
    }

    /// Whether the client has been silent for too long, although it waits for nothing.
    fn is_silent(&mut self, context: &mut Context<'_>) -> bool {
        while self.pause.as_mut().poll(context).is_ready() {
            if self.idle.load(Ordering::Relaxed) {
                return true;
            }
            self.resume();
        }
        false
    }
}

impl Stream for Exchange {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Poll::Ready(results) = this.results.poll_recv(context) {
                this.resume();
                return Poll::Ready(results.map(Ok));
            }
            if this.payload.is_none() {
                return Poll::Pending;
            }
            match this.parts.poll_reserve(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => {
                    this.payload = None;
                    continue;
                }
            }
            let Some(payload) = &mut this.payload else { return Poll::Pending };
            let part = match payload.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(bytes))) => Part::Bytes(bytes),
                Poll::Ready(Some(Err(_))) => Part::Broken(io::ErrorKind::UnexpectedEof),
                Poll::Ready(None) => Part::End,
                Poll::Pending if this.is_silent(context) => Part::Broken(io::ErrorKind::TimedOut),
                Poll::Pending => return Poll::Pending,
            };
            this.resume();
            this.forward(part);
        }
    }
}
