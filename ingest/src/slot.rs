//! The slot that makes this process' versions without Redis unlike those of all others (PROTOCOL R4): given by a setting, or
//! leased in Redis. A lease is believed in only while our own clocks say that it stands; they begin before Redis' does.
//!
//! Either stands in Redis under a name that no other living process has, so that no lease is given to two, nobody leases what a
//! setting has given away, and of two processes that were given the same number one learns of it and does without.

use std::net::SocketAddr;
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

/// A name that no other process has while this one lives: on one boot of a kernel, in one of its networks, an address is listened
/// at by one process at a time. Whoever is started in its place after a crash has the name again, and its slot. `admin` is listened
/// at from before the first version until after the last. Where the system tells less, a name that nobody has again: the slot of
/// what has crashed is then free when its lease ends.
pub(crate) fn identity(admin: SocketAddr) -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let network = std::fs::read_link("/proc/self/ns/net");
    let place = match (boot, network) {
        (Ok(boot), Ok(network)) => format!("{} {}", boot.trim(), network.display()),
        _ => uuid::Uuid::now_v7().to_string(),
    };
    let host = nix::unistd::gethostname().unwrap_or_default();
    format!("{} {admin} {place}", host.display())
}

/// A slot from one moment to another; all in microseconds.
#[derive(Clone, Copy, Debug)]
struct Lease {
    slot: Slot,
    /// By the monotonic clock.
    from: u64,
    monotonic: u64,
    wall: u64,
}

impl Lease {
    /// The monotonic clock stands still while a machine sleeps, the other one may be set: each can end a lease.
    fn stands(self, monotonic: u64, wall: u64) -> bool {
        monotonic < self.monotonic && wall < self.wall
    }

    /// Held by our clocks `now`, until others: one that is another than before, or was not ours all the time, may have been somebody's
    /// a moment ago, who was `ahead` of us.
    fn after(before: Option<Self>, slot: Slot, now: (u64, u64), until: (u64, u64), ahead: u64) -> Self {
        let before = before.filter(|before| before.slot == slot && before.stands(now.0, now.1));
        let from = before.map_or(now.0 + ahead, |before| before.from);
        Self { slot, from, monotonic: until.0, wall: until.1 }
    }

    fn at(self, monotonic: u64, wall: u64) -> Option<Slot> {
        (monotonic >= self.from && self.stands(monotonic, wall)).then_some(self.slot)
    }
}

/// Which slot this process has.
#[derive(Debug)]
pub(crate) struct InstanceSlot {
    cache: Cache,
    identity: String,
    /// The slot of a setting, if there is one.
    given: Option<Slot>,
    time: Duration,
    /// More than 2D: so long whoever had the slot before may have been ahead of our clocks.
    ahead: Duration,
    held: Mutex<Option<Lease>>,
    given_back: AtomicBool,
    /// The slot's number, 0 without one.
    shown: IntGauge,
}

impl InstanceSlot {
    /// A slot that was `given` is held from now on, until another process is found to have the same. Without one there is none yet:
    /// [`InstanceSlot::keep`] leases one for `time` again and again. `disagree` is D.
    pub(crate) fn new(
        cache: Cache,
        identity: String,
        given: Option<Slot>,
        (time, disagree): (Duration, Duration),
        shown: IntGauge,
    ) -> Self {
        let held = given.map(for_ever);
        let ahead = disagree * 2 + Duration::from_millis(1);
        Self { cache, identity, given, time, ahead, held: Mutex::new(held), given_back: AtomicBool::new(false), shown }
    }

    /// The slot while our clocks show `monotonic` and `wall`.
    pub(crate) fn at(&self, monotonic: u64, wall: u64) -> Option<Slot> {
        self.held().and_then(|lease| lease.at(monotonic, wall))
    }

    /// Renews the lease until `stopping`.
    pub(crate) async fn keep(self: Arc<Self>, stopping: CancellationToken, pulse: Pulse) {
        let mut taken = false;
        while !stopping.is_cancelled() {
            pulse.beat();
            if !self.given_back.load(Ordering::Relaxed) {
                match self.given {
                    // Whose name stands there may be gone: he finds ours if he is not.
                    Some(slot) if !taken => taken = self.cache.take_slot(slot, &self.identity, self.time).await.is_ok(),
                    Some(slot) => self.insist(slot).await,
                    None => self.renew().await,
                }
            }
            let (monotonic, wall) = clocks();
            let slot = self.at(monotonic, wall);
            self.shown.set(slot.map_or(0, |slot| slot.get().into()));
            pulse.rest();
            tokio::select! {
                () = tokio::time::sleep(if slot.is_some() { EVERY } else { SOON }) => {}
                () = stopping.cancelled() => {}
            }
        }
    }

    /// Gives the slot back: this process issues no version any more.
    pub(crate) async fn give_back(&self) {
        self.given_back.store(true, Ordering::Relaxed);
        let held = self.held().take();
        if let Some(Lease { slot, .. }) = held
            && let Err(error) = self.cache.release_slot(slot, &self.identity).await
        {
            tracing::debug!(%error, "the slot's lease ends by itself");
        }
    }

    async fn renew(&self) {
        // Shorter by a twentieth: no two clocks run alike.
        let believed = clock::micros(self.time - self.time / 20);
        let (monotonic, wall) = clocks();
        match self.cache.claim_slot(&self.identity, None, self.time).await {
            Ok(Some(slot)) => {
                let (until, mut held) = ((monotonic + believed, wall + believed), self.held());
                *held = Some(Lease::after(*held, slot, clocks(), until, clock::micros(self.ahead)));
            }
            Ok(None) => {
                if self.held().take().is_some() {
                    tracing::warn!("this process has lost its slot: without Redis it takes no writes");
                }
            }
            // What was claimed before still stands for its time.
            Err(error) => tracing::debug!(%error, "slot"),
        }
    }

    /// The slot of a setting, once it was taken.
    async fn insist(&self, given: Slot) {
        match self.cache.claim_slot(&self.identity, Some(given), self.time).await {
            Ok(Some(slot)) => {
                let mut held = self.held();
                if held.is_none() {
                    tracing::info!(slot = slot.get(), "no other process has this one's --instance-slot any more");
                    let from = clock::monotonic_micros() + clock::micros(self.ahead);
                    *held = Some(Lease { from, ..for_ever(slot) });
                }
            }
            Ok(None) => {
                if self.held().take().is_some() {
                    tracing::error!(
                        slot = given.get(),
                        "another process has the same --instance-slot: without Redis this one takes no writes"
                    );
                }
            }
            Err(error) => tracing::debug!(%error, "slot"),
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<Lease>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The monotonic clock and the other one.
fn clocks() -> (u64, u64) {
    (clock::monotonic_micros(), clock::now_micros())
}

fn for_ever(slot: Slot) -> Lease {
    Lease { slot, from: 0, monotonic: u64::MAX, wall: u64::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r4_a_lease_is_believed_in_only_while_both_clocks_say_that_it_stands() {
        let slot = Slot::new(3).unwrap();
        let lease = Lease { slot, from: 20, monotonic: 100, wall: 1100 };
        assert_eq!(lease.at(99, 1099), Some(slot));
        assert_eq!(lease.at(100, 1099), None, "its time is over");
        assert_eq!(lease.at(50, 1100), None, "the machine slept: another may have the slot by now");
        assert_eq!(lease.at(19, 1000), None, "who had it before may have given out versions of this moment");
        assert_eq!(lease.at(20, 1000), Some(slot));
    }

    #[test]
    fn r4_a_slot_that_may_have_been_anothers_a_moment_ago_is_used_only_when_every_clock_is_past_his_versions() {
        let [three, four] = [3, 4].map(|slot| Slot::new(slot).unwrap());
        let until = (1000, 2000);
        let first = Lease::after(None, three, (10, 1010), until, 101);
        assert_eq!((first.at(110, 1110), first.at(111, 1111)), (None, Some(three)));
        let again = Lease::after(Some(first), three, (500, 1500), (1500, 2500), 101);
        assert_eq!(again.at(500, 1500), Some(three), "it was ours all the time");
        let other = Lease::after(Some(again), four, (600, 1600), until, 101);
        assert_eq!((other.at(600, 1600), other.at(701, 1701)), (None, Some(four)));
        let lapsed = Lease::after(Some(again), three, (1500, 1600), (3000, 4000), 101);
        assert_eq!(lapsed.at(1500, 1600), None, "between two of our leases it may have been anybody's");
    }

    #[test]
    fn r4_two_addresses_are_two_names_and_one_that_is_listened_at_again_is_the_same() {
        let of = |port| identity(SocketAddr::from(([127, 0, 0, 1], port)));
        assert_ne!(of(1), of(2));
        assert_eq!(of(1), of(1), "whoever is started in its place gets its slot back");
    }
}
