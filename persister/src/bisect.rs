//! Finding the events that the table refuses, by halving what it refused. Pure.
//!
//! The parts are taken in the order of their offsets, so that a lane that has ended one may commit up to its end. An event
//! that is refused in company is tried again behind everything before it: where a unique key is freed by an earlier event of
//! the batch, that is the order in which it fits.

use std::ops::Range;

/// What became of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Brought<O> {
    /// All of it is done.
    Whole,
    /// The table refuses it as it is. A part of one event must not be answered so.
    Refused,
    /// Nothing yet: the event at this place of the part may not be passed, and why.
    Before(usize, O),
}

/// The parts of a batch that are still to be brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    /// The last is the next.
    todo: Vec<Range<usize>>,
}

impl Parts {
    /// The whole batch is one part.
    pub(crate) fn of(events: usize) -> Self {
        let mut parts = Self { todo: Vec::new() };
        parts.again(0..events);
        parts
    }

    /// The first part that is left; it is taken out, and what became of it is to be said by [`Parts::after`].
    pub(crate) fn next(&mut self) -> Option<Range<usize>> {
        self.todo.pop()
    }

    /// What follows from what became of a part. `Some`: its first event, and with it everything left, stands before this.
    pub(crate) fn after<O>(&mut self, part: Range<usize>, brought: Brought<O>) -> Option<O> {
        match brought {
            Brought::Whole => None,
            Brought::Refused => {
                self.halve(part);
                None
            }
            Brought::Before(0, obstacle) => Some(obstacle),
            // What is before it comes first.
            Brought::Before(at, _) => {
                let at = part.start + at;
                self.cut(part, at);
                None
            }
        }
    }

    /// Both halves of a part come next.
    pub(crate) fn halve(&mut self, part: Range<usize>) {
        let middle = part.start + part.len() / 2;
        self.cut(part, middle);
    }

    /// These events come next, in two parts that meet at `at`.
    fn cut(&mut self, part: Range<usize>, at: usize) {
        let at = at.clamp(part.start, part.end);
        self.again(at..part.end);
        self.again(part.start..at);
    }

    fn again(&mut self, part: Range<usize>) {
        if !part.is_empty() {
            self.todo.push(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    /// An event of a batch: whose it is, which value of a unique key it brings, and whether nothing ever takes it.
    #[derive(Clone, Copy, Debug)]
    struct Event {
        id: u8,
        value: u8,
        poison: bool,
    }

    fn event() -> impl Strategy<Value = Event> {
        (0u8..12, 0u8..12, proptest::bool::weighted(0.1)).prop_map(|(id, value, poison)| Event { id, value, poison })
    }

    /// A table with a unique key, which takes a part whole or not at all.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    struct Table(BTreeMap<u8, u8>);

    impl Table {
        /// Of an id the last event counts, rows go in by id: the order in which a batch is not what happened.
        fn takes(&mut self, part: &[Event]) -> bool {
            let newest: BTreeMap<u8, Event> = part.iter().map(|event| (event.id, *event)).collect();
            let mut after = self.0.clone();
            for (id, event) in newest {
                let taken = after.iter().any(|(other, value)| *other != id && *value == event.value);
                if taken || part.iter().any(|event| event.poison) {
                    return false;
                }
                after.insert(id, event.value);
            }
            self.0 = after;
            true
        }
    }

    /// A lane's journey through `events` without servers. `stops` are events that may not be passed at first. Returns the table,
    /// which events were refused alone, and how often the table was asked.
    fn brought(events: &[Event], stops: &BTreeSet<usize>) -> (Table, Vec<usize>, usize) {
        let (mut table, mut refused, mut statements) = (Table::default(), Vec::new(), 0);
        let (mut lifted, mut begin) = (BTreeSet::new(), 0);
        let mut parts = Parts::of(events.len());
        while let Some(part) = parts.next() {
            let own = begin + part.start..begin + part.end;
            let before = stops.range(own.clone()).find(|stop| !lifted.contains(*stop));
            let brought = if let Some(stop) = before {
                Brought::Before(stop - own.start, *stop)
            } else {
                statements += 1;
                match table.takes(&events[own.clone()]) {
                    true => Brought::Whole,
                    false if own.len() == 1 => {
                        refused.push(own.start);
                        Brought::Whole
                    }
                    false => Brought::Refused,
                }
            };
            if let Some(stop) = parts.after(part.clone(), brought) {
                assert_eq!(stop, own.start, "something before it is undone, or something behind it was begun");
                lifted.insert(stop);
                begin = own.start;
                parts = Parts::of(events.len() - begin);
            }
        }
        assert_eq!(&lifted, stops, "a stop was passed");
        (table, refused, statements)
    }

    /// The same events one by one.
    fn one_by_one(events: &[Event]) -> (Table, Vec<usize>) {
        let mut table = Table::default();
        let refused = (0..events.len()).filter(|at| !table.takes(&events[*at..=*at])).collect();
        (table, refused)
    }

    proptest! {
        /// Who brings a value to itself in one batch may be refused nothing: then halves are brought as if alone.
        #[test]
        fn r13_what_is_refused_alone_is_refused_by_an_order_that_happened_and_each_event_is_brought_once(
            events in proptest::collection::vec(event(), 0..60),
            stops in proptest::collection::btree_set(0usize..60, 0..4),
        ) {
            let stops: BTreeSet<_> = stops.into_iter().filter(|stop| *stop < events.len()).collect();
            let (table, refused, _) = brought(&events, &stops);
            let poison: Vec<_> = (0..events.len()).filter(|at| events[*at].poison).collect();
            prop_assert!(poison.iter().all(|at| refused.contains(at)), "poison was applied: {:?} {:?}", poison, refused);
            prop_assert!(refused.is_sorted(), "a later event was refused before an earlier one: {:?}", refused);
            // Each refusal that is not the event's own is by a row that was there when it came.
            let (_, alone) = one_by_one(&events);
            if alone == poison {
                let taken: BTreeMap<u8, u8> =
                    events.iter().filter(|event| !event.poison).map(|event| (event.id, event.value)).collect();
                prop_assert_eq!((table.0, refused), (taken, poison), "in the order in which they happened all fit");
            }
        }

        #[test]
        fn r13_few_bad_events_cost_few_statements(
            (n, bad) in (1usize..600).prop_flat_map(|n| (Just(n), proptest::collection::btree_set(0..n, 0..=n.min(20))))
        ) {
            // Nobody is in anybody's way.
            let events: Vec<_> = (0..n).map(|at| Event { id: 0, value: 0, poison: bad.contains(&at) }).collect();
            let (_, refused, statements) = brought(&events, &BTreeSet::new());
            prop_assert_eq!(&refused, &bad.iter().copied().collect::<Vec<_>>());
            let depth = n.next_power_of_two().ilog2() as usize;
            prop_assert!(statements <= 1 + 2 * bad.len() * depth, "{} statements for {} of {}", statements, bad.len(), n);
        }
    }
}
