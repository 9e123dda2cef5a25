//! Publishing: what travels, what an acknowledgement says, and that whoever handed an event in hears of it exactly once.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use record::{Change, Event, Origin};
use service::FailureClass;
use stack::shared;
use topic::{Outgoing, Publisher, TopicError};

use crate::support::{
    Deliveries, birth, block, filled, large, outgoing, publish_all, read, settings_at, topic, topic_on, upsert,
};

fn header(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn an_upsert_travels_as_key_frame_and_headers_and_nothing_else() {
    let settings = topic("upsert", 1);
    let event = upsert("user.42", 1_700_000_000_690_512);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let publisher = Publisher::new(&settings).unwrap();
    block(publisher.publish(Outgoing { topic: "upsert", event: &event, trace: Some(trace) }))
        .expect("it is acknowledged");
    let seen = read(&settings, "upsert", 1, 1).remove(0);
    assert_eq!(seen.key.as_deref(), Some(&b"user.42"[..]));
    assert_eq!(seen.value.as_deref(), Some(&b"\0\0\0\0\x02datum"[..]), "0, schema id, datum");
    let expected = [
        header("version", "1700000000690512"),
        header("op", "upsert"),
        header("origin", "write"),
        header("content-type", "application/vnd.confluent.avro"),
        header("traceparent", trace),
    ];
    assert_eq!(seen.headers, expected);
}

#[test]
fn a_tombstone_travels_with_a_null_value() {
    let settings = topic("tombstone", 1);
    let event = Event { change: Change::Tombstone, origin: Origin::Relay, ..upsert("gone", birth(0)) };
    block(Publisher::new(&settings).unwrap().publish(outgoing("tombstone", &event))).expect("it is acknowledged");
    let seen = read(&settings, "tombstone", 1, 1).remove(0);
    assert_eq!((seen.key.as_deref(), seen.value), (Some(&b"gone"[..]), None), "compaction takes only null as a delete");
    assert_eq!(seen.headers[1..3], [header("op", "delete"), header("origin", "relay")]);
}

#[test]
fn an_event_without_a_trace_has_no_header_for_it() {
    let (settings, _) = filled("traceless", 1, 1);
    let seen = read(&settings, "traceless", 1, 1).remove(0);
    assert!(seen.headers.iter().all(|(name, _)| name != "traceparent"), "{:?}", seen.headers);
}

#[test]
fn an_acknowledgement_says_where_the_event_stands() {
    let (settings, published) = filled("coordinates", 3, 60);
    let seen = read(&settings, "coordinates", 3, 60);
    for (n, published) in published.iter().enumerate() {
        let there = seen.iter().find(|seen| (seen.partition, seen.offset) == (published.partition, published.offset));
        let key = there.and_then(|seen| seen.key.clone());
        assert_eq!(key, Some(n.to_string().into_bytes()), "at {published:?}");
    }
}

#[test]
fn events_of_one_record_keep_their_order() {
    let settings = topic("order", 3);
    let events: Vec<_> = (0..500).map(|n| upsert("same", birth(n))).collect();
    publish_all(&Publisher::new(&settings).unwrap(), "order", &events);
    let seen = read(&settings, "order", 3, 500);
    let versions: Vec<_> = seen.iter().map(|seen| seen.headers[0].1.clone()).collect();
    assert_eq!(versions, events.iter().map(|event| event.version.to_string()).collect::<Vec<_>>());
}

/// Sent again after a lost acknowledgement, an event is stored once; the broker only does so for producers it knows by id.
/// (librdkafka takes the setting together with `acks=all` alone.)
#[test]
fn the_broker_knows_the_publisher_as_an_idempotent_one() {
    filled("idempotent", 1, 3);
    let arguments = ["describe-producers", "--topic", "idempotent", "--partition", "0"];
    let told = shared::kafka().tool("org.apache.kafka.tools.TransactionsCommand", &arguments).expect("the tool runs");
    let producers: Vec<_> = told.lines().skip_while(|line| !line.starts_with("ProducerId")).skip(1).collect();
    assert_eq!(producers.len(), 1, "{told}");
    let last_sequence = producers[0].split_whitespace().nth(3);
    assert_eq!(last_sequence, Some("2"), "its third event is number 2: {told}");
}

#[test]
fn an_event_is_published_although_nobody_waits_for_its_acknowledgement() {
    let settings = topic("abandoned", 1);
    let publisher = Publisher::new(&settings).unwrap();
    let event = upsert("1", birth(0));
    block(async {
        let mut publishing = Box::pin(publisher.publish(outgoing("abandoned", &event)));
        let once = std::future::poll_fn(|context| std::task::Poll::Ready(Pin::as_mut(&mut publishing).poll(context)));
        assert!(once.await.is_pending());
    });
    publisher.flush(Duration::from_secs(30)).expect("it is acknowledged within 30 s");
    read(&settings, "abandoned", 1, 1);
}

#[test]
fn whoever_handed_an_event_in_hears_of_it_exactly_once() {
    let settings = topic("once", 2);
    let publisher = Publisher::new(&settings).unwrap();
    let heard: Arc<Mutex<Vec<u32>>> = Arc::new(Mutex::new(vec![0; 1000]));
    for n in 0..1000 {
        let heard = Arc::clone(&heard);
        let event = upsert(&n.to_string(), birth(0));
        let sent = publisher.send(outgoing("once", &event), move |_| heard.lock().unwrap()[n] += 1);
        sent.expect("there is room");
    }
    publisher.flush(Duration::from_secs(30)).expect("all are acknowledged within 30 s");
    assert!(heard.lock().unwrap().iter().all(|times| *times == 1), "{:?}", heard.lock().unwrap());
}

#[test]
fn an_event_larger_than_the_bound_is_too_large_at_once_and_nobody_hears_of_it_later() {
    let settings = topic("bound", 1);
    let publisher = Publisher::new(&settings).unwrap();
    let heard: Deliveries = Arc::default();
    let keep = Arc::clone(&heard);
    let event = large("1", settings.event_bytes_most);
    let refused = publisher.send(outgoing("bound", &event), move |result| keep.lock().unwrap().push(result));
    let refused = refused.expect_err("it is larger than the bound");
    assert!(matches!(refused, TopicError::TooLarge), "{refused:?}");
    assert_eq!(refused.class(), FailureClass::Poison, "it never will be taken");
    publisher.flush(Duration::from_secs(30)).unwrap();
    assert_eq!(Arc::strong_count(&heard), 1, "the callback is gone");
    assert!(heard.lock().unwrap().is_empty());
}

#[test]
fn an_event_larger_than_its_topic_takes_is_too_large() {
    let mut settings = settings_at(&shared::kafka().brokers(), "narrow");
    settings.event_bytes_most = 10_000;
    block(async { topic::setup::Topics::new(&settings)?.create("narrow", 1, 1).await }).expect("it is created");
    settings.event_bytes_most = 2 << 20;
    let publisher = Publisher::new(&settings).unwrap();
    let refused = block(publisher.publish(outgoing("narrow", &large("1", 20_000)))).expect_err("the broker refuses");
    assert!(matches!(refused, TopicError::TooLarge), "{refused:?}");
    let published = block(publisher.publish(outgoing("narrow", &large("1", 5_000)))).expect("its neighbour is taken");
    assert_eq!(published.offset, 0);
}

#[test]
fn a_publisher_finds_out_whether_a_broker_answers() {
    let settings = settings_at(&shared::kafka().brokers(), "unused");
    let publisher = Publisher::new(&settings).unwrap();
    assert!(publisher.reach(Duration::from_secs(10)).is_ok());
    assert_eq!(publisher.replace_failed().unwrap(), None, "it has not failed");
    let nowhere = Publisher::new(&settings_at("127.0.0.1:1", "unused")).unwrap();
    let since = Instant::now();
    assert!(nowhere.reach(Duration::from_millis(300)).is_err());
    assert!(since.elapsed() < Duration::from_secs(3), "it was to take 300 ms: {:?}", since.elapsed());
}

#[test]
fn a_producer_is_replaced_by_a_new_one_that_finds_a_broker_and_by_no_other() {
    let settings = topic("replaced", 1);
    let publisher = Publisher::new(&settings).unwrap();
    assert!(publisher.replace_lost(Duration::from_secs(10)).unwrap(), "there is a broker");
    assert_eq!(publisher.replaced().get(), 1);
    let event = upsert("0", birth(0));
    assert!(block(publisher.publish(outgoing("replaced", &event))).is_ok(), "the new one is in its place");
    let nowhere = Publisher::new(&settings_at("127.0.0.1:1", "unused")).unwrap();
    assert!(!nowhere.replace_lost(Duration::from_millis(300)).unwrap(), "there is no broker");
    assert_eq!(nowhere.replaced().get(), 0, "replaced by one that is no better");
}

/// The bound of every wait for the topic, also where there has never been anybody to ask.
#[test]
fn a_publish_that_meets_no_broker_ends_with_the_deadline() {
    let mut settings = settings_at("127.0.0.1:1", "nowhere");
    settings.produce_deadline_ms = Duration::from_millis(1500);
    let publisher = Publisher::new(&settings).unwrap();
    let (since, event) = (Instant::now(), upsert("0", birth(0)));
    let published = publisher.publish(outgoing("nowhere", &event));
    let told = block(async { tokio::time::timeout(Duration::from_secs(20), published).await });
    let took = since.elapsed();
    let told = told.expect("it gives up within 20 s").expect_err("nobody answers");
    assert!(matches!(told, TopicError::Unacknowledged), "{told:?}");
    assert!((1.4..4.0).contains(&took.as_secs_f64()), "the deadline is 1.5 s, it took {took:?}");
}

/// Of a process that ends while events are on their way: none is forgotten silently.
#[test]
fn a_publisher_that_is_dropped_tells_everybody_who_waits() {
    let kafka = crate::away::kafka();
    let settings = topic_on(&kafka, "dropped", 1);
    let publisher = Publisher::new(&settings).unwrap();
    publish_all(&publisher, "dropped", &[upsert("0", birth(0))]);
    kafka.pause().expect("kafka pauses");
    let heard: Deliveries = Arc::default();
    for n in 1..=50 {
        let keep = Arc::clone(&heard);
        let event = upsert(&n.to_string(), birth(n));
        let sent = publisher.send(outgoing("dropped", &event), move |result| keep.lock().unwrap().push(result));
        sent.expect("there is room");
    }
    drop(publisher);
    kafka.resume().expect("kafka goes on");
    let heard = heard.lock().unwrap();
    assert_eq!(heard.len(), 50);
    assert!(heard.iter().all(|result| matches!(result, Err(TopicError::Unacknowledged))), "{heard:?}");
}
