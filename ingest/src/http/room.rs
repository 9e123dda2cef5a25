//! Room that all requests share, and a place in it for each: what one takes it gives back when it is answered, also when
//! its client goes away before.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus::IntGauge;

/// So many bytes, or requests, and no more. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    taken: Arc<AtomicUsize>,
    most: usize,
}

/// What one request has taken of it.
#[derive(Debug)]
pub(crate) struct Place {
    room: Room,
    bytes: usize,
}

impl Room {
    /// Nothing is taken.
    pub(crate) fn new(most: usize) -> Self {
        Self { taken: Arc::default(), most }
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// A place of no size yet.
    pub(crate) fn place(&self) -> Place {
        Place { room: self.clone(), bytes: 0 }
    }
}

impl Place {
    /// Takes so many more. `false`: there is no room for them, and nothing was taken.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let most = self.room.most;
        let fits = |taken: usize| taken.checked_add(bytes).filter(|taken| *taken <= most);
        let grown = self.room.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        self.bytes += if grown { bytes } else { 0 };
        grown
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Counts connections, each as long as it lives.
#[derive(Clone, Debug)]
pub(crate) struct Connections(pub(crate) IntGauge);

/// One that is open.
pub(crate) struct Open(IntGauge);

impl Connections {
    /// One more.
    pub(crate) fn open(&self) -> Open {
        self.0.inc();
        Open(self.0.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn exactly_the_bound_fits_the_next_byte_does_not_and_what_is_given_back_fits_again() {
        let room = Room::new(10);
        let (mut one, mut other) = (room.place(), room.place());
        assert!(one.grow(4) && other.grow(6), "ten bytes fit into ten");
        assert!(!one.grow(1), "the eleventh");
        assert!(one.grow(0) && !one.grow(usize::MAX));
        drop(other);
        assert_eq!(room.taken(), 4);
        assert!(one.grow(6));
    }

    proptest! {
        #[test]
        fn all_that_was_taken_is_given_back(steps in prop::collection::vec((0_usize..4, 0_usize..9, any::<bool>()), 0..60)) {
            let room = Room::new(20);
            let mut places: Vec<_> = (0..4).map(|_| room.place()).collect();
            for (at, bytes, leave) in steps {
                if leave { places[at] = room.place(); } else { places[at].grow(bytes); }
                prop_assert!(room.taken() <= 20);
                prop_assert_eq!(room.taken(), places.iter().map(|place| place.bytes).sum::<usize>());
            }
            drop(places);
            prop_assert_eq!(room.taken(), 0);
        }
    }
}
