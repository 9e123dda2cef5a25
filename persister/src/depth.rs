//! How full the lanes are, looked up when it is scraped. A lane that has ended is forgotten.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use prometheus::IntGaugeVec;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use service::metrics::prefixed;
use tokio::sync::mpsc;
use topic::{Envelope, Partition};

/// `lane_events` and `lane_bytes`. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct LaneDepths {
    lanes: Arc<Mutex<Vec<Depth>>>,
    events: IntGaugeVec,
    bytes: IntGaugeVec,
}

#[derive(Debug)]
struct Depth {
    partition: Partition,
    /// Keeps no queue open: a lane ends when its queue does.
    queue: mpsc::WeakSender<Envelope>,
    bytes: Weak<AtomicUsize>,
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
    pub(crate) fn opened(&self, partition: &Partition, queue: &mpsc::Sender<Envelope>, bytes: &Arc<AtomicUsize>) {
        let depth = Depth { partition: partition.clone(), queue: queue.downgrade(), bytes: Arc::downgrade(bytes) };
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.retain(|lane| lane.bytes.strong_count() > 0);
        lanes.push(depth);
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
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).retain(|Depth { partition, queue, bytes }| {
            let (Some(queue), Some(bytes)) = (queue.upgrade(), bytes.upgrade()) else { return false };
            let number = partition.number.to_string();
            let labels = [&*partition.topic, &number];
            self.events.with_label_values(&labels).set(shown(queue.max_capacity() - queue.capacity()));
            self.bytes.with_label_values(&labels).set(shown(bytes.load(Ordering::Relaxed)));
            true
        });
        [self.events.collect(), self.bytes.collect()].concat()
    }
}
