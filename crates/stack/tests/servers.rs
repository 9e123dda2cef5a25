//! Each server starts, keeps what it must across kill and restart, and goes when it should.

use stack::{Database, Kafka, KafkaOptions, Kind, Place, Prometheus, Redis, Tools, shared};
use std::time::{Duration, Instant};

fn timed<T>(what: &str, act: impl FnOnce() -> T) -> T {
    let since = Instant::now();
    let done = act();
    println!("{what}: {:.2} s", since.elapsed().as_secs_f32());
    done
}

#[test]
fn kafka_keeps_its_topics_across_a_kill() {
    let place = Place::attached(shared::scratch("kafka"));
    let kafka =
        timed("kafka start", || Kafka::start(&Tools::find(), &place, KafkaOptions::default())).expect("kafka starts");
    let topics = "org.apache.kafka.tools.TopicCommand";
    kafka.tool(topics, &["--create", "--topic", "kept", "--partitions", "6"]).expect("a topic is made");
    kafka.kill().expect("kafka dies");
    assert!(!kafka.is_running() && !kafka.is_ready());
    timed("kafka restart", || kafka.restart()).expect("kafka starts again");
    let listed = timed("kafka tool", || kafka.tool(topics, &["--list"])).expect("topics are listed");
    assert!(listed.lines().any(|line| line == "kept"), "{listed}");
    timed("kafka stop", || kafka.stop(Duration::from_secs(30))).expect("kafka stops");
}

#[test]
fn redis_keeps_what_its_file_holds_across_a_kill() {
    let place = Place::attached(shared::scratch("redis"));
    let redis = timed("redis start", || Redis::start(&Tools::find(), &place)).expect("redis starts");
    assert!(redis.url(999).ends_with("/999"));
    redis.kill().expect("redis dies");
    timed("redis restart", || redis.restart()).expect("redis starts again");
}

#[test]
fn database_keeps_what_was_committed_across_a_kill() {
    let place = Place::attached(shared::scratch("database"));
    let database = timed("database start", || Database::start(&Tools::find(), &place, Kind::from_env().unwrap()))
        .expect("the database starts");
    timed("create", || database.create("kept_one")).expect("a database is made");
    database.query("CREATE TABLE kept_one.t (i INT); INSERT INTO kept_one.t VALUES (7)").expect("a row is written");
    database.kill().expect("the database dies");
    timed("database restart", || database.restart()).expect("the database starts again");
    assert_eq!(database.query("SELECT i FROM kept_one.t").expect("the row is read"), "7\n");
}

#[test]
fn prometheus_answers() {
    let dir = shared::scratch("prometheus");
    let config = dir.join("prometheus.yml");
    std::fs::write(&config, "global: {scrape_interval: 5s}\n").unwrap();
    let started = timed("prometheus start", || Prometheus::start(&Tools::find(), &Place::attached(&dir), &config));
    started.expect("prometheus starts");
}
