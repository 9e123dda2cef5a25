//! A producer that has failed for good is replaced. On a mock of Kafka: a real broker gives an idempotent producer no reason
//! to fail, unless it has a fault.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use topic::{KafkaSettings, Publisher, TopicError};

use crate::support::{Deliveries, birth, block, outgoing, publish_all, settings_at, until, upsert};

fn mock(topic: &str) -> (MockCluster<'static, rdkafka::producer::DefaultProducerContext>, KafkaSettings) {
    let mock = MockCluster::new(1).expect("a mock");
    mock.create_topic(topic, 1, 1).expect("a topic");
    let settings = settings_at(&mock.bootstrap_servers(), topic);
    (mock, settings)
}

/// The answer to the oldest request on its way: producer and broker do not agree on what was sent.
const OUT_OF_STEP: [RDKafkaRespErr; 1] = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER];

#[test]
fn a_producer_that_failed_for_good_is_replaced_and_every_event_in_flight_is_told() {
    let (mock, settings) = mock("out-of-step");
    let publisher = Publisher::new(&settings).unwrap();
    publish_all(&publisher, "out-of-step", &[upsert("0", birth(0))]);
    assert_eq!(publisher.replace_failed().unwrap(), None, "it has not failed yet");

    mock.broker_round_trip_time(1, Duration::from_millis(300)).unwrap();
    mock.request_errors(RDKafkaApiKey::Produce, &OUT_OF_STEP);
    let heard: Deliveries = Arc::default();
    for n in 1..=50 {
        let keep = Arc::clone(&heard);
        let event = upsert(&n.to_string(), birth(n));
        let sent = publisher.send(outgoing("out-of-step", &event), move |result| keep.lock().unwrap().push(result));
        sent.expect("it has not failed yet");
    }
    let mut refused = None;
    until("an event is refused, since the producer has failed for good", || {
        refused = publisher.send(outgoing("out-of-step", &upsert("51", birth(51))), |_| {}).err();
        matches!(refused, Some(TopicError::Fatal(_)))
    });

    let why = publisher.replace_failed().unwrap().expect("it is replaced");
    assert!(why.to_lowercase().contains("order"), "the reason is not named: {why}");
    assert_eq!(publisher.replaced().get(), 1);
    until("all 50 are told", || heard.lock().unwrap().len() == 50);
    assert!(heard.lock().unwrap().iter().any(Result::is_err), "the failed request is told as a success");
    mock.broker_round_trip_time(1, Duration::ZERO).unwrap();
    block(publisher.publish(outgoing("out-of-step", &upsert("52", birth(52))))).expect("the new one publishes");
    assert_eq!(publisher.replace_failed().unwrap(), None, "the new one has not failed");
}

#[test]
fn a_producer_that_failed_for_good_costs_its_events_in_flight_and_a_moment_and_not_the_process() {
    let (mock, settings) = mock("goes-on");
    let publisher = Publisher::new(&settings).unwrap();
    publish_all(&publisher, "goes-on", &[upsert("0", birth(0))]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let stopping = tokio_util::sync::CancellationToken::new();
    let (kafka, until_told, watched) = (crate::support::dependency(), stopping.clone(), publisher.clone());
    let running = runtime.spawn(async move {
        topic::watch::watch(&settings, &[], &watched, &kafka, &until_told, &service::Pulse::unwatched()).await
    });
    mock.request_errors(RDKafkaApiKey::Produce, &OUT_OF_STEP);
    runtime.block_on(publisher.publish(outgoing("goes-on", &upsert("1", birth(1))))).expect_err("it is refused");
    let since = Instant::now();
    until("events are acknowledged again", || {
        runtime.block_on(publisher.publish(outgoing("goes-on", &upsert("2", birth(2))))).is_ok()
    });
    assert!(since.elapsed() < Duration::from_secs(4), "replaced only after {:?}", since.elapsed());
    assert_eq!(publisher.replaced().get(), 1, "one failure, one new producer");
    stopping.cancel();
    runtime.block_on(running).unwrap().expect("the watch goes on until it is told to stop");
}
