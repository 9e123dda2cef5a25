//! What waits for a lane, bounded by events and by bytes. One end is the intake's, which never waits; the other the lane's.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use tokio::sync::mpsc;
use topic::Envelope;

/// A queue of at most so many events, and of no more once it has so many bytes.
pub(crate) fn queue(events_most: usize, bytes_most: usize) -> (Entrance, Exit) {
    let (sender, receiver) = mpsc::channel(events_most);
    let bytes = Arc::new(AtomicUsize::new(0));
    (Entrance { sender, bytes: Arc::clone(&bytes), bytes_most, stuck: VecDeque::new() }, Exit { receiver, bytes })
}

/// The intake's end.
#[derive(Debug)]
pub(crate) struct Entrance {
    sender: mpsc::Sender<Envelope>,
    bytes: Arc<AtomicUsize>,
    bytes_most: usize,
    /// Messages that found no room, in order; the partition is paused until they do.
    stuck: VecDeque<Envelope>,
}

impl Entrance {
    /// Takes a message in any case. `false`: it is stuck, and no more should come.
    pub(crate) fn offer(&mut self, envelope: Envelope) -> bool {
        self.stuck.push_back(envelope);
        self.unstick()
    }

    /// Whether what was stuck has found room just now, and more would. A queue must be half empty before, or it would be full
    /// again at once.
    pub(crate) fn has_room_again(&mut self) -> bool {
        let half_empty = self.sender.capacity() >= self.sender.max_capacity() / 2
            && self.bytes.load(Ordering::Relaxed) <= self.bytes_most / 2;
        !self.stuck.is_empty() && half_empty && self.unstick()
    }

    /// How full it is, for whoever looks now and then.
    pub(crate) fn level(&self) -> Level {
        Level { sender: self.sender.downgrade(), bytes: Arc::downgrade(&self.bytes) }
    }

    /// Moves what is stuck into the queue, in order. Says whether nothing is stuck any more. A message always fits into an
    /// empty queue, however large.
    fn unstick(&mut self) -> bool {
        while !self.stuck.is_empty() && self.bytes.load(Ordering::Relaxed) < self.bytes_most {
            let Ok(place) = self.sender.try_reserve() else { return false };
            if let Some(envelope) = self.stuck.pop_front() {
                self.bytes.fetch_add(envelope.bytes(), Ordering::Relaxed);
                place.send(envelope);
            }
        }
        self.stuck.is_empty()
    }
}

/// How full a queue is. Keeps it not open: a lane ends when its queue does.
#[derive(Debug)]
pub(crate) struct Level {
    sender: mpsc::WeakSender<Envelope>,
    bytes: Weak<AtomicUsize>,
}

impl Level {
    /// Events and bytes that wait; `None` once the intake has let go of the queue.
    pub(crate) fn now(&self) -> Option<(usize, usize)> {
        let (sender, bytes) = (self.sender.upgrade()?, self.bytes.upgrade()?);
        Some((sender.max_capacity() - sender.capacity(), bytes.load(Ordering::Relaxed)))
    }
}

/// The lane's end.
#[derive(Debug)]
pub(crate) struct Exit {
    receiver: mpsc::Receiver<Envelope>,
    bytes: Arc<AtomicUsize>,
}

impl Exit {
    /// The next message; `None` when none will come any more.
    pub(crate) async fn next(&mut self) -> Option<Envelope> {
        let envelope = self.receiver.recv().await?;
        Some(self.left(envelope))
    }

    /// Adds what waits already, until the batch has so many events or so many bytes.
    pub(crate) fn fill(&mut self, batch: &mut Vec<Envelope>, events_most: usize, bytes_most: usize) {
        let mut bytes: usize = batch.iter().map(Envelope::bytes).sum();
        while batch.len() < events_most && bytes < bytes_most {
            let Ok(envelope) = self.receiver.try_recv() else { break };
            let envelope = self.left(envelope);
            bytes += envelope.bytes();
            batch.push(envelope);
        }
    }

    fn left(&self, envelope: Envelope) -> Envelope {
        self.bytes.fetch_sub(envelope.bytes(), Ordering::Relaxed);
        envelope
    }
}
