//! How full the lanes are, looked up when it is scraped. A lane that has ended is forgotten.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::IntGaugeVec;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use service::metrics::prefixed;
use topic::Partition;

use crate::queue::Level;

/// `lane_events` and `lane_bytes`. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct LaneDepths {
    lanes: Arc<Mutex<Vec<(Partition, Level)>>>,
    events: IntGaugeVec,
    bytes: IntGaugeVec,
}

impl LaneDepths {
    /// No lanes yet.
    #[expect(clippy::expect_used, reason = "names and labels are constants")]
    pub(crate) fn new() -> Self {
        let gauge = |name, help| IntGaugeVec::new(prefixed(name, help), &["topic", "partition"]).expect("valid names");
        Self {
            lanes: Arc::default(),
            events: gauge("lane_events", "Events that wait in the lane of a partition; at most --lane-events-most"),
            bytes: gauge(
                "lane_bytes",
                "Bytes that wait in the lane of a partition; at most --lane-bytes-most and one event more",
            ),
        }
    }

    /// A partition has a lane.
    pub(crate) fn opened(&self, partition: &Partition, level: Level) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.retain(|(_, level)| level.now().is_some());
        lanes.push((partition.clone(), level));
    }
}

impl Collector for LaneDepths {
    fn desc(&self) -> Vec<&Desc> {
        [self.events.desc(), self.bytes.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.events.reset();
        self.bytes.reset();
        let shown = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).retain(|(partition, level)| {
            let Some((events, bytes)) = level.now() else { return false };
            let number = partition.number.to_string();
            let labels = [&*partition.topic, &number];
            self.events.with_label_values(&labels).set(shown(events));
            self.bytes.with_label_values(&labels).set(shown(bytes));
            true
        });
        [self.events.collect(), self.bytes.collect()].concat()
    }
}
