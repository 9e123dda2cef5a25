//! What happens while Kafka hangs: on a Kafka that these tests pause, one after the other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use service::FailureClass;
use stack::{Kafka, KafkaOptions, Place, Tools, shared};
use topic::{GroupLag, Publisher, TopicError};

use crate::member::{Call, member};
use crate::support::{
    Deliveries, birth, block, committed, large, outgoing, partition, publish_all, read, topic_on, until, upsert,
};

/// The Kafka that may be hurt; whoever has it has it alone, and leaves it running.
pub(crate) fn kafka() -> MutexGuard<'static, Kafka> {
    static IT: OnceLock<Mutex<Kafka>> = OnceLock::new();
    let start = || {
        let place = Place::attached(shared::scratch("kafka"));
        Mutex::new(Kafka::start(&Tools::find(), &place, KafkaOptions::default()).expect("a Kafka to hurt"))
    };
    let kafka = IT.get_or_init(start).lock().unwrap_or_else(PoisonError::into_inner);
    // A test that failed may have left it paused.
    kafka.resume().expect("it goes on");
    until("the Kafka to hurt answers", || kafka.is_ready());
    kafka
}

#[test]
fn without_an_acknowledgement_in_time_nobody_knows_whether_the_event_is_there() {
    let kafka = kafka();
    let mut settings = topic_on(&kafka, "unacknowledged", 1);
    settings.produce_deadline_ms = Duration::from_millis(1500);
    let publisher = Publisher::new(&settings).unwrap();
    publish_all(&publisher, "unacknowledged", &[upsert("0", birth(0))]);
    kafka.pause().expect("kafka pauses");
    let since = Instant::now();
    let event = upsert("1", birth(1));
    let told = block(async {
        tokio::time::timeout(Duration::from_secs(20), publisher.publish(outgoing("unacknowledged", &event))).await
    });
    let took = since.elapsed();
    kafka.resume().expect("kafka goes on");
    let told = told.expect("it gives up within 20 s").expect_err("nobody answers");
    assert!(matches!(told, TopicError::Unacknowledged), "{told:?}");
    assert_eq!(told.class(), FailureClass::Transient);
    assert!((1.4..4.0).contains(&took.as_secs_f64()), "the deadline is 1.5 s, it took {took:?}");
    // The producer is good for more: what is handed in now arrives.
    until("events are acknowledged again", || {
        block(publisher.publish(outgoing("unacknowledged", &upsert("2", birth(2))))).is_ok()
    });
}

#[test]
fn a_full_queue_refuses_at_once_and_what_was_taken_arrives() {
    let kafka = kafka();
    let mut settings = topic_on(&kafka, "full", 1);
    settings.produce_deadline_ms = Duration::from_secs(60);
    let publisher = Publisher::new(&settings).unwrap();
    publish_all(&publisher, "full", &[upsert("0", birth(0))]);
    kafka.pause().expect("kafka pauses");
    let heard: Deliveries = Arc::default();
    let event = large("1", 1 << 20);
    let (mut taken, mut slowest) = (0, Duration::ZERO);
    let refused = loop {
        let (keep, since) = (Arc::clone(&heard), Instant::now());
        let sent = publisher.send(outgoing("full", &event), move |result| keep.lock().unwrap().push(result));
        slowest = slowest.max(since.elapsed());
        match sent {
            Ok(()) => taken += 1,
            Err(refused) => break refused,
        }
        assert!(taken < 200, "64 MiB are the bound, {taken} MiB were taken");
    };
    kafka.resume().expect("kafka goes on");
    assert!(matches!(refused, TopicError::QueueFull), "{refused:?}");
    assert_eq!(refused.class(), FailureClass::Saturated);
    assert!(slowest < Duration::from_millis(500), "a handler waited {slowest:?}");
    publisher.flush(Duration::from_secs(60)).expect("what was taken is acknowledged within a minute");
    let heard = heard.lock().unwrap();
    assert_eq!(heard.len(), taken, "one answer for each that was taken, none for the refused");
    assert!(heard.iter().all(Result::is_ok), "{heard:?}");
    read(&settings, "full", 1, taken + 1);
}

#[test]
fn a_broker_that_was_killed_and_comes_back_gets_every_event_once() {
    let kafka = kafka();
    let mut settings = topic_on(&kafka, "bounced", 1);
    settings.produce_deadline_ms = Duration::from_secs(60);
    let publisher = Publisher::new(&settings).unwrap();
    publish_all(&publisher, "bounced", &[upsert("0", birth(0))]);
    let heard: Deliveries = Arc::default();
    for n in 1..=300 {
        let keep = Arc::clone(&heard);
        let event = upsert(&n.to_string(), birth(n));
        publisher.send(outgoing("bounced", &event), move |it| keep.lock().unwrap().push(it)).expect("there is room");
        if n == 100 {
            kafka.kill().expect("kafka dies");
        }
    }
    kafka.restart().expect("kafka starts again");
    publisher.flush(Duration::from_secs(60)).expect("all are acknowledged within a minute");
    assert!(heard.lock().unwrap().iter().all(Result::is_ok), "{:?}", heard.lock().unwrap());
    let seen = read(&settings, "bounced", 1, 301);
    let keys: Vec<_> = seen.into_iter().map(|seen| String::from_utf8(seen.key.unwrap()).unwrap()).collect();
    assert_eq!(keys, (0..=300).map(|n| n.to_string()).collect::<Vec<_>>(), "in order, without duplicates");
}

#[test]
fn while_kafka_hangs_the_lag_is_not_known_and_this_is_said_soon() {
    let kafka = kafka();
    let settings = topic_on(&kafka, "hanging", 1);
    publish_all(&Publisher::new(&settings).unwrap(), "hanging", &[upsert("0", birth(0))]);
    let topics = ["hanging".to_owned()];
    let mut lag = GroupLag::new(&settings).unwrap();
    lag.look(&topics).expect("Kafka answers");
    kafka.pause().expect("kafka pauses");
    let since = Instant::now();
    let told = lag.look(&topics).map(|positions| positions.len());
    let took = since.elapsed();
    kafka.resume().expect("kafka goes on");
    assert!(told.is_err() && took < Duration::from_secs(8), "{told:?} after {took:?}");
    until("the lag is known again", || lag.look(&topics).is_ok());
}

/// What a broker did not take is committed when it is back, without a hand.
#[test]
fn a_commit_that_met_a_dead_broker_is_made_good() {
    let kafka = kafka();
    let settings = topic_on(&kafka, "recommitted", 1);
    publish_all(&Publisher::new(&settings).unwrap(), "recommitted", &[upsert("0", birth(0)), upsert("1", birth(1))]);
    let mut member = member(&settings, "recommitted");
    member.receive(2);
    kafka.kill().expect("kafka dies");
    member.consumer.commit(&[(partition("recommitted", 0), 1)]).expect("it is laid down");
    kafka.restart().expect("kafka starts again");
    member.until("the outcome", |member| member.notes().has(&Call::Committed(0, Ok(1))));
    assert_eq!(committed(&settings, "recommitted", 1), BTreeMap::from([(0, 1)]));
}
