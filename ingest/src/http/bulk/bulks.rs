//! All bulks of the process together: how many there may be, and how many of their lines are under way.

use std::sync::Arc;

use service::{Health, Metrics, Supervisor};

use super::super::Room;
use super::super::room::Place;
use super::BulkSettings;

/// What bulks share.
#[derive(Debug)]
pub(crate) struct Bulks {
    pub(super) settings: BulkSettings,
    health: Arc<Health>,
    supervisor: Supervisor,
    bulks: Room,
    lines: Room,
}

impl Bulks {
    /// None yet.
    pub(crate) fn new(settings: BulkSettings, health: Arc<Health>, supervisor: Supervisor, metrics: &Metrics) -> Self {
        let (bulks, lines) = (Room::new(settings.bulks_most), Room::new(usize::MAX));
        let (shown, under_way) = (bulks.clone(), lines.clone());
        metrics.asked("bulks", "Bulk requests in progress; at most --bulks-most", move || shown.taken());
        metrics.asked(
            "bulk_lines",
            "Lines of bulk requests that are being written; at most --bulks-most times --bulk-lines-most",
            move || under_way.taken(),
        );
        Self { settings, health, supervisor, bulks, lines }
    }

    /// Most ids of a read of many records.
    pub(crate) fn ids_most(&self) -> usize {
        self.settings.ids_most
    }

    /// A place for one more, if there is any.
    pub(super) fn enter(&self) -> Option<Place> {
        let mut place = self.bulks.place();
        place.grow(1).then_some(place)
    }

    /// A place for a line. Each bulk looks after its own bound.
    pub(super) fn line(&self) -> Place {
        let mut place = self.lines.place();
        place.grow(1);
        place
    }

    /// Returns as soon as no more lines are to be written.
    pub(super) async fn until_stopping(&self) {
        self.health.until_not_serving().await;
    }

    /// Runs a bulk to its end, beside its connection: what a line has begun goes on when the client is gone or does not read.
    pub(super) fn spawn(&self, bulk: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.supervisor.stopping();
        self.supervisor.spawn_passing("bulk", async move {
            tokio::select! {
                () = bulk => {}
                // Its connection has ended before; what is in the cache, the relay carries on.
                () = stopping.cancelled() => {}
            }
        });
    }
}
