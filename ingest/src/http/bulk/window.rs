//! The lines of a bulk that are under way: so many at once, of one record one at a time and in their order, and their results
//! in the order of the lines. Pure: knows neither what a line is nor what becomes of it.

use std::collections::{HashMap, VecDeque};

use actix_web::web::{Bytes, BytesMut};
use record::RecordId;

use crate::in_order::InOrder;

/// `J` is what has to be done for a line.
#[derive(Debug)]
pub(super) struct Window<J> {
    lines_most: usize,
    results_most: usize,
    order: InOrder<String>,
    /// Bytes of the results in there.
    waiting: usize,
    /// Results before which nothing is under way any more.
    ready: BytesMut,
    /// Records that are being written, each with the lines that wait for it.
    records: HashMap<RecordId, VecDeque<(u64, J)>>,
}

impl<J> Window<J> {
    /// At most `lines_most` lines; none are taken while there are results of `results_most` bytes that nobody has fetched.
    pub(super) fn new(lines_most: usize, results_most: usize) -> Self {
        let (order, ready) = (InOrder::new(), BytesMut::new());
        Self { lines_most, results_most, order, waiting: 0, ready, records: HashMap::new() }
    }

    /// Whether one more line may be taken.
    pub(super) fn has_room(&self) -> bool {
        self.order.len() < self.lines_most && self.waiting + self.ready.len() < self.results_most
    }

    /// Whether there is nothing to be waited for.
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty() && self.ready.is_empty()
    }

    /// Takes the next line; returns its number, from 1.
    pub(super) fn take(&mut self) -> u64 {
        self.order.begin() + 1
    }

    /// What is to be done for a line: returned if it is to begin now, else kept until the lines before it that write the same
    /// record have ended.
    pub(super) fn begin(&mut self, number: u64, id: &RecordId, job: J) -> Option<J> {
        match self.records.get_mut(id) {
            Some(behind) => {
                behind.push_back((number, job));
                None
            }
            None => {
                self.records.insert(id.clone(), VecDeque::new());
                Some(job)
            }
        }
    }

    /// A line that had begun is at its end. Returns what is to begin now.
    pub(super) fn end(&mut self, number: u64, id: &RecordId, result: String) -> Option<(u64, J)> {
        let next = self.records.get_mut(id).and_then(VecDeque::pop_front);
        if next.is_none() {
            self.records.remove(id);
        }
        self.answer(number, result);
        next
    }

    /// The result of a line for which nothing had begun.
    pub(super) fn answer(&mut self, number: u64, result: String) {
        self.waiting += result.len();
        self.order.end(number.saturating_sub(1), result);
        while let Some(result) = self.order.pop() {
            self.waiting -= result.len();
            self.ready.extend_from_slice(result.as_bytes());
        }
    }

    /// Whether there are results to be fetched.
    pub(super) fn has_results(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Fetches results, in the order of the lines.
    pub(super) fn results(&mut self, bytes_most: usize) -> Bytes {
        let bytes = self.ready.len().min(bytes_most);
        self.ready.split_to(bytes).freeze()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn id(of: u8) -> RecordId {
        RecordId::parse(&of.to_string()).unwrap()
    }

    fn text(window: &mut Window<u64>) -> String {
        String::from_utf8(window.results(usize::MAX).to_vec()).unwrap()
    }

    #[test]
    fn a_line_waits_for_its_record_and_for_nothing_else() {
        let mut window = Window::new(9, 99);
        let numbers: Vec<_> = (0..4).map(|_| window.take()).collect();
        assert_eq!(numbers, [1, 2, 3, 4]);
        assert_eq!(window.begin(1, &id(7), 1), Some(1));
        assert_eq!(window.begin(2, &id(7), 2), None, "two writes of one record at once");
        assert_eq!(window.begin(3, &id(8), 3), Some(3), "another record waits");
        assert_eq!(window.begin(4, &id(7), 4), None);
        assert_eq!(window.end(3, &id(8), "c".to_owned()), None);
        assert!(!window.has_results(), "a result stands before that of an earlier line");
        assert_eq!(window.end(1, &id(7), "a".to_owned()), Some((2, 2)));
        assert_eq!(text(&mut window), "a");
        assert_eq!(window.end(2, &id(7), "b".to_owned()), Some((4, 4)));
        assert_eq!(window.end(4, &id(7), "d".to_owned()), None);
        assert_eq!(text(&mut window), "bcd");
        assert!(window.is_empty() && window.records.is_empty(), "something is left behind");
    }

    #[test]
    fn results_that_nobody_fetches_close_the_window_and_fetching_them_opens_it() {
        let mut window = Window::<u64>::new(9, 4);
        let (first, second) = (window.take(), window.take());
        window.answer(second, "ab".to_owned());
        assert!(window.has_room(), "two bytes wait, of four");
        window.answer(first, "cd".to_owned());
        assert!(!window.has_room() && window.results(1) == "c");
        assert!(window.has_room() && !window.is_empty());
        assert_eq!(text(&mut window), "dab");
    }

    proptest! {
        /// A run of a bulk in which lines end in any order.
        #[test]
        fn every_line_has_its_result_in_order_and_no_record_is_written_twice_at_once(
            lines in prop::collection::vec(prop::option::weighted(0.8, 0_u8..4), 0..60),
            ends in prop::collection::vec(any::<prop::sample::Index>(), 120),
            most in 1_usize..9,
        ) {
            let mut window = Window::new(most, usize::MAX);
            let (mut results, mut begun) = (String::new(), BTreeMap::<u64, u8>::new());
            let mut written = BTreeMap::<u8, Vec<u64>>::new();
            let (mut lines, total) = (lines.iter(), lines.len());
            let mut ends = ends.iter();
            loop {
                while window.has_room() {
                    let Some(line) = lines.next() else { break };
                    let number = window.take();
                    match line {
                        None => window.answer(number, format!("{number} ")),
                        Some(of) => {
                            if let Some(job) = window.begin(number, &id(*of), number) {
                                prop_assert!(!begun.values().any(|at_work| at_work == of), "twice at once");
                                begun.insert(job, *of);
                            }
                        }
                    }
                    prop_assert!(begun.len() <= most);
                }
                results += &text(&mut window);
                if begun.is_empty() {
                    break;
                }
                let at = ends.next().unwrap().index(begun.len());
                let (number, of) = begun.iter().nth(at).map(|(number, of)| (*number, *of)).unwrap();
                begun.remove(&number);
                written.entry(of).or_default().push(number);
                if let Some((next, job)) = window.end(number, &id(of), format!("{number} ")) {
                    prop_assert_eq!(next, job);
                    begun.insert(next, of);
                }
            }
            let expected: String = (1..=total).map(|number| format!("{number} ")).collect();
            prop_assert_eq!(results, expected);
            prop_assert!(window.is_empty() && window.records.is_empty());
            for numbers in written.values() {
                prop_assert!(numbers.is_sorted(), "a record's lines out of order: {:?}", numbers);
            }
        }
    }
}
