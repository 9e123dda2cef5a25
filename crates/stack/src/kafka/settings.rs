//! The broker's settings.

use std::path::Path;

/// A listener for the clients behind a proxy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Door {
    /// Where the broker listens.
    pub(super) listens: u16,
    /// What it tells whoever comes this way: the proxy's port.
    pub(super) advertised: u16,
}

/// One of the nodes of a cluster.
#[derive(Debug)]
pub(super) struct Node<'a> {
    /// From 1.
    pub(super) number: usize,
    pub(super) port: u16,
    /// The controllers' ports, of all nodes in their order.
    pub(super) controllers: &'a [u16],
    pub(super) doors: &'a [Door],
}

/// Broker and controller in one, everything replicated over up to three nodes, few partitions for the internal topics.
pub(super) fn of(node: &Node<'_>, data: &Path) -> String {
    let Node { number, port, controllers, doors } = node;
    let data = data.display();
    let voters: Vec<_> =
        controllers.iter().enumerate().map(|(at, port)| format!("{}@127.0.0.1:{port}", at + 1)).collect();
    let (voters, controller) = (voters.join(","), controllers.get(number - 1).copied().unwrap_or_default());
    let replicas = controllers.len().min(3);
    let in_sync = replicas.div_ceil(2);
    let each = |of: &dyn Fn(usize, &Door) -> String| -> String {
        doors.iter().enumerate().map(|(at, door)| format!(",{}", of(at, door))).collect()
    };
    let listens = each(&|at, door| format!("DOOR{at}://127.0.0.1:{}", door.listens));
    let advertised = each(&|at, door| format!("DOOR{at}://127.0.0.1:{}", door.advertised));
    let protocols = each(&|at, _| format!("DOOR{at}:PLAINTEXT"));
    format!(
        "process.roles=broker,controller
node.id={number}
# The static form: the dynamic one writes the port into the data, and ports may change between two starts.
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{listens}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{advertised}
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{protocols}
log.dirs={data}
# A killed broker may come back only after its old session is over; the default of 9 s makes every restart that slow.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
# Faults are short in tests: a dead member may be noticed sooner than after the default 6 s.
group.min.session.timeout.ms=1000
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={replicas}
# Under KIP-848 they are the broker's; its defaults are 45 s and 5 s, and nothing moves between two heartbeats.
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=100
group.consumer.heartbeat.interval.ms=300
offsets.topic.num.partitions=3
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=3
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
share.coordinator.state.topic.num.partitions=3
# The default takes 128 MB of the heap.
log.cleaner.dedupe.buffer.size=16777216
"
    )
}
