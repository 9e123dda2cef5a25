//! Members of other kinds: with a name of their own (KIP-345), under the broker's protocol (KIP-848), and beside members
//! that share out partitions in another way; and offsets that are not in the topic any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use service::FailureClass;
use topic::consumer::COMMIT_WITHIN;
use topic::{GroupProtocol, KafkaSettings, MemberSettings, Reader, TopicError};

use crate::member::{Call, Member, defaults, locked, member, member_with};
use crate::support::{commit, committed, fill, filled, topic_on, until};

fn named(settings: &KafkaSettings, topic: &str, name: &str) -> Member {
    let session = Duration::from_secs(20);
    let group_instance_id = Some(name.to_owned());
    member_with(settings, topic, MemberSettings { group_instance_id, session_timeout_ms: session, ..defaults() })
}

fn by_broker(settings: &KafkaSettings, topic: &str) -> Member {
    member_with(settings, topic, MemberSettings { group_protocol: GroupProtocol::Consumer, ..defaults() })
}

/// Polls all until `come`.
fn together(what: &str, members: &mut [&mut Member], mut come: impl FnMut(&[&mut Member]) -> bool) {
    until(what, || {
        for member in members.iter_mut() {
            member.poll();
        }
        come(members)
    });
}

fn shared(members: &[&mut Member], all: usize) -> bool {
    let held: Vec<_> = members.iter().map(|member| member.notes().assigned_now()).collect();
    held.iter().all(|own| !own.is_empty()) && held.iter().map(BTreeSet::len).sum::<usize>() == all
}

#[test]
fn a_static_member_that_restarts_finds_its_partitions_and_nobody_else_moves() {
    let (settings, _) = filled("static", 4, 40);
    let (mut first, mut second) = (named(&settings, "static", "one"), named(&settings, "static", "two"));
    together("the partitions are shared out", &mut [&mut first, &mut second], |members| shared(members, 4));
    let (own, others) = (first.notes().assigned_now(), second.notes().assigned_now());
    let before = second.notes().calls().len();
    locked(&first.notes().done).extend(own.iter().map(|number| (*number, 7)));
    drop(first);
    let stands = committed(&settings, "static", 4);
    assert!(own.iter().all(|number| stands.get(number) == Some(&7)), "not what it had done: {stands:?}");
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        second.poll();
    }
    assert_eq!(second.notes().calls().len(), before, "a name's partitions did not wait for it");
    let mut again = named(&settings, "static", "one");
    let what = "it has its partitions again";
    together(what, &mut [&mut again, &mut second], |members| members[0].notes().assigned_now() == own);
    let told: Vec<_> = second.notes().calls().iter().skip(before).cloned().collect();
    assert_eq!(second.notes().assigned_now(), others);
    assert!(told.iter().all(|call| *call == Call::Assigned(BTreeSet::new())), "the other one had to move: {told:?}");
}

#[test]
fn a_static_member_whose_name_another_takes_is_told_that_it_is_none_any_more_and_ends() {
    let (settings, _) = filled("fenced", 1, 5);
    let mut first = named(&settings, "fenced", "one");
    first.receive(5);
    let mut second = named(&settings, "fenced", "one");
    second.until("the partition is the second one's", |second| !second.notes().assigned_now().is_empty());
    let told = first.fails("the first is fenced", |error| matches!(error, TopicError::NameTaken(_)));
    assert!(told.to_string().contains("fenced"), "the reason is not named: {told}");
    first.notes().done.lock().unwrap().insert(0, 5);
    let since = Instant::now();
    drop(first);
    assert!(since.elapsed() < Duration::from_secs(15), "it hung for {:?}", since.elapsed());
    assert_eq!(committed(&settings, "fenced", 1), BTreeMap::new(), "a member that is none has committed");
    second.receive(5);
}

/// librdkafka would commit once more what was laid down for what is lost, for a member of no id: the brokers then say that another
/// one has its name, which is for good.
#[test]
fn g7_a_static_member_whose_session_ended_while_kafka_was_away_commits_nothing_and_takes_up_its_partitions_again() {
    // Long enough for Kafka to come back while such a commit would still wait for it.
    let (kafka, session) = (crate::away::kafka(), Duration::from_secs(10));
    let settings = topic_on(&kafka, "session-over", 2);
    fill(&settings, "session-over", 20);
    let timeouts =
        MemberSettings { group_instance_id: Some("one".to_owned()), session_timeout_ms: session, ..defaults() };
    let mut member = member_with(&settings, "session-over", timeouts);
    member.receive(20);
    let offsets = [0, 1].map(|number| (crate::support::partition("session-over", number), 2));
    member.consumer.commit(&offsets).expect("they are laid down");
    let told = |member: &Member| (0..2).all(|number| member.notes().has(&Call::Committed(number, Ok(2))));
    member.until("they are committed", told);
    // Nor is the same commit on its way a second time.
    member.receive_nothing(COMMIT_WITHIN * 10);
    kafka.kill().expect("it dies");
    let all = BTreeSet::from([0, 1]);
    member.until("they are lost", |member| member.notes().has(&Call::Revoked(all.clone(), true)));
    kafka.restart().expect("it comes back");
    let (since, most) = (Instant::now(), session + Duration::from_secs(12));
    while member.notes().assigned_now() != all {
        assert!(since.elapsed() < most, "it has them not again within {most:?}");
        if let Some(Err(error @ (TopicError::Fatal(_) | TopicError::NameTaken(_)))) =
            member.consumer.poll(Duration::from_millis(20))
        {
            panic!("it can be no member any more: {error}");
        }
    }
    let calls = member.notes().calls().clone();
    let lost = calls.iter().position(|call| matches!(call, Call::Revoked(_, true))).expect("they were lost");
    let committed = calls[lost..].iter().find(|call| matches!(call, Call::Committed(..)));
    assert_eq!(committed, None, "what was lost was committed: {calls:?}");
    member.until("it is steady", |member| member.consumer.is_steady());
}

/// With partitions or without: one that stands by is not to be taken for one that hangs.
fn is_steady(protocol: GroupProtocol, topic: &str) {
    let (settings, _) = filled(topic, 1, 5);
    let member = || member_with(&settings, topic, MemberSettings { group_protocol: protocol, ..defaults() });
    let (mut first, mut second) = (member(), member());
    assert!(!first.consumer.is_steady(), "nothing was heard of its place yet");
    let both = |members: &[&mut Member]| members.iter().all(|member| member.consumer.is_steady());
    together("both are steady", &mut [&mut first, &mut second], both);
    let given = [&first, &second].map(|member| member.notes().assigned_now().len());
    assert_eq!(given.iter().sum::<usize>(), 1, "{given:?}");
    let since = Instant::now();
    together("a while passes", &mut [&mut first, &mut second], |members| {
        assert!(both(members), "one is not steady any more");
        since.elapsed() > Duration::from_secs(3)
    });
}

#[test]
fn members_with_partitions_and_without_are_steady_under_the_classic_protocol() {
    is_steady(GroupProtocol::Classic, "steady-classic");
}

#[test]
fn kip_848_members_with_partitions_and_without_are_steady() {
    is_steady(GroupProtocol::Consumer, "steady-broker");
}

#[test]
fn who_has_a_name_is_told_until_nobody_has_it() {
    let (settings, _) = filled("has-a-name", 1, 5);
    let reader = Reader::new(&settings, "test", "has-a-name").unwrap();
    assert_eq!(reader.host_of("one").unwrap(), None);
    let session = Duration::from_secs(3);
    let timeouts =
        MemberSettings { group_instance_id: Some("one".to_owned()), session_timeout_ms: session, ..defaults() };
    let mut member = member_with(&settings, "has-a-name", timeouts);
    member.receive(5);
    let host = reader.host_of("one").unwrap();
    assert!(host.as_ref().is_some_and(|host| host.contains("127.0.0.1")), "{host:?}");
    for other in ["on", "one-", "one-x", "ne", ""] {
        assert_eq!(reader.host_of(other).unwrap(), None, "{other:?} is nobody's");
    }
    drop(member);
    until("it has left, or its session is over", || reader.host_of("one").unwrap().is_none());
}

#[test]
fn kip_848_a_member_whose_name_another_one_has_is_refused_until_that_one_is_given_up() {
    let (settings, _) = filled("refused-name", 1, 5);
    let named = || {
        let (group_protocol, group_instance_id) = (GroupProtocol::Consumer, Some("one".to_owned()));
        member_with(&settings, "refused-name", MemberSettings { group_protocol, group_instance_id, ..defaults() })
    };
    let mut first = named();
    first.receive(5);
    let mut second = named();
    second.fails("the second is refused", |error| matches!(error, TopicError::NameTaken(_)));
    drop(second);
    first.until("the first is a member still", |first| first.consumer.is_steady());
    assert!(!first.notes().has(&Call::Revoked(BTreeSet::from([0]), true)), "it has lost its partition");
    drop(first);
    named().receive(5);
}

/// Of a group with members nothing of their offsets may be moved from outside, whoever shares out its partitions.
fn is_seen_from_outside(protocol: GroupProtocol, topic: &str) {
    let (settings, _) = filled(topic, 2, 20);
    let reader = Reader::new(&settings, "test", topic).unwrap();
    // Of a Kafka that has just been started it cannot be told at once.
    until("a group that nobody was ever in", || reader.group_is_empty().is_ok_and(|empty| empty));
    let mut member = member_with(&settings, topic, MemberSettings { group_protocol: protocol, ..defaults() });
    member.until("it is a member", |member| member.notes().assigned_now().len() == 2);
    assert!(!reader.group_is_empty().unwrap(), "a member was not seen");
    member.receive(20);
    member.notes().done.lock().unwrap().extend([(0, 3), (1, 4)]);
    member.leave();
    until("it is empty again", || reader.group_is_empty().unwrap());
    assert_eq!(committed(&settings, topic, 2), BTreeMap::from([(0, 3), (1, 4)]), "to ask has moved an offset");
}

#[test]
fn a_group_with_a_member_is_not_empty_under_the_classic_protocol() {
    is_seen_from_outside(GroupProtocol::Classic, "seen-classic");
}

#[test]
fn kip_848_a_group_with_a_member_is_not_empty() {
    is_seen_from_outside(GroupProtocol::Consumer, "seen-broker");
}

fn hands_over(protocol: GroupProtocol, topic: &str) {
    let (settings, _) = filled(topic, 1, 20);
    let member = || member_with(&settings, topic, MemberSettings { group_protocol: protocol, ..defaults() });
    let mut first = member();
    first.receive(20);
    first.notes().done.lock().unwrap().insert(0, 12);
    let calls = first.leave();
    let expected =
        [Call::Assigned(BTreeSet::from([0])), Call::Revoked(BTreeSet::from([0]), false), Call::Committed(0, Ok(12))];
    assert_eq!(calls, expected, "one commit, inside the revoke, told once");
    let mut second = member();
    second.receive(8);
    assert_eq!(second.received[0], (0, 12), "the next member begins elsewhere");
    second.receive_nothing(Duration::from_millis(200));
}

#[test]
fn g7_a_member_hands_over_in_the_revoke_and_the_next_one_begins_there() {
    hands_over(GroupProtocol::Classic, "handed-over");
}

#[test]
fn kip_848_a_member_hands_over_in_the_revoke_and_the_next_one_begins_there() {
    hands_over(GroupProtocol::Consumer, "broker-handed");
}

#[test]
fn kip_848_only_what_moves_is_revoked_and_it_comes_back_when_the_other_is_gone() {
    let (settings, _) = filled("broker-shared", 6, 60);
    let mut first = by_broker(&settings, "broker-shared");
    first.receive(60);
    let all: BTreeSet<_> = (0..6).collect();
    for number in &all {
        let done = i64::try_from(first.by_partition()[number].len()).unwrap();
        first.notes().done.lock().unwrap().insert(*number, done);
    }
    let mut second = by_broker(&settings, "broker-shared");
    together("the partitions are shared out", &mut [&mut first, &mut second], |members| shared(members, 6));
    let given = second.notes().assigned_now();
    assert!(first.notes().assigned_now().is_disjoint(&given));
    let revoked = first.notes().calls().iter().fold(BTreeSet::new(), |mut revoked, call| {
        if let Call::Revoked(less, lost) = call {
            assert!(!lost);
            revoked.extend(less.iter().copied());
        }
        revoked
    });
    assert_eq!(revoked, given, "only what moves is revoked");
    assert_eq!(committed(&settings, "broker-shared", 6).into_keys().collect::<BTreeSet<_>>(), given);
    drop(second);
    first.until("the partitions are back", |first| first.notes().assigned_now() == all);
    first.receive_nothing(Duration::from_millis(300));
    assert_eq!(first.received.len(), 60, "nothing is read twice");
}

#[test]
fn kip_848_a_commit_in_the_background_tells_its_outcome_and_a_drop_gives_back() {
    let (settings, _) = filled("broker-committed", 1, 5);
    let mut first = by_broker(&settings, "broker-committed");
    first.receive(5);
    let place = crate::support::partition("broker-committed", 0);
    first.consumer.commit(&[(place, 3)]).expect("it is laid down");
    first.until("the outcome", |first| first.notes().has(&Call::Committed(0, Ok(3))));
    let since = Instant::now();
    drop(first);
    let mut second = by_broker(&settings, "broker-committed");
    second.receive(2);
    assert_eq!(second.received[0], (0, 3));
    assert!(since.elapsed() < Duration::from_secs(10), "the first did not leave: {:?}", since.elapsed());
}

/// Of another program that somebody has put into our group, eager as Java's consumers once were by default.
fn of_another_kind(settings: &KafkaSettings, topic: &str) -> BaseConsumer {
    let stranger: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &settings.kafka_brokers)
        .set("group.id", &settings.consumer_group)
        .set("partition.assignment.strategy", "range")
        .create()
        .expect("a consumer");
    stranger.subscribe(&[topic]).expect("it subscribes");
    stranger
}

#[test]
fn beside_members_that_assign_by_range_ours_is_refused_for_a_named_reason_and_joins_when_they_are_gone() {
    let (settings, _) = filled("mixed", 1, 5);
    let stranger = of_another_kind(&settings, "mixed");
    until("the stranger has the partition", || {
        stranger.poll(Duration::from_millis(20));
        stranger.assignment().is_ok_and(|assigned| assigned.count() == 1)
    });
    let mut ours = member(&settings, "mixed");
    let told = ours.fails("ours is refused", |error| error.class() == FailureClass::Fatal);
    assert!(told.to_string().to_lowercase().contains("inconsistent"), "the reason is not named: {told}");
    assert_eq!(*ours.notes().calls(), [], "and is given nothing");
    drop(stranger);
    ours.receive(5);
}

#[test]
fn an_offset_that_is_not_in_the_topic_any_more_is_told_and_nothing_there_is_skipped() {
    let (settings, _) = filled("made-anew", 1, 5);
    commit(&settings, "made-anew", &[(0, 1000)]);
    let mut member = member(&settings, "made-anew");
    member.receive(5);
    assert_eq!(member.received[0], (0, 0));
    assert!(member.notes().has(&Call::Reset), "nobody was told: {:?}", member.notes().calls());
}

#[test]
fn where_a_new_group_begins_is_no_reset() {
    let (settings, _) = filled("begun-anew", 1, 5);
    let mut member = member(&settings, "begun-anew");
    member.receive(5);
    assert_eq!(*member.notes().calls(), [Call::Assigned(BTreeSet::from([0]))]);
}

/// Whatever of the commit is on its way just then.
#[test]
fn a_commit_in_flight_never_undoes_the_one_inside_the_revoke() {
    let (settings, _) = filled("in-flight", 1, 20);
    for (round, delay) in (1..).zip([0, 40, 50, 52, 55, 70]) {
        let mut member = member(&settings, "in-flight");
        member.until("the partition", |member| !member.notes().assigned_now().is_empty());
        let place = crate::support::partition("in-flight", 0);
        member.consumer.commit(&[(place, 2 * round)]).expect("it is laid down");
        std::thread::sleep(Duration::from_millis(delay));
        member.notes().done.lock().unwrap().insert(0, 2 * round + 1);
        member.leave();
        assert_eq!(committed(&settings, "in-flight", 1), BTreeMap::from([(0, 2 * round + 1)]), "{delay} ms");
    }
}

/// A full lane pauses its partition; the application's pause outlives an assignment in librdkafka.
#[test]
fn a_partition_that_was_paused_when_it_was_revoked_is_fetched_again_when_it_comes_back() {
    for (name, join) in [("group-paused", member as fn(&KafkaSettings, &str) -> Member), ("broker-paused", by_broker)] {
        let (settings, _) = filled(name, 2, 0);
        let mut first = join(&settings, name);
        first.until("all is assigned", |first| first.notes().assigned_now().len() == 2);
        for number in 0..2 {
            first.consumer.pause(&crate::support::partition(name, number)).expect("it is ours");
        }
        let mut second = join(&settings, name);
        together("the partitions are shared out", &mut [&mut first, &mut second], |members| shared(members, 2));
        let moved = second.notes().assigned_now();
        drop(second);
        first.until("it is back", |first| first.notes().assigned_now().len() == 2);
        let publisher = topic::Publisher::new(&settings).expect("the settings are good");
        let events: Vec<_> =
            (0..20).map(|n| crate::support::upsert(&n.to_string(), crate::support::birth(n))).collect();
        let published = crate::support::publish_all(&publisher, name, &events);
        let there = published.iter().filter(|published| moved.contains(&published.partition)).count();
        first.receive(there);
        assert!(
            first.received.iter().all(|(number, _)| moved.contains(number)),
            "{name}: the other one is paused still"
        );
    }
}
