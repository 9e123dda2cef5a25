//! A member of the group that notes what it is told, and gives back what a test says.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use topic::{
    Assignment, CommitFailed, Consumer, Envelope, GroupProtocol, KafkaSettings, MemberSettings, Partition, TopicError,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Assigned(BTreeSet<i32>),
    Revoked(BTreeSet<i32>, bool),
    Committed(i32, Result<i64, CommitFailed>),
    Reset,
}

/// Notes every call, and gives at a revoke the offsets that a test has laid ready.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    calls: Mutex<Vec<Call>>,
    pub(crate) done: Mutex<HashMap<i32, i64>>,
    /// How long a revoke takes: a lane finishes its batch.
    pub(crate) draining: Mutex<Duration>,
}

/// Also after a failed assertion: the member is dropped then, and what it is told must not hide why.
pub(crate) fn locked<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

fn numbers(partitions: &[Partition]) -> BTreeSet<i32> {
    partitions.iter().map(|partition| partition.number).collect()
}

impl Notes {
    pub(crate) fn calls(&self) -> MutexGuard<'_, Vec<Call>> {
        locked(&self.calls)
    }

    fn note(&self, call: Call) {
        self.calls().push(call);
    }

    pub(crate) fn has(&self, wanted: &Call) -> bool {
        self.calls().contains(wanted)
    }

    /// What is assigned by all calls so far.
    pub(crate) fn assigned_now(&self) -> BTreeSet<i32> {
        let mut assigned = BTreeSet::new();
        for call in self.calls().iter() {
            match call {
                Call::Assigned(more) => assigned.extend(more),
                Call::Revoked(less, _) => assigned.retain(|number| !less.contains(number)),
                Call::Committed(..) | Call::Reset => {}
            }
        }
        assigned
    }
}

impl Assignment for Notes {
    fn assigned(&self, partitions: &[Partition]) {
        self.note(Call::Assigned(numbers(partitions)));
    }

    fn revoked(&self, partitions: &[Partition], lost: bool) -> Vec<(Partition, i64)> {
        self.note(Call::Revoked(numbers(partitions), lost));
        std::thread::sleep(*locked(&self.draining));
        let done = locked(&self.done);
        partitions.iter().filter_map(|it| Some((it.clone(), *done.get(&it.number)?))).collect()
    }

    fn committed(&self, partition: &Partition, result: Result<i64, CommitFailed>) {
        self.note(Call::Committed(partition.number, result));
    }

    fn offset_reset(&self, _: &str) {
        self.note(Call::Reset);
    }
}

/// A member and what it has received.
pub(crate) struct Member {
    pub(crate) consumer: Consumer<Notes>,
    pub(crate) received: Vec<(i32, i64)>,
}

pub(crate) fn member_with(settings: &KafkaSettings, topic: &str, timeouts: MemberSettings) -> Member {
    let consumer = Consumer::new(settings, &timeouts, &[topic.to_owned()], Notes::default());
    Member { consumer: consumer.expect("the settings are good"), received: Vec::new() }
}

/// The services' defaults.
pub(crate) fn defaults() -> MemberSettings {
    MemberSettings {
        session_timeout_ms: Duration::from_secs(15),
        poll_interval_most_ms: Duration::from_secs(120),
        unsteady_most_ms: Duration::from_secs(60),
        group_protocol: GroupProtocol::Classic,
        group_instance_id: None,
    }
}

pub(crate) fn member(settings: &KafkaSettings, topic: &str) -> Member {
    member_with(settings, topic, defaults())
}

impl Member {
    pub(crate) fn notes(&self) -> &Notes {
        self.consumer.assignment()
    }

    pub(crate) fn poll(&mut self) -> Option<Envelope> {
        let (partition, envelope) = self.consumer.poll(Duration::from_millis(20))?.ok()?;
        self.received.push((partition.number, envelope.offset));
        Some(envelope)
    }

    /// Polls until an error comes that `wanted` knows.
    pub(crate) fn fails(&mut self, what: &str, wanted: impl Fn(&TopicError) -> bool) -> TopicError {
        let since = Instant::now();
        loop {
            assert!(since.elapsed() < Duration::from_secs(30), "within 30 s: {what}");
            match self.consumer.poll(Duration::from_millis(20)) {
                Some(Err(error)) if wanted(&error) => return error,
                Some(Ok((partition, envelope))) => self.received.push((partition.number, envelope.offset)),
                _ => {}
            }
        }
    }

    /// Polls until `come`, and says what did not.
    pub(crate) fn until(&mut self, what: &str, mut come: impl FnMut(&Self) -> bool) {
        let since = Instant::now();
        while !come(self) {
            assert!(since.elapsed() < Duration::from_secs(30), "within 30 s: {what}");
            self.poll();
        }
    }

    pub(crate) fn receive(&mut self, count: usize) {
        self.until(&format!("{count} messages"), |member| member.received.len() >= count);
    }

    /// Polls for a while in which nothing is to come.
    pub(crate) fn receive_nothing(&mut self, time: Duration) {
        let (since, before) = (Instant::now(), self.received.len());
        while since.elapsed() < time {
            self.poll();
            assert_eq!(self.received.len(), before, "{:?}", self.received.last());
        }
    }

    /// As a persister ends: everything is revoked, and with it committed.
    pub(crate) fn leave(mut self) -> Vec<Call> {
        self.consumer.leave();
        self.until("everything is revoked", |member| member.notes().assigned_now().is_empty());
        self.notes().calls().clone()
    }

    pub(crate) fn by_partition(&self) -> BTreeMap<i32, Vec<i64>> {
        let mut by_partition = BTreeMap::<_, Vec<_>>::new();
        for (number, offset) in &self.received {
            by_partition.entry(*number).or_default().push(*offset);
        }
        by_partition
    }
}
