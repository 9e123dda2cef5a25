//! What the process knows of the life of Redis (PROTOCOL R15), how long nobody issues a version after a change of it (R2),
//! and what is still to be declared there at the next contact. No I/O.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::keys::{SHARDS, Shard};

/// Shared by everything that talks to one Redis.
#[derive(Debug, Default)]
pub(crate) struct Life {
    epoch: AtomicU64,
    quiet_until: Mutex<Option<Instant>>,
    /// By shard.
    bypassed: [Debt; SHARDS as usize],
    missed: Debt,
}

/// What the next meeting has to declare; taken before it, paid after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owed {
    /// By shard: writes were made around Redis, and that part of the cache is incomplete (R8, R16).
    bypassed: [u64; SHARDS as usize],
    /// Settles were given up: the epoch is raised (R15).
    missed: u64,
}

/// What has happened, and how much of it was declared. Two counters and no flag: what happens while an earlier one is being
/// declared is not forgotten.
#[derive(Debug, Default)]
struct Debt {
    incurred: AtomicU64,
    paid: AtomicU64,
}

impl Debt {
    fn incur(&self) {
        self.incurred.fetch_add(1, Ordering::SeqCst);
    }

    /// 0: nothing.
    fn owed(&self) -> u64 {
        let incurred = self.incurred.load(Ordering::SeqCst);
        if incurred > self.paid.load(Ordering::SeqCst) { incurred } else { 0 }
    }

    fn pay(&self, owed: u64) {
        self.paid.fetch_max(owed, Ordering::SeqCst);
    }
}

impl Life {
    /// The epoch that the process has met last; 0, which is never current, before it has met any.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Redis was met in `epoch`, and found changed that long ago; versions may be issued once that is `quiet` ago. A process
    /// that only now hears of a change waits as much as the one that found it: the clocks are what has to catch up.
    pub(crate) fn met(&self, epoch: u64, changed_ago: Duration, quiet: Duration) {
        // Before the epoch: whoever has the new one already must not miss that it is quiet.
        let rest = quiet.saturating_sub(changed_ago);
        if !rest.is_zero() {
            let mut until = self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner);
            *until = (*until).max(Some(Instant::now() + rest));
        }
        let before = self.epoch.swap(epoch, Ordering::SeqCst);
        if before != epoch {
            tracing::info!(epoch, before, ?changed_ago, "Redis is met in epoch {epoch}");
        }
    }

    /// For how long nobody may issue a version yet.
    pub(crate) fn quiet_for(&self) -> Option<Duration> {
        let until = *self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.map(|until| until.saturating_duration_since(Instant::now())).filter(|rest| !rest.is_zero())
    }

    /// A write of this shard is made around Redis.
    pub(crate) fn bypassed(&self, shard: Shard) {
        if let Some(debt) = self.bypassed.get(usize::from(shard.number())) {
            debt.incur();
        }
    }

    pub(crate) fn missed(&self) {
        self.missed.incur();
    }

    pub(crate) fn owed(&self) -> Owed {
        Owed { bypassed: self.bypassed.each_ref().map(Debt::owed), missed: self.missed.owed() }
    }

    pub(crate) fn pay(&self, owed: Owed) {
        for (debt, owed) in self.bypassed.iter().zip(owed.bypassed) {
            debt.pay(owed);
        }
        self.missed.pay(owed.missed);
    }
}

impl Owed {
    pub(crate) fn anything(self) -> bool {
        self.raise() || self.doubts().any(|doubt| doubt)
    }

    /// Of every shard in order, whether it is incomplete.
    pub(crate) fn doubts(self) -> impl Iterator<Item = bool> {
        self.bypassed.into_iter().map(|owed| owed > 0)
    }

    pub(crate) fn raise(self) -> bool {
        self.missed > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Duration = Duration::from_millis(500);

    #[test]
    fn before_redis_was_met_the_epoch_is_one_that_is_never_current() {
        assert_eq!(Life::default().epoch(), 0);
    }

    #[test]
    fn r2_it_is_quiet_for_the_rest_of_t_and_not_at_all_after_an_old_change() {
        let life = Life::default();
        life.met(7, Duration::from_secs(3600), T);
        assert_eq!((life.epoch(), life.quiet_for()), (7, None));
        life.met(8, Duration::from_millis(100), T);
        assert!((300..=400).contains(&life.quiet_for().expect("it is quiet").as_millis()));
        life.met(8, Duration::from_millis(450), T);
        assert!(life.quiet_for().expect("it is quiet").as_millis() >= 300, "a later meeting ends it no earlier");
    }

    #[test]
    fn what_happens_while_a_debt_is_being_paid_is_still_owed() {
        let (life, mut shards) = (Life::default(), Shard::all());
        let (one, other) = (shards.next().unwrap(), shards.next().unwrap());
        let doubtful = |owed: Owed| owed.doubts().filter(|doubt| *doubt).count();
        assert!(!life.owed().anything());
        life.bypassed(one);
        life.bypassed(other);
        let first = life.owed();
        assert_eq!(doubtful(first), 2);
        life.bypassed(one);
        life.missed();
        life.pay(first);
        let second = life.owed();
        assert!(second.raise());
        assert_eq!(doubtful(second), 1, "the other's was declared");
        life.pay(second);
        assert!(!life.owed().anything());
    }
}
