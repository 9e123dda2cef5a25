//! Answers that a request waits for while they are made on another thread.
//!
//! Tokio wakes a task of another thread by a system call, and each answer of a batch would cost one: more than half of the calls that
//! a write made. A thread that [`gather`]s gets them through one queue: the first answer of a batch wakes it, the others are there
//! when it looks.

use std::cell::OnceCell;

use tokio::sync::{mpsc, oneshot};

/// Answers that wait for their thread; one more is delivered at the price of a call of its own.
const QUEUED_MOST: usize = 1024;

type Delivery = Box<dyn FnOnce() + Send>;

thread_local! {
    static QUEUE: OnceCell<mpsc::Sender<Delivery>> = const { OnceCell::new() };
}

/// Where an answer goes; dropped without one, it tells the receiver so.
#[derive(Debug)]
pub struct Reply<T> {
    answer: oneshot::Sender<T>,
    queue: Option<mpsc::Sender<Delivery>>,
}

/// For one answer that is waited for on this thread.
#[must_use]
pub fn channel<T>() -> (Reply<T>, oneshot::Receiver<T>) {
    let (answer, answered) = oneshot::channel();
    (Reply { answer, queue: QUEUE.with(|queue| queue.get().cloned()) }, answered)
}

impl<T: Send + 'static> Reply<T> {
    /// Answers. Whoever has given up gets none.
    pub fn send(self, value: T) {
        let Self { answer, queue } = self;
        let deliver = move || drop(answer.send(value));
        let Some(queue) = queue else { return deliver() };
        if let Err(refused) = queue.try_send(Box::new(deliver)) {
            refused.into_inner()();
        }
    }

    /// Whether nobody waits any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.answer.is_closed()
    }
}

/// From now on answers reach this thread through one queue. Within a `LocalSet`, as every worker of actix is.
pub fn gather() {
    let (queue, mut queued) = mpsc::channel::<Delivery>(QUEUED_MOST);
    if QUEUE.with(|known| known.set(queue)).is_err() {
        return;
    }
    // It lives as long as its thread, and cannot fail: a delivery runs nothing of anybody else's.
    tokio::task::spawn_local(async move {
        let mut batch = Vec::with_capacity(QUEUED_MOST);
        while queued.recv_many(&mut batch, QUEUED_MOST).await > 0 {
            batch.drain(..).for_each(|deliver| deliver());
        }
    });
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;

    fn on_a_thread_that_gathers(body: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            gather();
            body.await;
        });
    }

    #[test]
    fn every_answer_of_another_thread_arrives_also_when_there_are_more_than_wait_at_once() {
        on_a_thread_that_gathers(async {
            let (replies, waiting): (Vec<_>, Vec<_>) = (0..3 * QUEUED_MOST).map(|_| channel()).unzip();
            let other = std::thread::spawn(move || {
                for (number, reply) in replies.into_iter().enumerate() {
                    reply.send(number);
                }
            });
            for (number, answered) in waiting.into_iter().enumerate() {
                assert_eq!(answered.await, Ok(number));
            }
            other.join().unwrap();
        });
    }

    #[test]
    fn whoever_sends_none_is_heard_and_whoever_waits_no_more_is_seen() {
        on_a_thread_that_gathers(async {
            let (reply, answered) = channel::<()>();
            drop(reply);
            assert!(answered.await.is_err());
            let (reply, answered) = channel::<()>();
            drop(answered);
            assert!(reply.is_closed());
            reply.send(());
        });
    }

    #[test]
    fn a_thread_that_does_not_gather_is_answered_at_once() {
        let (reply, mut answered) = channel();
        reply.send(7);
        assert_eq!(answered.try_recv(), Ok(7));
    }
}
