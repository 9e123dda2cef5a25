//! Reading a stretch of a topic outside of the group, for verify, replay and purge.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use service::clock;
use topic::{Bounds, Publisher, Reader, Stretch};

use crate::support::{commit, committed, publish_all, settings, topic, upsert};

/// Partition, offset and key of everything in the stretch.
fn read(reader: &mut Reader, stretch: &Stretch) -> Vec<(i32, i64, String)> {
    reader.begin(stretch).unwrap();
    let mut all = Vec::new();
    while let Some((number, envelope)) = reader.read().unwrap() {
        all.push((number, envelope.offset, String::from_utf8(envelope.key().unwrap().to_vec()).unwrap()));
    }
    all
}

#[test]
fn a_stretch_gives_what_lies_in_it_in_order_and_ends_while_more_is_written() {
    let settings = topic("reader-stretch", 3);
    let publisher = Publisher::new(&settings).unwrap();
    let events: Vec<_> = (1..=60).map(|n| upsert(&n.to_string(), n * 16)).collect();
    publish_all(&publisher, "reader-stretch", &events);
    let mut reader = Reader::new(&settings, "test", "reader-stretch").unwrap();
    let bounds = reader.bounds().unwrap();
    assert_eq!(bounds.len(), 3);
    assert_eq!(bounds.values().map(|bounds| bounds.end - bounds.low).sum::<i64>(), 60);
    let whole: Stretch = bounds.iter().map(|(number, Bounds { low, end })| (*number, (*low, *end))).collect();
    // What is written now is behind the stretch.
    publish_all(&publisher, "reader-stretch", &events);
    let all = read(&mut reader, &whole);
    assert_eq!(all.len(), 60, "what is behind the stretch came too, or something is missing");
    for (number, (from, until)) in &whole {
        let own: Vec<i64> = all.iter().filter(|(of, _, _)| of == number).map(|(_, offset, _)| *offset).collect();
        assert_eq!(own, (*from..*until).collect::<Vec<_>>(), "partition {number}");
    }
    let part = BTreeMap::from([(1, (2, 5)), (2, (3, 3))]);
    let offsets: Vec<_> = read(&mut reader, &part).into_iter().map(|(number, offset, _)| (number, offset)).collect();
    assert_eq!(offsets, [(1, 2), (1, 3), (1, 4)]);
}

/// As where a leader has changed, or the topic was made anew: the end that is met is not the end that there was.
#[test]
fn an_end_before_the_stretch_has_ended_is_waited_out_and_never_believed() {
    let settings = topic("reader-end", 1);
    let publisher = Publisher::new(&settings).unwrap();
    let events = |from: u64, to: u64| (from..=to).map(|n| upsert(&n.to_string(), n * 16)).collect::<Vec<_>>();
    publish_all(&publisher, "reader-end", &events(1, 10));
    let mut reader = Reader::new(&settings, "test", "reader-end").unwrap().with_patience(Duration::from_secs(3));
    let stretch = BTreeMap::from([(0, (5, 12))]);
    let later = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(1500));
        publish_all(&publisher, "reader-end", &events(11, 13));
    });
    let offsets: Vec<_> = read(&mut reader, &stretch).into_iter().map(|(_, offset, _)| offset).collect();
    assert_eq!(offsets, (5..12).collect::<Vec<_>>(), "an end that was met too early was believed");
    later.join().unwrap();
    reader.begin(&BTreeMap::from([(0, (11, 20))])).unwrap();
    let mut read = || reader.read().map(|event| event.map(|(_, envelope)| envelope.offset));
    assert_eq!([read().unwrap(), read().unwrap()], [Some(11), Some(12)]);
    assert!(read().is_err(), "a stretch that is not there was read to its end");
}

/// The last offsets of a partition may be no events: here the mark of a transaction of somebody else.
#[test]
fn a_stretch_whose_last_offsets_are_no_events_ends() {
    let settings = topic("reader-hole", 1);
    let producer: BaseProducer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", &settings.kafka_brokers)
        .set("transactional.id", "reader-hole")
        .create()
        .unwrap();
    producer.init_transactions(Duration::from_secs(20)).unwrap();
    producer.begin_transaction().unwrap();
    producer.send(BaseRecord::to("reader-hole").key("1").payload("text")).unwrap();
    producer.commit_transaction(Duration::from_secs(20)).unwrap();
    let mut reader = Reader::new(&settings, "test", "reader-hole").unwrap().with_patience(Duration::from_secs(20));
    // The mark is written some time after the commit was answered, and until then the event is not to be read.
    let until = Instant::now() + Duration::from_secs(20);
    while reader.bounds().unwrap()[&0] != (Bounds { low: 0, end: 2 }) {
        assert!(Instant::now() < until, "an event and a mark: {:?}", reader.bounds());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(read(&mut reader, &BTreeMap::from([(0, (0, 2))])).len(), 1);
}

#[test]
fn a_reader_is_no_member_and_moves_no_offset() {
    let settings = topic("reader-group", 2);
    let publisher = Publisher::new(&settings).unwrap();
    publish_all(&publisher, "reader-group", &(1..=20).map(|n| upsert(&n.to_string(), n * 16)).collect::<Vec<_>>());
    commit(&settings, "reader-group", &[(0, 3)]);
    let mut reader = Reader::new(&settings, "test", "reader-group").unwrap();
    assert_eq!(reader.committed([0, 1]).unwrap(), BTreeMap::from([(0, Some(3)), (1, None)]));
    let whole = reader.bounds().unwrap().into_iter().map(|(number, b)| (number, (b.low, b.end))).collect();
    assert_eq!(read(&mut reader, &whole).len(), 20);
    assert!(reader.group_is_empty().unwrap(), "the reader has joined the group");
    drop(reader);
    assert_eq!(committed(&settings, "reader-group", 2), BTreeMap::from([(0, 3)]), "the reader has committed");
}

#[test]
fn a_time_is_the_first_offset_from_then_on() {
    let settings = topic("reader-since", 1);
    let publisher = Publisher::new(&settings).unwrap();
    let events: Vec<_> = (1..=4).map(|n| upsert(&n.to_string(), n * 16)).collect();
    publish_all(&publisher, "reader-since", &events);
    std::thread::sleep(Duration::from_millis(5));
    let between = clock::now_micros();
    std::thread::sleep(Duration::from_millis(5));
    publish_all(&publisher, "reader-since", &events);
    let reader = Reader::new(&settings, "test", "reader-since").unwrap();
    let bounds = reader.bounds().unwrap();
    let since = |micros| reader.since(micros, &bounds).unwrap()[&0];
    assert_eq!((since(0), since(between), since(between + 3_600_000_000)), (0, 4, 8));
}

#[test]
fn a_topic_that_there_is_not_has_no_partitions() {
    let reader = Reader::new(&settings("reader-none"), "test", "reader-none").unwrap();
    assert_eq!(reader.bounds().unwrap(), BTreeMap::new());
}
