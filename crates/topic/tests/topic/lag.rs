//! How far the group is behind, asked of Kafka: in events, and as the age of the oldest write that it has not committed.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use service::Metrics;
use stack::shared;
use topic::lag::Position;
use topic::{GroupLag, KafkaSettings, LagMetrics, Publisher};

use crate::support::{birth, block, commit, filled, partition, publish_all, settings, topic, until, upsert};

/// A look at one topic, by partition.
fn look(lag: &mut GroupLag, topic: &str) -> BTreeMap<i32, Position> {
    let found = lag.look(&[topic.to_owned()]).expect("Kafka answers");
    found.iter().map(|(partition, position)| (partition.number, *position)).collect()
}

/// Looks until every birth that there is to be read was read.
fn settled_look(settings: &KafkaSettings, topic: &str) -> BTreeMap<i32, Position> {
    let mut lag = GroupLag::new(settings).unwrap();
    let mut found = BTreeMap::new();
    until("all births are read", || {
        found = look(&mut lag, topic);
        found.values().all(|position| position.oldest_birth.is_some() || position.behind() == 0)
    });
    found
}

#[test]
fn a_group_without_commits_is_behind_by_all_events() {
    let (settings, _) = filled("lag-none", 1, 10);
    let found = settled_look(&settings, "lag-none");
    assert_eq!(found[&0], Position { committed: 0, end: 10, oldest_birth: Some(birth(0)) });
    assert_eq!(found[&0].behind(), 10);
}

#[test]
fn a_group_is_behind_from_its_committed_offset_on() {
    let (settings, _) = filled("lag-some", 1, 10);
    commit(&settings, "lag-some", &[(0, 4)]);
    let found = settled_look(&settings, "lag-some");
    assert_eq!(found[&0], Position { committed: 4, end: 10, oldest_birth: Some(birth(4)) });
}

#[test]
fn a_group_that_has_committed_all_is_not_behind() {
    let (settings, _) = filled("lag-all", 1, 10);
    commit(&settings, "lag-all", &[(0, 10)]);
    let found = settled_look(&settings, "lag-all");
    assert_eq!(found[&0], Position { committed: 10, end: 10, oldest_birth: None });
}

#[test]
fn an_empty_partition_is_not_behind() {
    let settings = topic("lag-empty", 1);
    assert_eq!(settled_look(&settings, "lag-empty")[&0], Position { committed: 0, end: 0, oldest_birth: None });
}

#[test]
fn the_oldest_birth_follows_the_commits_and_new_events() {
    let (settings, _) = filled("lag-moves", 1, 3);
    let mut lag = GroupLag::new(&settings).unwrap();
    let mut oldest = |expected: Option<u64>| {
        let what = format!("the oldest birth is {expected:?}");
        until(&what, || look(&mut lag, "lag-moves")[&0].oldest_birth == expected);
    };
    oldest(Some(birth(0)));
    commit(&settings, "lag-moves", &[(0, 2)]);
    oldest(Some(birth(2)));
    commit(&settings, "lag-moves", &[(0, 3)]);
    oldest(None);
    publish_all(&Publisher::new(&settings).unwrap(), "lag-moves", &[upsert("9", birth(9)), upsert("10", birth(10))]);
    oldest(Some(birth(9)));
    commit(&settings, "lag-moves", &[(0, 0)]);
    oldest(Some(birth(0)));
}

#[test]
fn lag_agrees_with_kafkas_own_tool() {
    let (settings, published) = filled("lag-agrees", 6, 300);
    let ends = |number| i64::try_from(published.iter().filter(|it| it.partition == number).count()).unwrap();
    // The last partition has no commit, for which the tool shows no lag.
    commit(
        &settings,
        "lag-agrees",
        &(0..5).map(|number| (number, ends(number) * i64::from(number) / 4)).collect::<Vec<_>>(),
    );
    let tool = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
    let told = shared::kafka().tool(tool, &["--describe", "--group", "lag-agrees"]).expect("the tool runs");
    let mut theirs = BTreeMap::new();
    for line in told.lines() {
        let columns: Vec<_> = line.split_whitespace().collect();
        if columns.first() == Some(&"lag-agrees") {
            let number = |n: usize| columns[n].parse::<i64>().unwrap();
            theirs.insert(i32::try_from(number(2)).unwrap(), (number(3), number(4), number(5)));
        }
    }
    assert_eq!(theirs.len(), 5, "{told}");
    let ours = settled_look(&settings, "lag-agrees");
    for (number, (committed, end, behind)) in theirs {
        let position = ours[&number];
        assert_eq!(
            (position.committed, position.end, position.behind()),
            (committed, end, behind),
            "partition {number}"
        );
    }
    assert_eq!(ours[&5].behind(), ends(5), "without a commit everything is to come");
}

/// Somebody else's message, without a version: it waits all the same, and its neighbours are read.
#[test]
fn what_is_no_event_of_ours_has_the_age_of_its_arrival() {
    let settings = topic("lag-foreign", 2);
    let plain: BaseProducer = ClientConfig::new().set("bootstrap.servers", &settings.kafka_brokers).create().unwrap();
    let before = service::clock::now_micros() / 1000 * 1000;
    for n in 0..20 {
        let message = BaseRecord::to("lag-foreign").partition(0).key("foreign").payload("no event");
        plain.send(message).unwrap_or_else(|_| panic!("message {n}"));
    }
    plain.flush(std::time::Duration::from_secs(30)).expect("they are acknowledged");
    let after = service::clock::now_micros();
    let ends = settled_look(&settings, "lag-foreign");
    assert_eq!(ends[&0].end, 20, "the messages are there");
    let ours = (0..).map(|n: u32| n.to_string()).find(|id| {
        let published = publish_all(&Publisher::new(&settings).unwrap(), "lag-foreign", &[upsert(id, birth(7))]);
        published[0].partition == 1
    });
    assert!(ours.is_some());
    let found = settled_look(&settings, "lag-foreign");
    let age = found[&0].oldest_birth.unwrap();
    assert!((before..=after).contains(&age), "{age} is not between {before} and {after}");
    assert_eq!(found[&1].oldest_birth, Some(birth(7)));
}

#[test]
fn a_topic_that_is_deleted_is_forgotten() {
    let (settings, _) = filled("lag-deleted", 2, 10);
    let mut lag = GroupLag::new(&settings).unwrap();
    assert_eq!(look(&mut lag, "lag-deleted").len(), 2);
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &settings.kafka_brokers).create().unwrap();
    block(admin.delete_topics(&["lag-deleted"], &AdminOptions::new())).unwrap()[0].as_ref().expect("it is deleted");
    until("it is forgotten", || lag.look(&["lag-deleted".to_owned()]).is_ok_and(HashMap::is_empty));
}

#[test]
fn a_topic_that_is_not_there_yet_is_not_behind() {
    let mut lag = GroupLag::new(&settings("lag-missing")).unwrap();
    assert_eq!(look(&mut lag, "lag-missing"), BTreeMap::new());
}

/// The clock of a test that moves it by hand.
struct Shown {
    metrics: Metrics,
    lag: LagMetrics,
}

fn shown(now: fn() -> u64) -> Shown {
    let mut settings = settings("the-group");
    settings.topic_prefix = "test.".to_owned();
    let (metrics, lag) = (Metrics::new(), LagMetrics::new(&settings, now));
    metrics.collector(lag.clone());
    Shown { metrics, lag }
}

impl Shown {
    fn show(&self, positions: &[(&str, i32, Position)]) {
        let positions = positions.iter().map(|(topic, number, position)| (partition(topic, *number), *position));
        self.lag.show(&positions.collect(), "test.");
    }

    /// A series' value.
    fn scraped(&self, series: &str) -> Option<f64> {
        let text = String::from_utf8(self.metrics.render()).unwrap();
        let line = text.lines().find(|line| line.starts_with(series));
        line.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }
}

const OLDEST: &str = "write_behind_oldest_unpersisted_seconds{entity=\"users\",partition=\"0\"}";

fn behind(committed: i64, end: i64, oldest_birth: Option<u64>) -> Position {
    Position { committed, end, oldest_birth }
}

#[test]
fn events_behind_are_shown_under_our_name_and_under_the_fields() {
    let shown = shown(|| 0);
    shown.show(&[("test.users", 0, behind(3, 10, None)), ("test.users", 1, behind(5, 5, None))]);
    assert_eq!(shown.scraped("write_behind_lag_events{entity=\"users\",partition=\"0\"}"), Some(7.0));
    assert_eq!(shown.scraped("write_behind_lag_events{entity=\"users\",partition=\"1\"}"), Some(0.0));
    let alias = "kafka_consumergroup_lag{consumergroup=\"the-group\",partition=\"0\",topic=\"test.users\"}";
    assert_eq!(shown.scraped(alias), Some(7.0));
    assert_eq!(shown.lag.events_behind(), 7);
}

/// G11: nobody has to look again for an age to grow.
#[test]
fn an_age_grows_from_scrape_to_scrape_while_nothing_else_moves() {
    static NOW: AtomicU64 = AtomicU64::new(10_000_000);
    let shown = shown(|| NOW.load(Ordering::Relaxed));
    shown.show(&[("test.users", 0, behind(0, 1, Some(8_000_000)))]);
    assert_eq!(shown.scraped(OLDEST), Some(2.0));
    NOW.store(70_500_000, Ordering::Relaxed);
    assert_eq!(shown.scraped(OLDEST), Some(62.5));
}

#[test]
fn the_head_of_the_outbox_counts_where_it_is_older() {
    let shown = shown(|| 10_000_000);
    shown.show(&[("test.users", 0, behind(0, 1, Some(8_000_000)))]);
    shown.lag.show_outbox(HashMap::from([("users".to_owned(), 9_000_000)]));
    assert_eq!(shown.scraped(OLDEST), Some(2.0), "the topic's is older");
    shown.lag.show_outbox(HashMap::from([("users".to_owned(), 3_000_000), ("orders".to_owned(), 1)]));
    assert_eq!(shown.scraped(OLDEST), Some(7.0), "the outbox' is older; another entity's does not count");
    shown.show(&[("test.users", 0, behind(1, 1, None))]);
    assert_eq!(shown.scraped(OLDEST), Some(7.0), "nothing uncommitted, but something unpublished");
    shown.lag.show_outbox(HashMap::new());
    assert_eq!(shown.scraped(OLDEST), Some(0.0));
}

#[test]
fn an_event_from_the_future_has_no_age() {
    let shown = shown(|| 10_000_000);
    shown.show(&[("test.users", 0, behind(0, 1, Some(11_000_000)))]);
    assert_eq!(shown.scraped(OLDEST), Some(0.0));
}

#[test]
fn a_partition_that_is_gone_is_shown_no_more() {
    let shown = shown(|| 10_000_000);
    shown.show(&[("test.users", 0, behind(0, 5, Some(1))), ("test.users", 1, behind(0, 5, Some(1)))]);
    assert!(shown.scraped(OLDEST).is_some());
    shown.show(&[("test.users", 1, behind(0, 5, Some(1)))]);
    assert_eq!(shown.scraped(OLDEST), None, "an alarm would hang on it for ever");
}

/// Topic made anew: what was committed of the old one lies beyond the end.
#[test]
fn a_committed_offset_beyond_the_end_is_no_negative_lag() {
    let shown = shown(|| 0);
    shown.show(&[("test.users", 0, behind(10, 3, None)), ("test.users", 1, behind(0, 2, None))]);
    assert_eq!(shown.scraped("write_behind_lag_events{entity=\"users\",partition=\"0\"}"), Some(0.0));
    assert_eq!(shown.lag.events_behind(), 2, "and does not hide another's");
}
