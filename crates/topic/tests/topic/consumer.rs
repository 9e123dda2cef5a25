//! A member of the group: where it begins, what it commits and when, and what happens to its partitions when others come
//! and go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use topic::consumer::COMMIT_WITHIN;
use topic::{KafkaSettings, MemberSettings, Publisher};

use crate::member::{Call, Member, defaults, locked, member, member_with};
use crate::support::{birth, commit, committed, filled, partition, plain_consumer, publish_all, topic, until, upsert};

#[test]
fn a_new_group_begins_at_the_first_event_there_is() {
    let (settings, published) = filled("earliest", 3, 60);
    let mut member = member(&settings, "earliest");
    member.receive(60);
    let calls = member.notes().calls().clone();
    assert_eq!(calls[0], Call::Assigned(BTreeSet::from([0, 1, 2])));
    for (number, offsets) in member.by_partition() {
        let there = published.iter().filter(|published| published.partition == number).count();
        assert_eq!(offsets, (0..i64::try_from(there).unwrap()).collect::<Vec<_>>(), "partition {number}, in order");
    }
}

#[test]
fn a_message_comes_with_its_bytes_and_headers() {
    let (settings, _) = filled("enveloped", 1, 1);
    let mut member = member(&settings, "enveloped");
    let mut envelope = None;
    until("the message", || {
        envelope = member.poll();
        envelope.is_some()
    });
    let envelope = envelope.unwrap();
    assert_eq!((envelope.offset, envelope.key()), (0, Some(&b"0"[..])));
    assert_eq!(envelope.birth_micros(), Some(birth(0)));
    assert_eq!(envelope.decode(), record::Decoded::Event(upsert("0", birth(0))));
}

#[test]
fn what_was_received_but_not_given_in_the_revoke_comes_again() {
    let (settings, _) = filled("received-only", 1, 5);
    let mut first = member(&settings, "received-only");
    first.receive(5);
    first.leave();
    assert_eq!(committed(&settings, "received-only", 1), BTreeMap::new(), "nobody said that anything is done");
    let mut second = member(&settings, "received-only");
    second.receive(5);
    assert_eq!(second.received[0], (0, 0));
}

#[test]
fn a_commit_in_the_background_tells_its_outcome_by_partition() {
    let (settings, _) = filled("committed", 2, 20);
    let mut member = member(&settings, "committed");
    member.receive(20);
    let offsets = [(partition("committed", 0), 3), (partition("committed", 1), 4)];
    member.consumer.commit(&offsets).expect("it is begun");
    member.until("both outcomes", |member| {
        [Call::Committed(0, Ok(3)), Call::Committed(1, Ok(4))].iter().all(|call| member.notes().has(call))
    });
    assert_eq!(committed(&settings, "committed", 2), BTreeMap::from([(0, 3), (1, 4)]));
}

#[test]
fn nothing_is_told_of_partitions_of_which_nothing_was_due() {
    let (settings, _) = filled("undue", 3, 30);
    let mut member = member(&settings, "undue");
    member.receive(30);
    member.consumer.commit(&[(partition("undue", 1), 3)]).expect("it is laid down");
    member.until("the outcome", |member| member.notes().has(&Call::Committed(1, Ok(3))));
    member.receive_nothing(COMMIT_WITHIN * 4);
    let calls = member.notes().calls().clone();
    assert_eq!(calls[1..], [Call::Committed(1, Ok(3))]);
}

#[test]
fn a_failed_commit_of_one_partition_is_told_and_does_not_hide_in_the_success_of_another() {
    let (settings, _) = filled("half-committed", 1, 5);
    let mut member = member(&settings, "half-committed");
    member.receive(5);
    let offsets = [(partition("half-committed", 0), 3), (partition("half-committed", 99), 4)];
    member.consumer.commit(&offsets).expect("it is begun");
    let outcome = |member: &Member, wanted: i32| {
        let calls = member.notes().calls();
        calls.iter().find_map(|call| match call {
            Call::Committed(number, result) if *number == wanted => Some(result.clone()),
            _ => None,
        })
    };
    member.until("both outcomes", |member| outcome(member, 0).is_some() && outcome(member, 99).is_some());
    assert_eq!(outcome(&member, 0), Some(Ok(3)));
    let failed = outcome(&member, 99).unwrap().expect_err("there is no such partition");
    assert_eq!(failed.reason, "State", "it is not assigned");
    let told = member.consumer.commit(&offsets[1..]).expect_err("none could be taken");
    assert!(told.to_string().contains("state"), "{told}");
}

/// librdkafka repeats what the broker did not take; here: what was laid down stays down.
#[test]
fn commits_never_go_back_within_an_assignment() {
    let (settings, _) = filled("forwards", 1, 10);
    let mut member = member(&settings, "forwards");
    member.receive(10);
    for offset in [7, 5, 9] {
        member.consumer.commit(&[(partition("forwards", 0), offset)]).expect("it is laid down");
        member.receive_nothing(COMMIT_WITHIN * 4);
    }
    let calls = member.notes().calls().clone();
    assert_eq!(calls[1..], [Call::Committed(0, Ok(7)), Call::Committed(0, Ok(9))], "each told once");
    assert_eq!(committed(&settings, "forwards", 1), BTreeMap::from([(0, 9)]));
}

#[test]
fn nothing_is_committed_that_was_not_laid_down() {
    let (settings, _) = filled("by-hand-only", 1, 10);
    let mut member = member(&settings, "by-hand-only");
    member.receive(10);
    member.receive_nothing(COMMIT_WITHIN * 10);
    assert_eq!(committed(&settings, "by-hand-only", 1), BTreeMap::new());
    drop(member);
    assert_eq!(committed(&settings, "by-hand-only", 1), BTreeMap::new(), "nor at the end");
}

#[test]
fn what_was_laid_down_before_a_revoke_does_not_undo_what_is_committed_in_it() {
    let (settings, _) = filled("revoke-wins", 1, 10);
    let mut member = member(&settings, "revoke-wins");
    member.receive(10);
    member.notes().done.lock().unwrap().insert(0, 8);
    member.consumer.commit(&[(partition("revoke-wins", 0), 3)]).expect("it is laid down");
    member.leave();
    assert_eq!(committed(&settings, "revoke-wins", 1), BTreeMap::from([(0, 8)]));
}

#[test]
fn a_failed_commit_inside_a_revoke_is_told() {
    let (settings, _) = filled("revoke-fails", 1, 5);
    let mut member = member(&settings, "revoke-fails");
    member.receive(5);
    // -5 is no offset that a broker takes.
    member.notes().done.lock().unwrap().insert(0, -5);
    let calls = member.leave();
    assert!(matches!(calls.last(), Some(Call::Committed(0, Err(_)))), "{calls:?}");
    assert_eq!(committed(&settings, "revoke-fails", 1), BTreeMap::new());
}

/// A member that did not poll for too long: its partitions are another's by now.
#[test]
fn what_was_lost_is_not_committed() {
    let (settings, _) = filled("lost", 1, 5);
    commit(&settings, "lost", &[(0, 1)]);
    let (session, poll) = (Duration::from_secs(1), Duration::from_secs(1));
    let timeouts = MemberSettings { session_timeout_ms: session, poll_interval_most_ms: poll, ..defaults() };
    let mut first = member_with(&settings, "lost", timeouts);
    first.receive(4);
    first.notes().done.lock().unwrap().insert(0, 4);
    let mut second = member(&settings, "lost");
    // Nobody polls the first.
    second.receive(4);
    first.until("the loss is told", |first| first.notes().has(&Call::Revoked(BTreeSet::from([0]), true)));
    let calls = first.notes().calls().clone();
    assert!(!calls.iter().any(|call| matches!(call, Call::Committed(..))), "{calls:?}");
    assert_eq!(committed(&settings, "lost", 1), BTreeMap::from([(0, 1)]), "what stood before");
    assert_eq!(second.received[0], (0, 1));
    // The partition comes back just while the first is dropped: an assignment and its revoke wait to be served then, in
    // which librdkafka by itself hangs more often than not.
    drop(second);
    drop_within_15_seconds(first, "while a partition comes to it");
}

#[test]
fn pausing_and_resuming_loses_repeats_and_reorders_nothing() {
    let (settings, _) = filled("paused", 1, 3000);
    let mut member = member(&settings, "paused");
    let partition = partition("paused", 0);
    for stop in [1, 2, 10, 100, 101, 1500, 2999] {
        member.receive(stop);
        member.consumer.pause(&partition).expect("it is ours");
        member.receive_nothing(Duration::from_millis(100));
        member.consumer.resume(&partition).expect("it is ours");
    }
    member.receive(3000);
    assert_eq!(member.by_partition()[&0], (0..3000).collect::<Vec<_>>());
}

#[test]
fn a_paused_partition_does_not_hold_up_the_others() {
    let settings = topic("half-paused", 2);
    let mut member = member(&settings, "half-paused");
    member.until("both partitions", |member| member.notes().assigned_now().len() == 2);
    member.consumer.pause(&partition("half-paused", 0)).expect("it is ours");
    let events: Vec<_> = (0..100).map(|n| upsert(&n.to_string(), birth(n))).collect();
    let published = publish_all(&Publisher::new(&settings).unwrap(), "half-paused", &events);
    let of = |number| published.iter().filter(|published| published.partition == number).count();
    member.receive(of(1));
    member.receive_nothing(Duration::from_millis(200));
    assert!(member.received.iter().all(|(number, _)| *number == 1));
    member.consumer.resume(&partition("half-paused", 0)).expect("it is ours");
    member.receive(100);
    assert_eq!(member.by_partition()[&0].len(), of(0));
}

#[test]
fn a_partition_that_is_not_ours_can_be_neither_paused_nor_resumed() {
    let (settings, _) = filled("foreign", 1, 1);
    let mut member = member(&settings, "foreign");
    member.receive(1);
    let foreign = partition("foreign", 7);
    member.consumer.pause(&foreign).expect_err("it is not ours");
    member.consumer.resume(&foreign).expect_err("it is not ours");
}

/// Cooperative: only what moves is taken away, the rest goes on without a break.
#[test]
fn a_second_member_gets_part_of_the_partitions_and_the_first_keeps_the_others() {
    let (settings, _) = filled("shared", 6, 60);
    let mut first = member(&settings, "shared");
    first.receive(60);
    let all: BTreeSet<_> = (0..6).collect();
    assert_eq!(first.notes().assigned_now(), all);
    for number in &all {
        let done = i64::try_from(first.by_partition()[number].len()).unwrap();
        first.notes().done.lock().unwrap().insert(*number, done);
    }
    let mut second = member(&settings, "shared");
    until("the partitions are shared out", || {
        first.poll();
        second.poll();
        second.notes().assigned_now().len() == 3
    });
    let (kept, given) = (first.notes().assigned_now(), second.notes().assigned_now());
    assert_eq!(kept.union(&given).copied().collect::<BTreeSet<_>>(), all);
    assert!(kept.is_disjoint(&given), "{kept:?} and {given:?}");
    let revoked: BTreeSet<_> = first.notes().calls().iter().fold(BTreeSet::new(), |mut revoked, call| {
        if let Call::Revoked(less, lost) = call {
            assert!(!lost);
            revoked.extend(less);
        }
        revoked
    });
    assert_eq!(revoked, given, "only what moves is revoked");
    let committed: BTreeSet<_> = committed(&settings, "shared", 6).into_keys().collect();
    assert_eq!(committed, given, "and committed while it is");
    second.receive_nothing(Duration::from_millis(300));
    assert_eq!(first.received.len(), 60, "the first reads nothing again");

    // The second goes: its partitions come back, from where it was.
    second.consumer.leave();
    until("the partitions are back", || {
        first.poll();
        second.poll();
        first.notes().assigned_now() == all
    });
    first.receive_nothing(Duration::from_millis(300));
}

#[test]
fn a_member_that_is_dropped_gives_its_partitions_back() {
    let (settings, _) = filled("dropped-member", 1, 5);
    let mut first = member(&settings, "dropped-member");
    first.receive(5);
    first.notes().done.lock().unwrap().insert(0, 5);
    let since = Instant::now();
    drop(first);
    let dropped = since.elapsed();
    assert_eq!(committed(&settings, "dropped-member", 1), BTreeMap::from([(0, 5)]), "a drop is a revoke, too");
    let mut second = member(&settings, "dropped-member");
    second.until("the partition", |second| !second.notes().assigned_now().is_empty());
    let taken_over = since.elapsed();
    assert!(taken_over < Duration::from_secs(10), "it did not leave the group: {taken_over:?}, dropped in {dropped:?}");
}

/// On a thread of its own, since it may hang.
fn drop_within_15_seconds(member: Member, when: &str) {
    let (ended, ending) = std::sync::mpsc::sync_channel::<()>(1);
    std::thread::spawn(move || {
        drop(member);
        drop(ended);
    });
    let ended = ending.recv_timeout(Duration::from_secs(15));
    assert_eq!(ended, Err(RecvTimeoutError::Disconnected), "a member that is dropped {when} hangs");
}

fn that_drains_for(millis: u64, settings: &KafkaSettings, topic: &str) -> Member {
    let member = member(settings, topic);
    locked(&member.notes().done).insert(0, 2);
    *locked(&member.notes().draining) = Duration::from_millis(millis);
    member
}

/// Whatever the group is doing at that moment: joining, waiting for an assignment to be served, or consuming.
#[test]
fn a_member_can_be_dropped_at_any_moment() {
    let (settings, _) = filled("dropped-anywhen", 1, 5);
    for moment in [0, 20, 50, 100, 200, 400, 800] {
        let member = that_drains_for(100, &settings, "dropped-anywhen");
        std::thread::sleep(Duration::from_millis(moment));
        drop_within_15_seconds(member, &format!("{moment} ms after it was made"));
    }
}

/// The member has joined in the background, but has not been polled since.
#[test]
fn a_member_can_be_dropped_before_it_was_told_of_its_assignment() {
    for millis in [0, 100] {
        let name = format!("dropped-untold-{millis}");
        let (settings, _) = filled(&name, 1, 5);
        let member = that_drains_for(millis, &settings, &name);
        let asking = plain_consumer(&settings);
        until("the group is stable", || {
            let groups = asking.fetch_group_list(Some(&name), Duration::from_secs(5));
            groups.is_ok_and(|groups| groups.groups().iter().any(|group| group.state() == "Stable"))
        });
        assert_eq!(*member.notes().calls(), [], "nobody has told it");
        drop_within_15_seconds(member, &format!("before it was told of its assignment, and drains for {millis} ms,"));
    }
}
