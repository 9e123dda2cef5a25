//! The slot that makes this process' versions without Redis unlike those of all others (PROTOCOL R4): given by a setting, or
//! leased in Redis. A lease is believed in only while our own clocks say that it stands; they begin before Redis' does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cache::Cache;
use prometheus::IntGauge;
use record::Slot;
use service::{Pulse, clock};
use tokio_util::sync::CancellationToken;

/// How often a lease is renewed. Often, so that whoever lost it with what Redis lost learns of it soon.
const EVERY: Duration = Duration::from_secs(1);

/// How often one is asked for that this process has not yet.
const SOON: Duration = Duration::from_millis(50);

/// A slot until some moment by either clock; all in microseconds.
#[derive(Clone, Copy, Debug)]
struct Lease {
    slot: Slot,
    monotonic: u64,
    wall: u64,
}

impl Lease {
    /// The monotonic clock stands still while a machine sleeps, the other one may be set: each can end a lease.
    fn at(self, monotonic: u64, wall: u64) -> Option<Slot> {
        (monotonic < self.monotonic && wall < self.wall).then_some(self.slot)
    }
}

/// Which slot this process has.
#[derive(Debug)]
pub(crate) struct InstanceSlot {
    cache: Cache,
    /// The same after a restart, so that the process gets its slot back; nobody's where the slot is a setting.
    identity: Option<String>,
    time: Duration,
    held: Mutex<Option<Lease>>,
    given_back: AtomicBool,
    /// The slot's number, 0 without one.
    shown: IntGauge,
}

impl InstanceSlot {
    /// The slot of a setting: for ever.
    pub(crate) fn fixed(slot: Slot, cache: Cache, shown: IntGauge) -> Self {
        let held = Mutex::new(Some(Lease { slot, monotonic: u64::MAX, wall: u64::MAX }));
        Self { cache, identity: None, time: Duration::MAX, held, given_back: AtomicBool::new(false), shown }
    }

    /// None yet; [`InstanceSlot::keep`] leases one for `time` again and again.
    pub(crate) fn leased(cache: Cache, identity: String, time: Duration, shown: IntGauge) -> Self {
        let held = Mutex::default();
        Self { cache, identity: Some(identity), time, held, given_back: AtomicBool::new(false), shown }
    }

    /// The slot while our clocks show `monotonic` and `wall`.
    pub(crate) fn at(&self, monotonic: u64, wall: u64) -> Option<Slot> {
        self.held().and_then(|lease| lease.at(monotonic, wall))
    }

    /// Renews the lease until `stopping`.
    pub(crate) async fn keep(self: Arc<Self>, stopping: CancellationToken, pulse: Pulse) {
        while !stopping.is_cancelled() {
            pulse.beat();
            if let Some(identity) = &self.identity
                && !self.given_back.load(Ordering::Relaxed)
            {
                self.renew(identity).await;
            }
            let slot = self.at(clock::monotonic_micros(), clock::now_micros());
            self.shown.set(slot.map_or(0, |slot| slot.get().into()));
            pulse.rest();
            tokio::select! {
                () = tokio::time::sleep(if slot.is_some() { EVERY } else { SOON }) => {}
                () = stopping.cancelled() => {}
            }
        }
    }

    /// Gives a leased slot back: this process issues no version any more.
    pub(crate) async fn give_back(&self) {
        self.given_back.store(true, Ordering::Relaxed);
        let held = self.held().take();
        if let (Some(identity), Some(Lease { slot, .. })) = (&self.identity, held)
            && let Err(error) = self.cache.release_slot(slot, identity).await
        {
            tracing::debug!(%error, "the slot's lease ends by itself");
        }
    }

    async fn renew(&self, identity: &str) {
        // Shorter by a twentieth: no two clocks run alike.
        let believed = clock::micros(self.time - self.time / 20);
        let (monotonic, wall) = (clock::monotonic_micros() + believed, clock::now_micros() + believed);
        match self.cache.claim_slot(identity, self.time).await {
            Ok(Some(slot)) => *self.held() = Some(Lease { slot, monotonic, wall }),
            Ok(None) => {
                if self.held().take().is_some() {
                    tracing::warn!("this process has lost its slot: without Redis it takes no writes");
                }
            }
            // What was claimed before still stands for its time.
            Err(error) => tracing::debug!(%error, "slot"),
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<Lease>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r4_a_lease_is_believed_in_only_while_both_clocks_say_that_it_stands() {
        let slot = Slot::new(3).unwrap();
        let lease = Lease { slot, monotonic: 100, wall: 1100 };
        assert_eq!(lease.at(99, 1099), Some(slot));
        assert_eq!(lease.at(100, 1099), None, "its time is over");
        assert_eq!(lease.at(50, 1100), None, "the machine slept: another may have the slot by now");
    }
}
