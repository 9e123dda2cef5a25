//! Finding the events that the table refuses, by halving what it refused. Pure.
//!
//! The parts are taken in the order of their offsets, so that a lane that has ended one may commit up to its end. An event
//! that is refused in company is tried again behind everything before it: where a unique key is freed by an earlier event of
//! the batch, that is the order in which it fits.

use std::ops::Range;

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

    /// The first part that is left; it is taken out.
    pub(crate) fn next(&mut self) -> Option<Range<usize>> {
        self.todo.pop()
    }

    /// These events come next, as one part.
    pub(crate) fn again(&mut self, part: Range<usize>) {
        if !part.is_empty() {
            self.todo.push(part);
        }
    }

    /// These events come next, in two parts that meet at `at`.
    pub(crate) fn cut(&mut self, part: Range<usize>, at: usize) {
        let at = at.clamp(part.start, part.end);
        self.again(at..part.end);
        self.again(part.start..at);
    }

    /// A part was refused: its halves come next.
    pub(crate) fn halve(&mut self, part: Range<usize>) {
        let middle = part.start + part.len() / 2;
        self.cut(part, middle);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// A table that refuses every part with a bad event in it. Returns what was applied, what was refused alone, and the
    /// number of statements.
    fn brought(events: usize, bad: &BTreeSet<usize>) -> (Vec<usize>, Vec<usize>, usize) {
        let (mut parts, mut applied, mut refused, mut statements) = (Parts::of(events), Vec::new(), Vec::new(), 0);
        while let Some(part) = parts.next() {
            statements += 1;
            match bad.range(part.clone()).next() {
                None => applied.extend(part),
                Some(_) if part.len() == 1 => refused.extend(part),
                Some(_) => parts.halve(part),
            }
        }
        (applied, refused, statements)
    }

    proptest! {
        #[test]
        fn r13_the_bad_ones_and_only_they_come_out_each_event_once_and_in_order(
            (events, bad) in (1usize..600).prop_flat_map(|n| (Just(n), proptest::collection::btree_set(0..n, 0..=n.min(20))))
        ) {
            let (applied, refused, statements) = brought(events, &bad);
            prop_assert_eq!(&refused, &bad.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(applied, (0..events).filter(|event| !bad.contains(event)).collect::<Vec<_>>());
            let depth = events.next_power_of_two().ilog2() as usize;
            prop_assert!(statements <= 1 + 2 * bad.len() * depth, "{} statements for {} of {}", statements, bad.len(), events);
        }

        #[test]
        fn what_is_cut_stays_whole_and_in_order(events in 0usize..50, at in 0usize..60) {
            let mut parts = Parts::of(events);
            if let Some(part) = parts.next() {
                parts.cut(part, at);
            }
            let left: Vec<_> = std::iter::from_fn(|| parts.next()).flatten().collect();
            prop_assert_eq!(left, (0..events).collect::<Vec<_>>());
        }
    }
}
