//! What was begun in order and ends in any order, handed out in order again. Pure.

use std::collections::VecDeque;

/// A queue of things under way; the first is the oldest that has not been handed out.
#[derive(Debug)]
pub struct InOrder<T> {
    first: u64,
    slots: VecDeque<Option<T>>,
}

impl<T> Default for InOrder<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> InOrder<T> {
    /// Nothing is under way.
    #[must_use]
    pub fn new() -> Self {
        Self { first: 0, slots: VecDeque::new() }
    }

    /// One more begins; its number is for [`InOrder::end`].
    pub fn begin(&mut self) -> u64 {
        self.slots.push_back(None);
        self.first + self.slots.len() as u64 - 1
    }

    /// One has ended.
    pub fn end(&mut self, number: u64, with: T) {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(slot) = index.and_then(|index| self.slots.get_mut(index)) {
            *slot = Some(with);
        }
    }

    /// The oldest, if it has ended.
    pub fn pop(&mut self) -> Option<T> {
        let ended = self.slots.front_mut()?.take()?;
        self.slots.pop_front();
        self.first += 1;
        Some(ended)
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// How many are kept, under way or waiting for an older one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(queue: &mut InOrder<u64>) -> Vec<u64> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn nothing_is_handed_out_before_what_began_earlier() {
        let mut queue = InOrder::new();
        let numbers: Vec<_> = (0..4).map(|_| queue.begin()).collect();
        queue.end(numbers[2], 2);
        queue.end(numbers[1], 1);
        assert!(ended(&mut queue).is_empty());
        queue.end(numbers[0], 0);
        assert_eq!(ended(&mut queue), [0, 1, 2]);
        assert_eq!(queue.len(), 1, "the last is under way");
        let later = queue.begin();
        queue.end(later, 4);
        queue.end(numbers[3], 3);
        assert_eq!(ended(&mut queue), [3, 4]);
    }
}
