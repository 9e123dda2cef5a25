//! Until when everything that the topic had acknowledged is committed by the persister's group, partition by partition. Pure.
//!
//! PROTOCOL asks twice whether the group has passed the end of the topic *as read after* some moment (R11, R16). Nobody has to
//! remember ends for that: whenever an end that was read is passed, all that was acknowledged before the reading is committed.

use std::collections::HashMap;
use std::time::Instant;

use crate::Partition;
use crate::lag::Position;

/// A moment by both clocks: the machine's, which other machines understand, and one that is never set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// By the clock that is never set.
    pub at: Instant,
    /// By the machine's clock, in microseconds.
    pub micros: u64,
}

/// How far each partition has drained.
#[derive(Clone, Debug, Default)]
pub struct Drained {
    partitions: HashMap<Partition, Drain>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Drain {
    until: Option<Moment>,
    /// An end that was read, and when: not passed yet.
    ahead: Option<(Moment, i64)>,
}

impl Drained {
    /// Takes in a look at all partitions that was begun at `begun`.
    pub fn look(&mut self, begun: Moment, positions: &HashMap<Partition, Position>) {
        self.partitions.retain(|partition, _| positions.contains_key(partition));
        for (partition, position) in positions {
            self.partitions.entry(partition.clone()).or_default().look(begun, *position);
        }
    }

    /// Until when everything acknowledged in this partition is committed; `None` while that is not known.
    #[must_use]
    pub fn until(&self, partition: &Partition) -> Option<Moment> {
        self.partitions.get(partition)?.until
    }

    /// The same of all partitions together; `None` also before any look.
    #[must_use]
    pub fn everywhere(&self) -> Option<Moment> {
        earliest(self.partitions.values())
    }

    /// The same of all partitions of a topic.
    #[must_use]
    pub fn everywhere_in(&self, topic: &str) -> Option<Moment> {
        earliest(self.partitions.iter().filter(|(partition, _)| &*partition.topic == topic).map(|(_, drain)| drain))
    }
}

fn earliest<'d>(of: impl Iterator<Item = &'d Drain>) -> Option<Moment> {
    let all: Option<Vec<Moment>> = of.map(|drain| drain.until).collect();
    all?.into_iter().min_by_key(|moment| moment.at)
}

impl Drain {
    fn look(&mut self, begun: Moment, Position { committed, end, .. }: Position) {
        // A topic that was made anew has another end: what was read of the old one will not be reached.
        self.ahead = self.ahead.filter(|(_, ahead)| *ahead <= end);
        if let Some((read, ahead)) = self.ahead
            && committed >= ahead
        {
            self.until = Some(read);
            self.ahead = None;
        }
        // The offsets are asked before the ends: what is committed of them stays so.
        if committed >= end {
            (self.until, self.ahead) = (Some(begun), None);
        } else if self.ahead.is_none() {
            self.ahead = Some((begun, end));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn partition(number: i32) -> Partition {
        Partition { topic: "users".into(), number }
    }

    fn position(committed: i64, end: i64) -> Position {
        Position { committed, end, oldest_birth: None }
    }

    fn until(looks: &[(i64, i64)]) -> Option<u64> {
        let (mut drained, begun) = (Drained::default(), Instant::now());
        for (micros, (committed, end)) in (1..).zip(looks) {
            let at = Moment { at: begun + Duration::from_micros(micros), micros };
            drained.look(at, &HashMap::from([(partition(0), position(*committed, *end))]));
        }
        drained.until(&partition(0)).map(|moment| moment.micros)
    }

    #[test]
    fn a_partition_has_drained_until_the_last_reading_whose_end_was_passed() {
        assert_eq!(until(&[(3, 9)]), None);
        assert_eq!(until(&[(9, 9)]), Some(1));
        assert_eq!(until(&[(3, 9), (8, 20), (9, 30)]), Some(1));
        assert_eq!(
            until(&[(3, 9), (9, 20), (19, 40), (20, 50)]),
            Some(2),
            "a group that is always behind gets on, too"
        );
        assert_eq!(until(&[(9, 9), (9, 90), (50, 200)]), Some(1), "it stands still while the backlog lasts");
    }

    #[test]
    fn a_topic_that_was_made_anew_is_no_obstacle() {
        assert_eq!(until(&[(3, 900), (0, 0)]), Some(2));
        assert_eq!(until(&[(3, 900), (0, 5), (5, 7)]), Some(2));
        assert_eq!(until(&[(900, 900), (900, 0)]), Some(2), "the committed offset of the old one stands");
    }

    #[test]
    fn all_have_drained_when_the_last_has() {
        let (mut drained, begun) = (Drained::default(), Instant::now());
        assert_eq!(drained.everywhere(), None, "nothing is known yet");
        let moment = |micros| Moment { at: begun + Duration::from_micros(micros), micros };
        let looks =
            |behind: i64| HashMap::from([(partition(0), position(5, 5)), (partition(1), position(5, 5 + behind))]);
        drained.look(moment(1), &looks(1));
        assert_eq!(drained.everywhere(), None);
        drained.look(moment(2), &looks(0));
        drained.look(moment(3), &looks(1));
        assert_eq!(drained.everywhere(), Some(moment(2)));
        assert_eq!(drained.everywhere_in("users"), Some(moment(2)));
        assert_eq!(drained.everywhere_in("others"), None, "of a topic that nobody has looked at nothing is known");
    }

    proptest! {
        /// Whatever is acknowledged before the moment is committed.
        #[test]
        fn what_was_acknowledged_before_is_committed(steps in prop::collection::vec((0i64..4, 0i64..4), 1..60)) {
            let (mut drained, begun) = (Drained::default(), Instant::now());
            let (mut committed, mut ends) = (0, vec![0]);
            for (micros, (produced, applied)) in (1u64..).zip(steps) {
                let end = ends.last().unwrap() + produced;
                committed = (committed + applied).min(end);
                ends.push(end);
                let at = Moment { at: begun + Duration::from_micros(micros), micros };
                drained.look(at, &HashMap::from([(partition(0), position(committed, end))]));
                if let Some(moment) = drained.until(&partition(0)) {
                    prop_assert!(committed >= ends[usize::try_from(moment.micros).unwrap()]);
                }
            }
        }
    }
}
