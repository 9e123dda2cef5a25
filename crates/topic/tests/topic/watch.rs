//! Kafka counts as there once the topics are known to be right, and while a broker answers.

use std::time::Duration;

use service::Dependency;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use topic::setup::Topics;
use topic::watch::{WatchError, watch};
use topic::{KafkaSettings, Publisher, TopicError};

use crate::support::{birth, dependency, outgoing, settings, topic, topic_on, upsert};

/// Watches in the background, until told to stop.
struct Watching {
    publisher: Publisher,
    kafka: Dependency,
    stopping: CancellationToken,
    running: JoinSet<Result<(), WatchError>>,
}

fn watching(settings: &KafkaSettings, topics: &[&str]) -> Watching {
    let (kafka, stopping) = (dependency(), CancellationToken::new());
    let topics: Vec<_> = topics.iter().map(|&topic| topic.to_owned()).collect();
    let mut running = JoinSet::new();
    let (settings, reported, until_told) = (settings.clone(), kafka.clone(), stopping.clone());
    let publisher = Publisher::new(&settings).expect("the settings are good");
    let watched = publisher.clone();
    running.spawn(async move {
        watch(&settings, &topics, &watched, &reported, &until_told, &service::Pulse::unwatched()).await
    });
    Watching { publisher, kafka, stopping, running }
}

impl Watching {
    async fn until(&self, up: bool) {
        let waiting = async {
            while self.kafka.is_up() != up {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let what = if up { "up" } else { "down" };
        tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap_or_else(|_| panic!("not {what} in 30 s"));
    }

    async fn ended(&mut self) -> Result<(), WatchError> {
        let ended = tokio::time::timeout(Duration::from_secs(30), self.running.join_next()).await;
        ended.expect("it ends within 30 s").expect("it runs").expect("it does not panic")
    }
}

/// On one thread: the task that looks has not been begun.
#[tokio::test]
async fn r17_nothing_is_published_before_the_first_look() {
    let settings = tokio::task::spawn_blocking(|| topic("watched-early", 1)).await.unwrap();
    let publisher = Publisher::new(&settings).unwrap();
    let topics = vec!["watched-early".to_owned()];
    topic::watch::supervise(settings, topics, publisher.clone(), dependency(), &service::Supervisor::new());
    let event = upsert("1", birth(1));
    let sent = publisher.send(outgoing("watched-early", &event), |_| ());
    assert!(matches!(sent, Err(TopicError::Unchecked)), "{sent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn right_topics_make_kafka_count_as_there() {
    let settings = tokio::task::spawn_blocking(|| topic("watched", 1)).await.unwrap();
    let mut watching = watching(&settings, &["watched"]);
    watching.until(true).await;
    watching.stopping.cancel();
    watching.ended().await.expect("told to stop, it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_topics_end_the_process_and_every_fault_is_named() {
    let mut settings = tokio::task::spawn_blocking(|| {
        topic("refused-one", 1);
        topic("refused-two", 1)
    })
    .await
    .unwrap();
    settings.longest_outage_s *= 2;
    let mut watching = watching(&settings, &["refused-one", "refused-two"]);
    let refused = watching.ended().await.expect_err("these topics must not be used");
    let text = refused.to_string();
    assert!(matches!(&refused, WatchError::Refused(faults) if faults.len() == 4), "{text}");
    assert!(text.contains("refused-one") && text.contains("refused-two"), "{text}");
    assert!(!watching.kafka.is_up());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_missing_is_waited_for() {
    let settings = settings("migrated-later");
    let mut watching = watching(&settings, &["migrated-later"]);
    let missing = tokio::time::timeout(Duration::from_millis(500), watching.until(true)).await;
    assert!(missing.is_err(), "there is no topic yet");
    Topics::new(&settings).unwrap().create("migrated-later", 1, 1).await.expect("it is created");
    watching.until(true).await;
    watching.stopping.cancel();
    watching.ended().await.expect("told to stop, it stops");
}

/// Of an entity whose topic `migrate` has not made yet: the others must not rest on the cache alone meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn r17_a_topic_that_is_missing_stops_its_own_events_until_it_was_checked_and_no_others() {
    let settings = tokio::task::spawn_blocking(|| topic("there", 1)).await.unwrap();
    let mut watching = watching(&settings, &["there", "there-later"]);
    watching.until(true).await;
    let publisher = &watching.publisher;
    let event = upsert("1", birth(0));
    publisher.publish(outgoing("there", &event)).await.expect("its topic is there and was checked");
    let refused = publisher.publish(outgoing("there-later", &event)).await.expect_err("there is no topic");
    assert!(matches!(refused, TopicError::Unchecked), "{refused:?}");
    Topics::new(&settings).unwrap().create("there-later", 1, 1).await.expect("it is created");
    let published = async {
        while publisher.publish(outgoing("there-later", &event)).await.is_err() {
            assert!(watching.kafka.is_up(), "Kafka counts as away for all");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), published).await.expect("it is used within 30 s");
    watching.stopping.cancel();
    watching.ended().await.expect("told to stop, it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn r17_a_topic_that_comes_later_and_is_wrong_ends_the_process_before_anything_is_published_to_it() {
    let settings = tokio::task::spawn_blocking(|| topic("right", 1)).await.unwrap();
    let mut watching = watching(&settings, &["right", "wrong-later"]);
    watching.until(true).await;
    let lax = KafkaSettings { longest_outage_s: Duration::from_secs(60), ..settings.clone() };
    Topics::new(&lax).unwrap().create("wrong-later", 1, 1).await.expect("it is created");
    let refused = watching.ended().await.expect_err("this topic must not be used");
    assert!(refused.to_string().contains("wrong-later"), "{refused}");
    let published = watching.publisher.publish(outgoing("wrong-later", &upsert("1", birth(0)))).await;
    assert!(matches!(published, Err(TopicError::Unchecked)), "{published:?}");
}

#[test]
fn a_kafka_that_hangs_counts_as_away_until_it_answers() {
    let kafka = crate::away::kafka();
    let settings = topic_on(&kafka, "watched-hanging", 1);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut watching = runtime.block_on(async { watching(&settings, &["watched-hanging"]) });
    runtime.block_on(watching.until(true));
    kafka.pause().expect("kafka pauses");
    runtime.block_on(watching.until(false));
    kafka.resume().expect("kafka goes on");
    runtime.block_on(watching.until(true));
    watching.stopping.cancel();
    runtime.block_on(watching.ended()).expect("told to stop, it stops");
}
