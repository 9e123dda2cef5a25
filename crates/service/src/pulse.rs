//! Signs of life. A task that dies is seen by its supervisor; one that stands still looks alive, and nobody misses what it no
//! longer does.
//!
//! A task beats when it begins a piece of work and rests where it waits for work. Between two beats stand only waits that
//! are bounded, so that a task at work which has not beaten for longer than the budget stalls. Time is counted in ticks of
//! the watch itself: while the whole process stands still (SIGSTOP, a machine that sleeps) its time does, too.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};

use crate::fail_points;

/// Not a tick: the task waits for work.
const RESTING: u64 = 0;

/// The sign of life of one task. It rests at first, and is forgotten when it is dropped.
#[derive(Debug)]
pub struct Pulse {
    name: &'static str,
    now: Arc<AtomicU64>,
    beaten: Arc<AtomicU64>,
}

impl Pulse {
    /// A pulse that nobody watches.
    #[must_use]
    pub fn unwatched() -> Self {
        Pulses::new(u64::MAX).of("unwatched")
    }

    /// A piece of work begins, or goes on.
    pub fn beat(&self) {
        self.beaten.store(self.now.load(Ordering::Relaxed), Ordering::Relaxed);
        fail_points::beaten(self.name);
    }

    /// From here on the task waits for work, however long.
    pub fn rest(&self) {
        self.beaten.store(RESTING, Ordering::Relaxed);
    }
}

/// How a task gets on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gait {
    /// It waits for work.
    Rests,
    /// It works.
    Works,
    /// It works, and has not been heard of for longer than the budget.
    Stalls,
}

impl Gait {
    /// `ticks` since its last beat; `None` while it rests.
    fn of(ticks: Option<u64>, most: u64) -> Self {
        match ticks {
            None => Self::Rests,
            Some(ticks) if ticks <= most => Self::Works,
            Some(_) => Self::Stalls,
        }
    }

    /// The word in `/readyz?verbose`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rests => "rests",
            Self::Works => "works",
            Self::Stalls => "stalls",
        }
    }
}

/// The pulses of one process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pulses {
    /// The present tick, from 1.
    now: Arc<AtomicU64>,
    most: u64,
    known: Arc<Mutex<Vec<Known>>>,
}

#[derive(Debug)]
struct Known {
    name: &'static str,
    beaten: Weak<AtomicU64>,
}

impl Pulses {
    /// None yet. A task that is at work and has not beaten for more than `most` ticks stalls.
    #[must_use]
    pub fn new(most: u64) -> Self {
        Self { now: Arc::new(AtomicU64::new(1)), most, known: Arc::default() }
    }

    fn known(&self) -> MutexGuard<'_, Vec<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new one. Several may have the same name, such as lanes.
    #[must_use]
    pub fn of(&self, name: &'static str) -> Pulse {
        let beaten = Arc::new(AtomicU64::new(RESTING));
        let mut known = self.known();
        known.retain(|one| one.beaten.strong_count() > 0);
        known.push(Known { name, beaten: Arc::downgrade(&beaten) });
        Pulse { name, now: Arc::clone(&self.now), beaten }
    }

    /// One tick has passed.
    pub fn tick(&self) {
        self.now.fetch_add(1, Ordering::Relaxed);
    }

    /// How each task gets on, by name; of several with one name the worst.
    #[must_use]
    pub fn gaits(&self) -> BTreeMap<&'static str, Gait> {
        let now = self.now.load(Ordering::Relaxed);
        let mut gaits = BTreeMap::new();
        for known in self.known().iter() {
            let Some(beaten) = known.beaten.upgrade() else { continue };
            let beaten = beaten.load(Ordering::Relaxed);
            let ticks = (beaten != RESTING).then(|| now.saturating_sub(beaten));
            let gait = gaits.entry(known.name).or_insert(Gait::Rests);
            *gait = Gait::of(ticks, self.most).max(*gait);
        }
        gaits
    }

    /// Who stalls.
    #[must_use]
    pub fn stalled(&self) -> Vec<&'static str> {
        self.gaits().into_iter().filter(|(_, gait)| *gait == Gait::Stalls).map(|(name, _)| name).collect()
    }
}

/// `tasks_stalled`, looked up when it is scraped: a series per task from the start.
#[derive(Clone, Debug)]
pub(crate) struct TasksStalled {
    pulses: Pulses,
    shown: IntGaugeVec,
}

impl TasksStalled {
    #[expect(clippy::expect_used, reason = "the name is a constant")]
    pub(crate) fn new(pulses: Pulses) -> Self {
        let opts = Opts::new(
            "write_behind_tasks_stalled",
            "1 for a task that is at work and has not been heard of for longer than --stall-after-ms; the process ends",
        );
        Self { pulses, shown: IntGaugeVec::new(opts, &["task"]).expect("a valid name") }
    }
}

impl Collector for TasksStalled {
    fn desc(&self) -> Vec<&Desc> {
        self.shown.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for (name, gait) in self.pulses.gaits() {
            self.shown.with_label_values(&[name]).set(i64::from(gait == Gait::Stalls));
        }
        self.shown.collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: u64 = 5;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Tick,
        Beat,
        Rest,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        prop::collection::vec(prop_oneof![3 => Just(Step::Tick), 1 => Just(Step::Beat), 1 => Just(Step::Rest)], 0..60)
    }

    proptest! {
        #[test]
        fn a_task_stalls_exactly_when_it_is_at_work_and_silent_for_longer_than_the_budget(steps in steps()) {
            let pulses = Pulses::new(MOST);
            let pulse = pulses.of("one");
            let mut silent = None;
            for step in steps {
                match step {
                    Step::Tick => { pulses.tick(); silent = silent.map(|ticks: u64| ticks + 1); }
                    Step::Beat => { pulse.beat(); silent = Some(0); }
                    Step::Rest => { pulse.rest(); silent = None; }
                }
                prop_assert_eq!(!pulses.stalled().is_empty(), silent.is_some_and(|ticks| ticks > MOST));
            }
        }
    }

    #[test]
    fn one_lane_that_stalls_is_seen_among_others_and_forgotten_when_it_ends() {
        let pulses = Pulses::new(MOST);
        let (silent, busy, resting) = (pulses.of("lane"), pulses.of("lane"), pulses.of("lane"));
        silent.beat();
        resting.rest();
        for _ in 0..=MOST {
            pulses.tick();
            busy.beat();
        }
        assert_eq!(pulses.stalled(), ["lane"]);
        drop(silent);
        assert_eq!(pulses.stalled(), [""; 0], "the lane has ended, and the others get on");
        assert_eq!(pulses.gaits().get("lane"), Some(&Gait::Works));
    }
}
