//! What may be committed, for whom. Pure.
//!
//! A lane reports how far it has come without a gap; only the present generation of a partition is believed, so that a
//! lane that outlived its assignment moves nothing. A failed commit is due again.

use std::collections::HashMap;
use std::ops::Range;

use topic::Partition;

/// One assignment of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Generation(pub(crate) u64);

#[derive(Debug, Default)]
struct Progress {
    generation: Generation,
    /// The next offset to be read by whoever comes after: everything below is done.
    done: Option<i64>,
    /// Handed out for a commit that has not failed.
    sent: Option<i64>,
    /// What the group is known to have.
    committed: Option<i64>,
    /// The topic was made anew under us: what is done is below what the group may have.
    back: bool,
}

/// An offset that is to be committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) partition: Partition,
    pub(crate) next: i64,
    /// It may be below what was committed before.
    pub(crate) back: bool,
}

/// The offsets of all partitions that are ours.
#[derive(Debug, Default)]
pub(crate) struct OffsetTracker {
    partitions: HashMap<Partition, Progress>,
}

impl OffsetTracker {
    /// A new assignment: nothing of an earlier one counts any more.
    pub(crate) fn begin(&mut self, partition: Partition, generation: Generation) {
        self.partitions.insert(partition, Progress { generation, ..Progress::default() });
    }

    /// These offsets are applied, superseded or dead-lettered, and so is everything before them. Says whether it was believed. A
    /// lane goes through its partition in order: where it begins below its own end, the topic was made anew.
    pub(crate) fn done(&mut self, partition: &Partition, generation: Generation, part: Range<i64>) -> bool {
        match self.partitions.get_mut(partition) {
            Some(progress) if progress.generation == generation => {
                if Some(part.start.min(part.end)) < progress.done {
                    (progress.sent, progress.committed, progress.back) = (None, None, true);
                }
                progress.done = Some(part.end);
                true
            }
            _ => false,
        }
    }

    /// Whether a later assignment of the partition has begun, in this process.
    pub(crate) fn is_outlived(&self, partition: &Partition, generation: Generation) -> bool {
        self.partitions.get(partition).is_some_and(|progress| progress.generation > generation)
    }

    /// What is to be committed now.
    pub(crate) fn due(&mut self) -> Vec<Due> {
        let mut due = Vec::new();
        for (partition, progress) in &mut self.partitions {
            if let Some(next) = progress.done.filter(|done| progress.sent != Some(*done)) {
                progress.sent = Some(next);
                due.push(Due { partition: partition.clone(), next, back: progress.back });
            }
        }
        due
    }

    /// A commit ended: the group has this offset. Of one that was overtaken nothing follows.
    pub(crate) fn committed(&mut self, partition: &Partition, offset: i64) {
        let progress = self.partitions.get_mut(partition);
        if let Some(progress) = progress.filter(|progress| progress.sent == Some(offset)) {
            (progress.committed, progress.back) = (Some(offset), false);
        }
    }

    /// A commit failed: it is due again.
    pub(crate) fn failed(&mut self, partition: &Partition) {
        if let Some(progress) = self.partitions.get_mut(partition) {
            progress.sent = None;
        }
    }

    /// The assignment ends. Returns what was done in it and is not known to be committed, to be committed once more inside the
    /// revoke: an asynchronous commit that is still on its way may yet fail. What is known to be committed is not said again:
    /// the topic may be another by now.
    pub(crate) fn end(&mut self, partition: &Partition) -> Option<i64> {
        let progress = self.partitions.remove(partition)?;
        progress.done.filter(|done| progress.committed != Some(*done))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A partition, the group's offset in it as the brokers have it, and commits on their way there.
    #[derive(Debug, Default)]
    struct Brokers {
        committed: i64,
        on_the_way: Vec<i64>,
    }

    impl Brokers {
        fn answer(&mut self, tracker: &mut OffsetTracker, partition: &Partition) {
            for offset in self.on_the_way.drain(..) {
                self.committed = offset;
                tracker.committed(partition, offset);
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// A lane of this assignment, or of one so many ago, has brought so many events.
        Brings {
            ago: u64,
            events: i64,
        },
        Commit,
        Answered,
        Fails,
        /// The partition goes to somebody else and comes back: whoever has it begins at the group's offset.
        Moves,
        MadeAnew,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0u64..3, 1i64..9).prop_map(|(ago, events)| Step::Brings { ago: ago / 2, events }),
            3 => Just(Step::Commit),
            3 => Just(Step::Answered),
            1 => Just(Step::Fails),
            1 => Just(Step::Moves),
            1 => Just(Step::MadeAnew),
        ]
    }

    proptest! {
        /// Not what the tracker keeps is looked at, but what a reader that begins at the group's offset would never see.
        #[test]
        fn g7_no_event_below_the_committed_offset_is_undone_and_in_the_end_none_above_it_is_done(
            steps in proptest::collection::vec(step(), 0..80)
        ) {
            let partition = Partition { topic: "t".into(), number: 0 };
            let (mut tracker, mut brokers, mut generation) = (OffsetTracker::default(), Brokers::default(), 10);
            // By generation: up to where its lane has come. The topic's events below `done` were brought by anybody.
            let (mut lanes, mut done) = (HashMap::from([(generation, 0)]), 0);
            tracker.begin(partition.clone(), Generation(generation));
            let send = |tracker: &mut OffsetTracker, brokers: &mut Brokers| {
                brokers.on_the_way.extend(tracker.due().into_iter().map(|due| due.next));
            };
            for step in steps {
                match step {
                    Step::Brings { ago, events } => {
                        let Some(at) = lanes.get_mut(&(generation - ago)) else { continue };
                        let began = *at;
                        *at += events;
                        done = done.max(*at);
                        let believed = tracker.done(&partition, Generation(generation - ago), began..*at);
                        prop_assert_eq!(believed, ago == 0, "of a lane that has outlived its assignment");
                    }
                    Step::Commit => send(&mut tracker, &mut brokers),
                    Step::Answered => brokers.answer(&mut tracker, &partition),
                    Step::Fails => {
                        if brokers.on_the_way.pop().is_some() {
                            tracker.failed(&partition);
                        }
                    }
                    Step::Moves => {
                        brokers.on_the_way.clear();
                        brokers.committed = tracker.end(&partition).unwrap_or(brokers.committed);
                        prop_assert_eq!(brokers.committed, lanes[&generation], "given back is not what was brought");
                        generation += 1;
                        lanes.insert(generation, brokers.committed);
                        tracker.begin(partition.clone(), Generation(generation));
                    }
                    Step::MadeAnew => {
                        // What is on its way just then lands before: that nobody can prevent.
                        send(&mut tracker, &mut brokers);
                        brokers.answer(&mut tracker, &partition);
                        (brokers.committed, done) = (0, 0);
                        lanes = HashMap::from([(generation, 0)]);
                    }
                }
                prop_assert!(brokers.committed <= done, "{} is committed, only {} are done", brokers.committed, done);
            }
            send(&mut tracker, &mut brokers);
            brokers.answer(&mut tracker, &partition);
            prop_assert_eq!(brokers.committed, lanes[&generation], "what was brought would be read again");
        }
    }

    /// Whatever its end: librdkafka commits in the background only what is above.
    #[test]
    fn g7_what_begins_below_the_end_goes_back_until_it_is_committed() {
        let (partition, generation) = (Partition { topic: "t".into(), number: 0 }, Generation(1));
        for end in [3, 30, 31] {
            let mut tracker = OffsetTracker::default();
            tracker.begin(partition.clone(), generation);
            let due = |tracker: &mut OffsetTracker, part: Range<i64>| {
                assert!(tracker.done(&partition, generation, part));
                tracker.due().into_iter().map(|due| (due.next, due.back)).collect::<Vec<_>>()
            };
            assert_eq!(due(&mut tracker, 0..30), [(30, false)]);
            assert_eq!(due(&mut tracker, 0..end), [(end, true)]);
            tracker.committed(&partition, 29);
            assert_eq!(due(&mut tracker, end..40), [(40, true)], "the answer was another's");
            tracker.committed(&partition, 40);
            assert_eq!(due(&mut tracker, 40..41), [(41, false)]);
        }
    }
}
