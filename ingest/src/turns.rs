//! Whose turn it is to patch a record, within this process (PROTOCOL R9). Efficiency, never safety: of many at once each would
//! read, merge, and find that one of the others was faster; in turn each is through at its first try.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use record::RecordId;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Records share a place now and then, and wait for each other as long as a look and a script take.
const PLACES: usize = 1024;

/// Ends when it is dropped.
pub(crate) type Turn = OwnedMutexGuard<()>;

/// The places where patches queue, each first come, first served.
#[derive(Debug)]
pub(crate) struct Turns(Vec<Arc<Mutex<()>>>);

impl Turns {
    pub(crate) fn new() -> Self {
        Self(std::iter::repeat_with(Arc::default).take(PLACES).collect())
    }

    /// # Cancellation
    /// Whoever gives up has left the queue.
    pub(crate) async fn take(&self, entity: &str, id: &RecordId) -> Option<Turn> {
        let mut hasher = DefaultHasher::new();
        (entity, id.as_str()).hash(&mut hasher);
        let place = usize::try_from(hasher.finish() % PLACES as u64).ok().and_then(|place| self.0.get(place))?;
        Some(Arc::clone(place).lock_owned().await)
    }
}
