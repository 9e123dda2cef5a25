//! Concurrent writes share one script call. A batch adds no wait: it takes what is queued when the connection is free,
//! so that under load one call carries many writes and at rest a write goes out alone. It is bounded by writes and by
//! bytes: a call that were longer under way than T would answer to nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use record::{Slot, Version, issue_away};
use service::reply::Reply;
use service::{Pulse, reply};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::cache::{MOST_BYTES, MOST_WRITES};
use crate::{Cache, CacheError, Write, Written};

type Queued = (Write, Reply<Result<Written, CacheError>>);

/// Where handlers hand in their writes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct WriteQueue {
    queue: mpsc::Sender<Queued>,
    seen: Arc<AtomicU64>,
}

/// Takes writes from the queue and brings them to Redis, one script call at a time.
#[derive(Debug)]
pub struct Writer {
    cache: Cache,
    queued: mpsc::Receiver<Queued>,
    seen: Arc<AtomicU64>,
    pulse: Pulse,
}

impl WriteQueue {
    /// A queue for at most `most` waiting writes, and the writer behind it.
    #[must_use]
    pub fn new(cache: Cache, most: usize) -> (Self, Writer) {
        let (queue, queued) = mpsc::channel(most);
        let seen = Arc::new(AtomicU64::new(0));
        (Self { queue, seen: Arc::clone(&seen) }, Writer { cache, queued, seen, pulse: Pulse::unwatched() })
    }

    /// R5 for one write.
    ///
    /// # Errors
    /// [`CacheError::Saturated`] when the queue is full: nothing was sent. Else what the call met.
    ///
    /// # Cancellation
    /// A write that nobody waits for any more is not sent if it still is in the queue; if it is on its way it happens,
    /// and the relay brings it to the topic.
    pub async fn write(&self, write: Write) -> Result<Written, CacheError> {
        let (answer, answered) = reply::channel();
        self.queue.try_send((write, answer)).map_err(|refused| match refused {
            TrySendError::Full(_) => CacheError::Saturated,
            TrySendError::Closed(_) => CacheError::Away,
        })?;
        answered.await.unwrap_or_else(|_| Err(CacheError::nobody_answers()))
    }

    /// R4: a version without Redis, above all that the process has seen and seen itself from now on. `ahead` is the
    /// extrapolated clock of Redis plus D, in microseconds.
    #[must_use]
    pub fn issue_away(&self, ahead: u64, slot: Slot) -> Version {
        let issue = |seen: u64| issue_away(ahead, Version::new(seen).unwrap_or(Version::ZERO), slot);
        let issued = |seen: u64| Some(issue(seen).get());
        let before = self.seen.fetch_update(Ordering::Relaxed, Ordering::Relaxed, issued);
        issue(before.unwrap_or_else(|seen| seen))
    }

    /// Writes that wait for their turn.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// The highest version that the process has seen (`seen` in R1).
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }
}

impl Writer {
    /// The same, giving signs of life.
    #[must_use]
    pub fn with_pulse(self, pulse: Pulse) -> Self {
        Self { pulse, ..self }
    }

    /// Runs until every [`WriteQueue`] is gone and the queue is empty.
    pub async fn run(mut self) {
        let mut waiting = Vec::with_capacity(MOST_WRITES);
        while self.queued.recv_many(&mut waiting, MOST_WRITES).await > 0 {
            while !waiting.is_empty() {
                self.pulse.beat();
                // Whoever has given up meanwhile gets no write: its client has another answer by now.
                waiting.retain(|(_, answer)| !answer.is_closed());
                let fit = fit(waiting.iter().map(|(write, _)| write.bytes()));
                self.write(waiting.drain(..fit)).await;
            }
            self.pulse.rest();
        }
    }

    async fn write(&self, batch: impl Iterator<Item = Queued>) {
        let (writes, answers): (Vec<_>, Vec<_>) = batch.unzip();
        if writes.is_empty() {
            return;
        }
        let seen = Version::new(self.seen.load(Ordering::Relaxed)).unwrap_or(Version::ZERO);
        match self.cache.write(&writes, seen).await {
            Ok(written) => {
                if written.iter().any(|written| matches!(written, Ok(Written::StaleEpoch)))
                    && let Err(error) = self.cache.meet_again().await
                {
                    tracing::warn!(%error, "Redis has lost its epoch and cannot be met again yet");
                }
                for written in &written {
                    if let Ok(
                        Written::New(version)
                        | Written::Repeated { version, .. }
                        | Written::Overtaken(version)
                        | Written::Conflict(Some((version, _))),
                    ) = written
                    {
                        // Before anybody uses the version (R1).
                        self.seen.fetch_max(version.get(), Ordering::Relaxed);
                    }
                }
                for (answer, written) in answers.into_iter().zip(written) {
                    // A handler that has gone needs no answer; its write stands and the relay carries it on.
                    answer.send(written);
                }
            }
            Err(error) => {
                for answer in answers {
                    answer.send(Err(error.clone()));
                }
            }
        }
    }
}

/// How many of these may share a call: one always, and no more than there is room for.
fn fit(bytes: impl Iterator<Item = usize>) -> usize {
    let sums = bytes.scan(0, |sum, bytes| {
        *sum += bytes;
        Some(*sum)
    });
    sums.enumerate().take_while(|(n, sum)| *n == 0 || *sum <= MOST_BYTES).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_takes_what_fits_and_what_is_too_large_for_any_goes_alone() {
        let fit = |bytes: &[usize]| fit(bytes.iter().copied());
        assert_eq!(fit(&[]), 0);
        assert_eq!(fit(&[0; 64]), 64);
        assert_eq!(fit(&[MOST_BYTES - 1, 1, 0, 1]), 3, "to the byte");
        assert_eq!(fit(&[2 * MOST_BYTES, 0]), 1);
    }
}
