//! A request's body and its answer at the same time: hands what the client sends to whoever writes it, and the results to the
//! client. Runs where the connection does, and only as fast as both sides take it.

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

use super::super::Problem;
use super::results;

/// What comes from the client.
#[derive(Debug)]
pub(super) enum Part {
    Bytes(Bytes),
    /// The body ends here, as it should.
    End,
    Broken(io::ErrorKind),
}

/// What goes to the client.
#[derive(Debug)]
pub(super) enum Told {
    /// Of results; the next part may begin inside of one.
    Results(Bytes),
    /// Every line that was read has its result.
    End,
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

/// How far the answer has come.
#[derive(Debug, Default)]
struct Progress {
    results: u64,
    /// Inside of a result.
    within: bool,
    ended: bool,
}

impl Progress {
    /// What goes out now; `None`: the answer ends, and is whole. Where whoever writes has gone without an end (`None`), no client may
    /// take the answer for a whole one: a last line says so, and inside of a result the connection breaks.
    fn next(&mut self, told: Option<Told>) -> io::Result<Option<Bytes>> {
        match told {
            Some(Told::Results(bytes)) => {
                self.results += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
                self.within = !bytes.ends_with(b"\n");
                Ok(Some(bytes))
            }
            Some(Told::End) => Ok(None),
            None => {
                self.ended = true;
                tracing::error!(results = self.results, "a bulk was broken off");
                if self.within {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                Ok(Some(results::refused(self.results + 1, &Problem::cut_off(self.results)).into()))
            }
        }
    }
}

/// The answer's body, which reads the request's.
pub(super) struct Exchange {
    /// `None`: it has ended.
    payload: Option<Payload>,
    parts: PollSender<Part>,
    results: mpsc::Receiver<Told>,
    told: Progress,
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
        results: mpsc::Receiver<Told>,
        pause_most: Duration,
        idle: Arc<AtomicBool>,
    ) -> Self {
        let (parts, pause) = (PollSender::new(parts), Box::pin(sleep(pause_most)));
        Self { payload: Some(payload), parts, results, told: Progress::default(), pause_most, idle, pause }
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
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if this.told.ended {
                return Poll::Ready(None);
            }
            if let Poll::Ready(told) = this.results.poll_recv(context) {
                this.resume();
                return Poll::Ready(this.told.next(told).transpose());
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

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn results(text: &'static str) -> Option<Told> {
        Some(Told::Results(text.into()))
    }

    #[test]
    fn an_answer_that_is_whole_ends_and_one_that_was_broken_off_says_behind_which_line() {
        let mut whole = Progress::default();
        assert_eq!(whole.next(results("a\nb")).unwrap().unwrap(), "a\nb");
        assert_eq!(whole.next(results("\n")).unwrap().unwrap(), "\n");
        assert_eq!(whole.next(Some(Told::End)).unwrap(), None);

        let mut broken = Progress::default();
        drop(broken.next(results("a\nb")));
        drop(broken.next(results("\n")));
        let last = broken.next(None).unwrap().unwrap();
        assert!(last.ends_with(b"\n") && broken.ended);
        let last: Value = serde_json::from_slice(&last).unwrap();
        assert_eq!((&last["line"], &last["status"]), (&3.into(), &500.into()));
        assert_eq!(last["type"], "urn:write-behind:problem:internal-error");
        assert!(last["detail"].as_str().unwrap().contains("behind line 2"), "{last}");
    }

    #[test]
    fn no_line_is_put_into_a_result_that_was_broken_off() {
        let mut broken = Progress::default();
        drop(broken.next(results("a\nb")));
        assert!(broken.next(None).is_err());
    }
}
