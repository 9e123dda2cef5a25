//! R17: a topic is as it must be, or it is refused by the name of what is wrong. Nothing may disappear from a topic before
//! the slowest consumer has it.

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use stack::shared;
use topic::KafkaSettings;
use topic::setup::{Found, Topics};

use crate::support::{block, settings, settings_at, topic};

const WEEK: &str = "604800000";

/// What [`Topics::create`] would set, with some settings replaced.
fn made_by_hand(name: &str, replaced: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", shared::kafka().brokers()).create().unwrap();
    let good = [
        ("cleanup.policy", "compact"),
        ("min.compaction.lag.ms", WEEK),
        ("delete.retention.ms", WEEK),
        ("message.timestamp.type", "LogAppendTime"),
        ("unclean.leader.election.enable", "false"),
        ("min.insync.replicas", "1"),
        ("max.message.bytes", "2097152"),
    ];
    let mut new = NewTopic::new(name, 1, TopicReplication::Fixed(1));
    for (setting, value) in good {
        let value = replaced.iter().find(|(replaced, _)| *replaced == setting).map_or(value, |(_, value)| value);
        new = new.set(setting, value);
    }
    let created = block(admin.create_topics([&new], &AdminOptions::new())).expect("Kafka creates topics");
    created[0].as_ref().expect("it is created");
}

fn inspect(settings: &KafkaSettings, name: &str) -> Option<Found> {
    block(async { Topics::new(settings)?.inspect(name).await }).expect("Kafka answers")
}

fn faults(name: &str, replaced: &[(&str, &str)]) -> Vec<String> {
    made_by_hand(name, replaced);
    inspect(&settings(name), name).expect("it is there").faults
}

#[test]
fn a_topic_that_create_made_is_as_it_must_be() {
    let settings = topic("made", 6);
    assert_eq!(inspect(&settings, "made"), Some(Found { partitions: 6, faults: Vec::new() }));
}

/// If this fails, the tests of single faults show nothing.
#[test]
fn a_topic_made_by_hand_with_the_same_settings_is_as_good() {
    assert_eq!(faults("by-hand", &[]), [""; 0]);
}

/// Each wrong setting alone is refused alone, and the message names topic, setting, value and remedy.
#[test]
fn every_setting_that_would_lose_writes_is_refused_by_name() {
    let wrong = [
        ("cleanup.policy", "delete", "compact"),
        ("cleanup.policy", "compact,delete", "compact"),
        ("min.compaction.lag.ms", "604799999", "at least 604800000 (--longest-outage-s)"),
        ("min.compaction.lag.ms", "0", "at least 604800000 (--longest-outage-s)"),
        ("delete.retention.ms", "604799999", "at least 604800000 (--longest-outage-s)"),
        ("message.timestamp.type", "CreateTime", "LogAppendTime: the compaction lag is measured on it"),
        ("unclean.leader.election.enable", "true", "false"),
        ("max.message.bytes", "2097151", "at least 2097152 (--event-bytes-most)"),
    ];
    for (n, (setting, value, remedy)) in wrong.into_iter().enumerate() {
        let name = format!("wrong-{n}");
        let expected = format!("topic {name}: {setting} is {value}, must be {remedy}");
        assert_eq!(faults(&name, &[(setting, value)]), [expected]);
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let told = faults("all-wrong", &[("cleanup.policy", "delete"), ("delete.retention.ms", "1")]);
    assert_eq!(told.len(), 2, "{told:?}");
}

#[test]
fn a_topic_on_a_single_broker_is_refused_without_the_flag_for_it() {
    let mut settings = topic("single", 2);
    settings.allow_single_broker = false;
    let expected = [
        "topic single: min.insync.replicas is 1, must be at least 2 (or --allow-single-broker)",
        "topic single: 1 replicas, must be 3 (or --allow-single-broker)",
    ];
    assert_eq!(inspect(&settings, "single").unwrap().faults, expected);
}

#[test]
fn what_is_demanded_is_what_the_settings_say() {
    let mut settings = topic("demanding", 1);
    settings.longest_outage_s *= 2;
    settings.event_bytes_most *= 2;
    let told = inspect(&settings, "demanding").unwrap().faults;
    let names = ["min.compaction.lag.ms", "delete.retention.ms", "max.message.bytes"];
    assert_eq!(told.len(), names.len(), "{told:?}");
    for (told, name) in told.iter().zip(names) {
        assert!(told.contains(name), "{told}");
    }
}

#[test]
fn a_topic_that_is_not_there_is_none() {
    assert_eq!(inspect(&settings("nobodys"), "nobodys"), None);
    assert_eq!(inspect(&settings("nobodys"), "nobodys"), None, "and looking does not make it");
}

#[test]
fn to_create_a_topic_again_changes_nothing() {
    let settings = topic("again", 3);
    let again = block(async { Topics::new(&settings)?.create("again", 12, 1).await });
    assert!(!again.expect("Kafka answers"), "it was there");
    assert_eq!(inspect(&settings, "again").unwrap().partitions, 3);
}

#[test]
fn more_replicas_than_brokers_are_refused_by_kafka_itself() {
    let refused = block(async { Topics::new(&settings("three")).unwrap().create("three", 1, 3).await });
    assert!(refused.unwrap_err().to_string().contains("InvalidReplicationFactor"));
    assert_eq!(inspect(&settings("three"), "three"), None);
}

#[test]
fn without_kafka_nothing_is_known_of_a_topic() {
    let told = block(async { Topics::new(&settings_at("127.0.0.1:1", "away")).unwrap().inspect("away").await });
    told.expect_err("there is no Kafka to ask, which is not the same as no topic");
}
