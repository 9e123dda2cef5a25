//! Each server starts, keeps across a kill what it must, and refuses an occupied port by name.

use stack::port::{self, Occupied};
use stack::{Database, Kafka, KafkaOptions, Kind, Place, Prometheus, Redis, Speed, Tools, shared};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Does something and prints its seconds (`--nocapture` shows them).
fn timed<T>(what: &str, act: impl FnOnce() -> anyhow::Result<T>) -> T {
    let since = Instant::now();
    let done = act().unwrap_or_else(|e| panic!("{what}: {e:#}"));
    println!("{what}: {:.2} s", since.elapsed().as_secs_f32());
    done
}

fn kafka(place: &Place, options: KafkaOptions) -> Kafka {
    timed("kafka start", || Kafka::start(&Tools::find(), place, options))
}

fn database(place: &Place) -> Database {
    timed("database start", || Database::start(&Tools::find(), place, Kind::from_env()?))
}

/// Sends one inline command and gives the answer as it stands.
fn ask(redis: &Redis, command: &str) -> String {
    let mut stream = TcpStream::connect(port::address(redis.port())).unwrap();
    write!(stream, "{command}\r\nQUIT\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn kafka_keeps_its_topics_across_a_kill() {
    let kafka = kafka(&Place::attached(shared::scratch("kafka")), KafkaOptions::default());
    let topics = "org.apache.kafka.tools.TopicCommand";
    kafka.tool(topics, &["--create", "--topic", "kept", "--partitions", "6"]).expect("a topic is made");
    kafka.kill().expect("kafka dies");
    assert!(!kafka.is_running() && !kafka.is_ready());
    timed("kafka restart after a kill", || kafka.restart());
    let described = timed("kafka tool", || Ok(kafka.tool(topics, &["--describe", "--topic", "kept"])));
    let listed = described.unwrap_or_else(|e| panic!("{e:#}\nthe broker said:\n{}", kafka.log_tail(100)));
    assert!(listed.contains("PartitionCount: 6"), "{listed}");
    let status = timed("kafka stop", || kafka.stop(Duration::from_secs(30))).expect("an own child");
    assert_eq!(status.code(), Some(143), "it ended by itself after SIGTERM");
}

#[test]
fn kafka_keeps_its_topics_when_its_ports_change() {
    let place = Place::attached(shared::scratch("kafka"));
    let topics = "org.apache.kafka.tools.TopicCommand";
    let before = kafka(&place, KafkaOptions::default());
    before.tool(topics, &["--create", "--topic", "kept"]).expect("a topic is made");
    before.stop(Duration::from_secs(30)).expect("kafka stops");
    let after = kafka(&place, KafkaOptions { speed: Speed::Full, ..KafkaOptions::default() });
    assert_ne!(before.port(), after.port());
    assert!(after.tool(topics, &["--list"]).expect("topics are listed").contains("kept"));
}

#[test]
fn a_paused_kafka_answers_nothing_until_it_goes_on() {
    let kafka = kafka(&Place::attached(shared::scratch("kafka")), KafkaOptions::default());
    kafka.pause().expect("it pauses");
    assert!(kafka.is_running() && !kafka.is_ready());
    kafka.resume().expect("it goes on");
    let since = Instant::now();
    while !kafka.is_ready() {
        assert!(since.elapsed() < Duration::from_secs(30), "{}", kafka.log_tail(20));
    }
}

#[test]
fn redis_keeps_what_it_acknowledged_across_a_kill() {
    let redis = timed("redis start", || Redis::start(&Tools::find(), &Place::attached(shared::scratch("redis"))));
    assert_eq!(redis.url(999), format!("redis://127.0.0.1:{}/999", redis.port()));
    assert_eq!(ask(&redis, "SET kept 7"), "+OK\r\n+OK\r\n");
    redis.kill().expect("redis dies");
    timed("redis restart after a kill", || redis.restart());
    assert_eq!(ask(&redis, "GET kept"), "$1\r\n7\r\n+OK\r\n");
    assert_eq!(ask(&redis, "SELECT 999"), "+OK\r\n+OK\r\n");
    for (setting, value) in [("maxmemory-policy", "volatile-ttl"), ("appendonly", "yes"), ("appendfsync", "everysec")] {
        assert!(ask(&redis, &format!("CONFIG GET {setting}")).contains(&format!("\r\n{value}\r\n")), "{setting}");
    }
}

#[test]
fn the_database_keeps_what_was_committed_across_a_kill() {
    let database = database(&Place::attached(shared::scratch("database")));
    timed("database create", || database.create("kept_one"));
    database.query("CREATE TABLE kept_one.t (i INT); INSERT INTO kept_one.t VALUES (7)").expect("a row is written");
    database.kill().expect("the database dies");
    timed("database restart after a kill", || database.restart());
    assert_eq!(database.query("SELECT i FROM kept_one.t").expect("the row is read"), "7\n");
    let durable = database.query("SELECT @@innodb_flush_log_at_trx_commit, @@log_bin").expect("settings are read");
    assert_eq!(durable, "1\t0\n");
    let strict = database.query("INSERT INTO kept_one.t VALUES ('x')").expect_err("a wrong value is refused");
    assert!(strict.to_string().contains("1366"), "{strict}");
}

#[test]
fn the_database_is_of_the_kind_that_was_asked_for() {
    let version = shared::database().version().expect("a version");
    let wanted = std::env::var("STACK_DB").unwrap_or_default();
    if wanted == "mysql" {
        let numbers: Vec<u32> = version.split(['.', '-']).take(2).map(|part| part.parse().expect("a number")).collect();
        assert!(!version.contains("MariaDB") && numbers >= vec![8, 4], "{version} is no MySQL of today");
    } else {
        assert!(version.contains("MariaDB"), "{version} is no MariaDB");
    }
}

#[test]
fn prometheus_answers() {
    let dir = shared::scratch("prometheus");
    let config = dir.join("prometheus.yml");
    std::fs::write(&config, "global: {scrape_interval: 5s}\n").unwrap();
    let it = timed("prometheus start", || Prometheus::start(&Tools::find(), &Place::attached(&dir), &config));
    assert!(it.is_ready());
}

#[test]
fn an_occupied_port_is_an_error_that_names_it() {
    let taken = port::free().unwrap();
    let _owner = TcpListener::bind(port::address(taken)).unwrap();
    let place = Place::attached(shared::scratch("redis")).at(taken);
    let refused = Redis::start(&Tools::find(), &place).expect_err("the port is taken");
    assert_eq!(refused.downcast_ref(), Some(&Occupied { port: taken }));
    assert!(refused.to_string().contains(&taken.to_string()), "{refused}");
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let dir = shared::scratch("prometheus");
    let config = dir.join("prometheus.yml");
    std::fs::write(&config, "no_such_setting: 1\n").unwrap();
    let refused = Prometheus::start(&Tools::find(), &Place::attached(&dir), &config).expect_err("a bad setting");
    assert!(refused.to_string().contains("no_such_setting"), "{refused}");
}
