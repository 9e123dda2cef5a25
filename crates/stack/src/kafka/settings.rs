//! The broker's settings.

use std::path::Path;

/// One node, broker and controller in one, all replication factors 1, few partitions for the internal topics.
pub(super) fn of_one_node(data: &Path, port: u16, controller: u16) -> String {
    let data = data.display();
    format!(
        "process.roles=broker,controller
node.id=1
# The static form: the dynamic one writes the port into the data, and ports may change between two starts.
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
# A killed broker may come back only after its old session is over; the default of 9 s makes every restart that slow.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
# Faults are short in tests: a dead member may be noticed sooner than after the default 6 s.
group.min.session.timeout.ms=1000
offsets.topic.replication.factor=1
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=3
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=3
# The default takes 128 MB of the heap.
log.cleaner.dedupe.buffer.size=16777216
"
    )
}
