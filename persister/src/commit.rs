//! What may be committed, for whom. Pure.
//!
//! A lane reports how far it has come without a gap; only the present generation of a partition is believed, so that a
//! lane that outlived its assignment moves nothing. A failed commit is due again.

use std::collections::HashMap;

use topic::Partition;

/// One assignment of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Generation(pub(crate) u64);

#[derive(Debug)]
struct Progress {
    generation: Generation,
    /// The next offset to be read by whoever comes after: everything below is done.
    done: Option<i64>,
    /// Handed out for a commit that has not failed.
    sent: Option<i64>,
}

/// The offsets of all partitions that are ours.
#[derive(Debug, Default)]
pub(crate) struct OffsetTracker {
    partitions: HashMap<Partition, Progress>,
}

impl OffsetTracker {
    /// A new assignment: nothing of an earlier one counts any more.
    pub(crate) fn begin(&mut self, partition: Partition, generation: Generation) {
        self.partitions.insert(partition, Progress { generation, done: None, sent: None });
    }

    /// Everything below `next` is applied, superseded or dead-lettered. Says whether it was believed.
    pub(crate) fn done(&mut self, partition: &Partition, generation: Generation, next: i64) -> bool {
        match self.partitions.get_mut(partition) {
            Some(progress) if progress.generation == generation => {
                progress.done = progress.done.max(Some(next));
                true
            }
            _ => false,
        }
    }

    /// What is to be committed now.
    pub(crate) fn due(&mut self) -> Vec<(Partition, i64)> {
        let mut due = Vec::new();
        for (partition, progress) in &mut self.partitions {
            if let Some(done) = progress.done.filter(|done| progress.sent < Some(*done)) {
                progress.sent = Some(done);
                due.push((partition.clone(), done));
            }
        }
        due
    }

    /// A commit failed: it is due again.
    pub(crate) fn failed(&mut self, partition: &Partition) {
        if let Some(progress) = self.partitions.get_mut(partition) {
            progress.sent = None;
        }
    }

    /// The assignment ends. Returns what was done in it, to be committed once more inside the revoke: an asynchronous
    /// commit that is still on its way may yet fail.
    pub(crate) fn end(&mut self, partition: &Partition) -> Option<i64> {
        self.partitions.remove(partition).and_then(|progress| progress.done)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Begin,
        Done { generation: u64, next: i64 },
        Due,
        Failed,
        End,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Begin),
            (0u64..6, 0i64..50).prop_map(|(generation, next)| Step::Done { generation, next }),
            Just(Step::Due),
            Just(Step::Failed),
            Just(Step::End),
        ]
    }

    proptest! {
        #[test]
        fn only_what_the_present_generation_has_done_is_ever_committed(steps in proptest::collection::vec(step(), 0..60)) {
            let partition = Partition { topic: "t".into(), number: 0 };
            let mut tracker = OffsetTracker::default();
            let (mut generation, mut assigned, mut highest) = (0, false, None);
            for step in steps {
                match step {
                    Step::Begin => {
                        generation += 1;
                        (assigned, highest) = (true, None);
                        tracker.begin(partition.clone(), Generation(generation));
                    }
                    Step::Done { generation: of, next } => {
                        let believed = tracker.done(&partition, Generation(of), next);
                        prop_assert_eq!(believed, assigned && of == generation);
                        if believed {
                            highest = highest.max(Some(next));
                        }
                    }
                    Step::Due => {
                        for (_, offset) in tracker.due() {
                            prop_assert_eq!(Some(offset), highest);
                        }
                        prop_assert!(tracker.due().is_empty(), "handed out twice although it did not fail");
                    }
                    Step::Failed => {
                        tracker.failed(&partition);
                        let due = tracker.due().into_iter().map(|(_, offset)| offset).next();
                        prop_assert_eq!(due, highest.filter(|_| assigned), "a failed commit is not due again");
                    }
                    Step::End => {
                        prop_assert_eq!(tracker.end(&partition), highest.filter(|_| assigned));
                        assigned = false;
                    }
                }
            }
        }
    }
}
