//! Consuming with assignment and commit in our own hands. A plain thread polls; rebalances are handled whole inside the
//! callback (stop, drain, commit, unassign), since later is too late; only offsets that were laid down by hand are
//! committed.
//!
//! In the background librdkafka's own timer commits them (`enable.auto.commit`, but never `enable.auto.offset.store`):
//! of a manual asynchronous commit rdkafka 0.39 never tells the outcome (rust-rdkafka issue 856), and a commit that fails
//! unseen leaves the group behind for as long as its partition is idle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, Statistics, TopicPartitionList};

use crate::client;
use crate::settings::GroupProtocol;
use crate::{Envelope, KafkaSettings, MemberSettings, TopicError};

/// How soon offsets that were laid down are committed. Where none were, this costs no call.
pub const COMMIT_WITHIN: Duration = Duration::from_millis(50);

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// Its number.
    pub number: i32,
}

/// A commit of an offset failed; librdkafka's name of the error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("commit: {reason}")]
pub struct CommitFailed {
    /// Such as `RequestTimedOut`; one of a closed set.
    pub reason: String,
}

impl From<RDKafkaErrorCode> for CommitFailed {
    fn from(code: RDKafkaErrorCode) -> Self {
        Self { reason: format!("{code:?}") }
    }
}

/// Whoever owns the lanes. All calls but [`Assignment::offset_reset`] come on the polling thread.
pub trait Assignment: Send + Sync + 'static {
    /// These partitions are ours now.
    fn assigned(&self, partitions: &[Partition]);

    /// These partitions are to be given back. Drains them and returns the offsets to be committed, for each partition the
    /// next one to be read. With `lost` they belong to another member already and nothing may be committed.
    fn revoked(&self, partitions: &[Partition], lost: bool) -> Vec<(Partition, i64)>;

    /// A commit ended: `Ok` holds the committed offset. One that failed is tried again by itself, as long as the
    /// partition is ours.
    fn committed(&self, partition: &Partition, result: Result<i64, CommitFailed>);

    /// The offset that the group had committed is not in the topic any more, and reading goes on at the earliest that is:
    /// the topic was made anew, or somebody deleted records that no member had read. `what` is librdkafka's account of it.
    fn offset_reset(&self, what: &str);
}

/// The member's context: whoever owns the lanes, and what of librdkafka's words concerns them.
pub(crate) struct Member<A> {
    assignment: A,
    protocol: GroupProtocol,
    /// As librdkafka last said.
    steady: AtomicBool,
}

/// Whether no change of the member's place is under way. By KIP-848 one that was never given anything counts as one that has not
/// begun, and its heartbeats go on.
fn steady(protocol: GroupProtocol, state: &str, join_state: &str) -> bool {
    let rests = join_state == "steady" || protocol == GroupProtocol::Consumer && join_state == "init";
    state == "up" && rests
}

impl<A: Assignment> ClientContext for Member<A> {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // The only sign of it: with a policy of `error` it would come as an error without its partition.
        if facility == "OFFSET" && matches!(level, RDKafkaLogLevel::Warning) {
            self.assignment.offset_reset(message);
        } else {
            client::note(facility, message);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::met(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let group = statistics.cgrp;
        let steady = group.is_some_and(|group| steady(self.protocol, &group.state, &group.join_state));
        self.steady.store(steady, Ordering::Relaxed);
    }
}

impl<A: Assignment> ConsumerContext for Member<A> {
    /// `cooperative-sticky` is what we set, and the new protocol knows nothing else: all changes are incremental.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions = partitions(list);
        let done = if err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.assignment.assigned(&partitions);
            consumer.incremental_assign(list)
        } else {
            let lost = consumer.assignment_lost();
            let offsets = self.assignment.revoked(&partitions, lost);
            if lost {
                forget(consumer, &partitions);
            } else {
                // Also laid down: what was before would else be committed over it when the partition is unassigned. Where
                // this fails the commit fails, too, and is told.
                consumer.store_offsets(&list_of(&offsets)).ok();
                for (partition, offset) in offsets {
                    self.assignment.committed(&partition, commit_now(consumer, &partition, offset).map_err(Into::into));
                }
            }
            // Or a partition that was paused stays so when it comes back to this member, and is never fetched again.
            if let Err(error) = consumer.resume(list) {
                tracing::warn!(%error, "partitions that are given back could not be resumed");
            }
            consumer.incremental_unassign(list)
        };
        if let Err(error) = done {
            tracing::error!(%error, "the group's new assignment was not taken");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, list: &TopicPartitionList) {
        for element in list.elements() {
            // A partition of which nothing was due is in the list, too.
            let Offset::Offset(offset) = element.offset() else { continue };
            let partition = Partition { topic: element.topic().into(), number: element.partition() };
            let failed = element.error().and(result.clone()).err();
            let outcome = failed.map_or(Ok(offset), |error| Err(code(&error).into()));
            self.assignment.committed(&partition, outcome);
        }
    }
}

/// What was laid down for partitions that are lost. librdkafka would commit it as it unassigns them, without the id that it
/// had as a member: it joins no more until that is answered, and where the member has a name the answer is that another one
/// has taken it, after which it never joins again.
fn forget<C: ConsumerContext>(consumer: &BaseConsumer<C>, partitions: &[Partition]) {
    let mut nothing = TopicPartitionList::with_capacity(partitions.len());
    let added = partitions
        .iter()
        .try_for_each(|partition| nothing.add_partition_offset(&partition.topic, partition.number, Offset::Invalid));
    if let Err(error) = added.and_then(|()| consumer.store_offsets(&nothing)) {
        tracing::warn!(%error, "offsets of partitions that are lost could not be taken back");
    }
}

fn code(error: &KafkaError) -> RDKafkaErrorCode {
    error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)
}

fn partitions(list: &TopicPartitionList) -> Vec<Partition> {
    let partition = |e: rdkafka::topic_partition_list::TopicPartitionListElem<'_>| Partition {
        topic: e.topic().into(),
        number: e.partition(),
    };
    list.elements().into_iter().map(partition).collect()
}

/// One partition per call: a synchronous commit of several reports success unless all of them failed.
fn commit_now<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partition: &Partition,
    offset: i64,
) -> Result<i64, RDKafkaErrorCode> {
    use RDKafkaErrorCode as Code;
    let mut tries = 0;
    loop {
        tries += 1;
        match consumer.commit(&list_of(&[(partition.clone(), offset)]), CommitMode::Sync) {
            Ok(()) => return Ok(offset),
            Err(error) => match code(&error) {
                Code::RequestTimedOut | Code::NotCoordinator | Code::CoordinatorLoadInProgress if tries < 3 => {}
                code => return Err(code),
            },
        }
    }
}

fn list_of(offsets: &[(Partition, i64)]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for (partition, offset) in offsets {
        if let Err(error) = list.add_partition_offset(&partition.topic, partition.number, Offset::Offset(*offset)) {
            tracing::error!(%error, offset, "not an offset");
        }
    }
    list
}

/// A member of the group. Lives on one plain thread.
pub struct Consumer<A: Assignment> {
    base: BaseConsumer<Member<A>>,
    /// It has a name in the group, under which it comes back.
    named: bool,
}

impl<A: Assignment> std::fmt::Debug for Consumer<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer").finish_non_exhaustive()
    }
}

impl<A: Assignment> Consumer<A> {
    /// Joins the group for `topics`; it connects by itself.
    ///
    /// # Errors
    /// A setting that librdkafka does not take.
    pub fn new(
        settings: &KafkaSettings,
        member: &MemberSettings,
        topics: &[String],
        assignment: A,
    ) -> Result<Self, TopicError> {
        let context = Member { assignment, protocol: member.group_protocol, steady: AtomicBool::new(false) };
        let base = BaseConsumer::from_config_and_context(&config(settings, member), context)?;
        let this = Self { base, named: member.group_instance_id.is_some() };
        this.subscribe(topics)?;
        Ok(this)
    }

    /// Is a member for these topics instead. Partitions of those that stay are kept.
    ///
    /// # Errors
    /// librdkafka does not take the subscription.
    pub fn subscribe(&self, topics: &[String]) -> Result<(), TopicError> {
        Ok(self.base.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>())?)
    }

    /// Whoever owns the lanes.
    #[must_use]
    pub fn assignment(&self) -> &A {
        &self.base.client().context().assignment
    }

    /// Whether it has its place in the group, with partitions or without, and no change of it is under way. Known to the
    /// second.
    #[must_use]
    pub fn is_steady(&self) -> bool {
        self.base.client().context().steady.load(Ordering::Relaxed)
    }

    /// The next message, if one comes within `timeout`. Rebalances and commit results are served meanwhile.
    ///
    /// # Errors
    /// What the client met; polling goes on, except after [`TopicError::Fatal`] and [`TopicError::NameTaken`]: this member is
    /// none any more, and never will be one again.
    pub fn poll(&self, timeout: Duration) -> Option<Result<(Partition, Envelope), TopicError>> {
        let polled = self.base.poll(timeout)?;
        let refused = |error: KafkaError| match self.base.client().fatal_error() {
            Some((RDKafkaErrorCode::FencedInstanceId | RDKafkaErrorCode::UnreleasedInstanceId, reason)) => {
                TopicError::NameTaken(reason)
            }
            Some((_, reason)) => TopicError::Fatal(reason),
            None => error.into(),
        };
        Some(polled.map_err(refused).map(|message| {
            let partition = Partition { topic: message.topic().into(), number: message.partition() };
            (partition, Envelope::new(&message))
        }))
    }

    /// Stops fetching this partition; polling must go on.
    ///
    /// # Errors
    /// It is not ours.
    pub fn pause(&self, partition: &Partition) -> Result<(), TopicError> {
        self.base.pause(&self.ours(partition)?).map_err(Into::into)
    }

    /// Fetches this partition again, from the message after the last one that was polled.
    ///
    /// # Errors
    /// It is not ours.
    pub fn resume(&self, partition: &Partition) -> Result<(), TopicError> {
        self.base.resume(&self.ours(partition)?).map_err(Into::into)
    }

    /// librdkafka calls it a success to pause what is not assigned.
    fn ours(&self, partition: &Partition) -> Result<TopicPartitionList, TopicError> {
        let assigned = self.base.assignment()?;
        match assigned.find_partition(&partition.topic, partition.number) {
            Some(_) => Ok(list_of(&[(partition.clone(), 0)])),
            None => Err(TopicError::Refused(KafkaError::PauseResume("the partition is not assigned".to_owned()))),
        }
    }

    /// Lays these offsets down, to be committed in the background within [`COMMIT_WITHIN`];
    /// [`Assignment::committed`] learns of each partition's outcome.
    ///
    /// # Errors
    /// None of them could be taken. Where only some could not (their partition is not ours any more),
    /// [`Assignment::committed`] has learned of it.
    pub fn commit(&self, offsets: &[(Partition, i64)]) -> Result<(), TopicError> {
        let list = list_of(offsets);
        let stored = self.base.store_offsets(&list);
        let refused = list.elements().into_iter().filter_map(|element| {
            let partition = Partition { topic: element.topic().into(), number: element.partition() };
            Some((partition, code(&element.error().err()?)))
        });
        for (partition, code) in refused {
            self.assignment().committed(&partition, Err(code.into()));
        }
        stored.map_err(Into::into)
    }

    /// Commits, before it returns, an offset below one that was committed: the topic was made anew, and in the background
    /// librdkafka commits only what is above. [`Assignment::committed`] learns of the outcome.
    pub fn commit_back(&self, partition: &Partition, offset: i64) {
        // Where this fails the commit fails, too, and is told.
        self.base.store_offsets(&list_of(&[(partition.clone(), offset)])).ok();
        let outcome = commit_now(&self.base, partition, offset).map_err(Into::into);
        self.assignment().committed(partition, outcome);
    }

    /// Leaves the group: what is assigned is revoked, which drains and commits it, on the next polls. A drop does the same, but
    /// leaves not where the member has a name: its partitions wait for it.
    pub fn leave(&self) {
        self.base.unsubscribe();
    }
}

impl<A: Assignment> Drop for Consumer<A> {
    /// Gives back what is assigned before the client closes. An assignment that librdkafka 2.12 meets unserved while it
    /// closes ends the group's state, and the revoke that follows waits for an answer for ever; and where commits are
    /// still on their way it closes without leaving the group, whose others then wait for the session to end. A name is
    /// left by unsubscribing, and kept by closing: then what is assigned is revoked while it closes.
    fn drop(&mut self) {
        if !self.named {
            self.leave();
        }
        let until = Instant::now() + LEAVE_WITHIN;
        while Instant::now() < until {
            let given_back = self.named || self.base.assignment().is_ok_and(|assigned| assigned.count() == 0);
            let since = Instant::now();
            let quiet = self.base.poll(QUIET).is_none() && since.elapsed() >= QUIET;
            if given_back && quiet {
                break;
            }
        }
    }
}

/// A poll that serves a rebalance or a commit's outcome comes back sooner than it was told to wait.
const QUIET: Duration = Duration::from_millis(200);
const LEAVE_WITHIN: Duration = Duration::from_secs(10);

/// `auto.offset.reset=earliest`: a group that is new to a topic must not skip what is there.
pub(crate) fn config(settings: &KafkaSettings, member: &MemberSettings) -> ClientConfig {
    let mut own = vec![
        ("group.id", settings.consumer_group.clone()),
        ("max.poll.interval.ms", member.poll_interval_most_ms.as_millis().to_string()),
        ("enable.auto.commit", "true".to_owned()),
        ("auto.commit.interval.ms", COMMIT_WITHIN.as_millis().to_string()),
        ("enable.auto.offset.store", "false".to_owned()),
        ("auto.offset.reset", "earliest".to_owned()),
        ("queued.max.messages.kbytes", "16384".to_owned()),
        ("fetch.message.max.bytes", settings.event_bytes_most.max(1 << 20).to_string()),
        ("fetch.wait.max.ms", "500".to_owned()),
        ("statistics.interval.ms", "1000".to_owned()),
    ];
    match member.group_protocol {
        GroupProtocol::Classic => own.extend([
            ("partition.assignment.strategy", "cooperative-sticky".to_owned()),
            ("session.timeout.ms", member.session_timeout_ms.as_millis().to_string()),
            ("heartbeat.interval.ms", (member.session_timeout_ms.as_millis() / 5).to_string()),
        ]),
        GroupProtocol::Consumer => own.push(("group.protocol", "consumer".to_owned())),
    }
    let Some(id) = &member.group_instance_id else { return client::config(settings, "persister", own) };
    own.push(("group.instance.id", id.clone()));
    client::config(settings, &format!("persister-{id}"), own)
}
