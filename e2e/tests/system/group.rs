//! Members of the group that come, go, stand still and return under load: nothing is lost, and no offset passes an event
//! that is not in the table (G7).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::journal::{Journal, Load};
use e2e::system::metric;
use e2e::topic_reader::{committed, read_all};
use e2e::{Servers, System};
use serde_json::json;
use sqlx::{Connection, Executor, MySqlConnection, MySqlPool, Row};
use stack::{Lifetime, Process};

use crate::faults::while_acknowledging;

/// Timings short enough to wait for.
pub(crate) fn prepared(servers: Servers) -> Result<System> {
    Ok(System::prepare(servers)?
        .with("SESSION_TIMEOUT_MS", "3000")
        .with("POLL_INTERVAL_MOST_MS", "4000")
        .with("DRAIN_DEADLINE_MS", "2000"))
}

/// What the group had committed and what the table held, at one instant.
struct Instantaneous {
    committed: HashMap<i32, i64>,
    held: HashMap<String, u64>,
}

/// Nobody applies or commits anything between the two looks.
async fn instant(system: &System, members: &[&Process], table: &MySqlPool) -> Result<Instantaneous> {
    for member in members {
        member.pause()?;
    }
    let topic = format!("{}users", system.topic_prefix);
    let committed = committed(&system.servers.kafka.brokers(), &system.group, &topic);
    let rows = sqlx::query("SELECT id, version FROM users").fetch_all(table).await;
    for member in members {
        member.resume()?;
    }
    let held = rows?.iter().map(|row| (row.get(0), row.get(1))).collect();
    Ok(Instantaneous { committed: committed?, held })
}

/// I8, at every one of these instants.
fn nothing_is_passed(system: &System, instants: &[Instantaneous]) -> Result<()> {
    let events = read_all(&system.servers.kafka.brokers(), &format!("{}users", system.topic_prefix))?;
    for (number, Instantaneous { committed, held }) in instants.iter().enumerate() {
        for event in events.iter().filter(|event| committed.get(&event.partition) > Some(&event.offset)) {
            let version: u64 = event.header("version").context("a version")?.parse()?;
            ensure!(
                held.get(&event.key).is_some_and(|held| *held >= version),
                "instant {number}: the group has passed offset {} of partition {}, whose version {version} of record {} is \
                 not in the table: {:?}",
                event.offset,
                event.partition,
                event.key,
                held.get(&event.key)
            );
        }
    }
    ensure!(instants.iter().any(|it| it.committed.values().sum::<i64>() > 0), "nothing was ever committed");
    Ok(())
}

pub(crate) async fn nothing_is_lost(system: &System, journal: &Journal) -> Result<()> {
    let table = system.table().await?;
    system
        .eventually("every acknowledged write is in the table", async || Ok(journal.missing(&table).await? == 0))
        .await?;
    journal.check(&table).await
}

pub(crate) fn free_url() -> Result<String> {
    Ok(format!("http://127.0.0.1:{}", stack::port::free()?))
}

/// A member joins or leaves every second, every third one without a word.
async fn storm(protocol: &str, rounds: usize) -> Result<()> {
    let system = prepared(Servers::shared())?.with("GROUP_PROTOCOL", protocol).up().await?;
    let load = Load::start(&system.ingest_url, 8, 100, 11);
    while_acknowledging(&load, 100).await?;
    let table = system.table().await?;
    let first = system.persister.as_ref().context("persister")?;
    let mut instants = Vec::new();
    for round in 0..rounds {
        let other = Process::spawn(&system.persister_spec(&free_url()?), Lifetime::Attached)?;
        tokio::time::sleep(Duration::from_millis(600)).await;
        instants.push(instant(&system, &[first, &other], &table).await?);
        tokio::time::sleep(Duration::from_millis(400)).await;
        if round % 3 == 2 {
            other.kill()?;
        } else {
            let status = other.stop(Duration::from_secs(20))?;
            ensure!(status.is_some_and(|status| status.success()), "{status:?}\n{}", other.log_tail(20));
        }
        instants.push(instant(&system, &[first], &table).await?);
    }
    let text = system.metrics(&system.persister_admin_url).await?;
    let moved = metric(&text, "write_behind_rebalances_total{kind=\"revoked\"}");
    ensure!(moved >= Some(2.0), "no storm: partitions were taken from the first member {moved:?} times");
    while_acknowledging(&load, 100).await?;
    let journal = load.finish().await?;
    nothing_is_lost(&system, &journal).await?;
    nothing_is_passed(&system, &instants)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g7_in_a_storm_of_rebalances_nothing_is_lost_and_no_offset_passes_an_unapplied_event() -> Result<()> {
    storm("classic", 9).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g7_the_same_holds_under_the_brokers_own_protocol_kip_848() -> Result<()> {
    storm("consumer", 6).await
}

/// Stopped in its transaction, longer than the session and than the interval of polls; another member has gone further by
/// then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r13_what_a_zombie_writes_is_superseded_and_what_it_would_commit_is_refused() -> Result<()> {
    let system = prepared(Servers::shared())?.up().await?;
    system.put("users", "1", &json!({ "name": "first", "age": 1 })).await?;
    let table = system.table().await?;
    let name = async || -> Result<Option<String>> {
        let row = sqlx::query("SELECT name FROM users WHERE id = '1'").fetch_optional(&table).await?;
        Ok(row.map(|row| row.get(0)))
    };
    system.eventually("it is in the table", async || Ok(name().await?.as_deref() == Some("first"))).await?;

    // The lane stands at the first statement of its transaction, with an older write in its hands.
    let mut lock = Box::pin(MySqlConnection::connect(&system.accounts.root)).await?;
    lock.execute("START TRANSACTION").await?;
    lock.execute("SELECT * FROM _write_behind_entities FOR UPDATE").await?;
    system.put("users", "1", &json!({ "name": "of the zombie", "age": 1 })).await?;
    system
        .eventually("the lane waits for the lock", async || {
            let waits = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'";
            Ok(system.servers.database.query(waits)?.trim() != "0")
        })
        .await?;
    let zombie = system.persister.as_ref().context("persister")?;
    zombie.pause()?;
    lock.execute("ROLLBACK").await?;

    let url = free_url()?;
    let other = Process::spawn(&system.persister_spec(&url), Lifetime::Attached)?;
    system.put("users", "1", &json!({ "name": "newest", "age": 1 })).await?;
    system
        .eventually("another member brings the newest version", async || Ok(name().await?.as_deref() == Some("newest")))
        .await?;
    tokio::time::sleep(Duration::from_millis(4500)).await;
    zombie.resume()?;
    system
        .eventually(
            "the zombie is told that it has lost its partitions, and its commit is refused and counted",
            async || {
                // A connection to it may have grown too old meanwhile.
                let Ok(text) = system.metrics(&system.persister_admin_url).await else { return Ok(false) };
                let lost = metric(&text, "write_behind_rebalances_total{kind=\"lost\"}") >= Some(1.0);
                let refused = text.lines().filter(|line| line.starts_with("write_behind_commit_failures_total{"));
                let refused = refused.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>();
                Ok(lost && refused >= 1.0)
            },
        )
        .await?;
    assert_eq!(name().await?.as_deref(), Some("newest"), "the zombie's write has won");
    let instant = instant(&system, &[zombie, &other], &table).await?;
    nothing_is_passed(&system, &[instant])?;

    // It is a member like any other again, with lanes of its own.
    let status = other.stop(Duration::from_secs(20))?;
    assert!(status.is_some_and(|status| status.success()), "{status:?}\n{}", other.log_tail(20));
    system.put("users", "1", &json!({ "name": "afterwards", "age": 1 })).await?;
    system.eventually("it goes on", async || Ok(name().await?.as_deref() == Some("afterwards"))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_mysql_stands_still_longer_than_the_interval_of_polls_the_persister_stays_a_member() -> Result<()> {
    let servers = Servers { database: crate::mysql_errors::own_database()?, ..Servers::shared() };
    let system = prepared(servers)?.with("LANE_EVENTS_MOST", "20").up().await?;
    let load = Load::start(&system.ingest_url, 8, 100, 11);
    while_acknowledging(&load, 100).await?;
    let changes = async || -> Result<Vec<String>> {
        let text = system.metrics(&system.persister_admin_url).await?;
        Ok(text.lines().filter(|line| line.starts_with("write_behind_rebalances_total")).map(str::to_owned).collect())
    };
    let before = changes().await?;
    system.servers.database.pause()?;
    let since = Instant::now();
    // More than fits into the lanes: their partitions are paused.
    while_acknowledging(&load, 300).await?;
    let journal = load.finish().await?;
    tokio::time::sleep(Duration::from_secs(9).saturating_sub(since.elapsed())).await;
    system.servers.database.resume()?;
    nothing_is_lost(&system, &journal).await?;
    assert_eq!(changes().await?, before, "it was thrown out of the group, or left it");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_refused_by_members_of_another_kind_says_why_and_goes_on_when_they_are_gone() -> Result<()> {
    use rdkafka::consumer::{BaseConsumer, Consumer};
    let mut system = prepared(Servers::shared())?.with("UNSTEADY_MOST_MS", "4000");
    system.migrate()?;
    system.start_ingest().await?;
    let stranger: BaseConsumer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", system.servers.kafka.brokers())
        .set("group.id", &system.group)
        .set("partition.assignment.strategy", "range")
        .create()?;
    stranger.subscribe(&[&format!("{}users", system.topic_prefix)])?;
    let until = Instant::now() + Duration::from_secs(30);
    while stranger.assignment()?.count() == 0 {
        ensure!(Instant::now() < until, "the stranger does not join");
        drop(stranger.poll(Duration::from_millis(50)));
    }
    let polling = std::sync::Arc::new(stranger);
    let polled = std::sync::Arc::downgrade(&polling);
    let stranger = std::thread::spawn(move || {
        while let Some(stranger) = polled.upgrade() {
            drop(stranger.poll(Duration::from_millis(50)));
        }
    });
    system.put("users", "1", &json!({ "name": "Jane", "age": 1 })).await?;
    let persister = Process::spawn(&system.persister_spec(&system.persister_admin_url), Lifetime::Attached)?;
    system
        .eventually("the persister says that the group does not take it", async || {
            Ok(persister.log_tail(100).contains("the group does not take this persister"))
        })
        .await?;
    let shown = system.client.get(format!("{}/readyz", system.persister_admin_url)).send().await?;
    assert_eq!(shown.status(), 503, "it is no member, and cannot be ready");
    system
        .eventually("it tries it with another consumer", async || {
            let text = system.metrics(&system.persister_admin_url).await?;
            Ok(metric(&text, "write_behind_consumers_replaced_total{reason=\"unsteady\"}") >= Some(1.0))
        })
        .await?;
    drop(polling);
    assert!(stranger.join().is_ok());
    system.ready(&persister, &system.persister_admin_url).await?;
    let table = system.table().await?;
    system
        .eventually("the write is in the table", async || {
            Ok(!sqlx::query("SELECT 1 FROM users").fetch_all(&table).await?.is_empty())
        })
        .await
}

/// What is paused when it is taken away must be fetched again when it comes back to the same process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g7_partitions_that_move_while_their_lanes_are_full_go_on_when_they_come_back() -> Result<()> {
    let servers = Servers { database: crate::mysql_errors::own_database()?, ..Servers::shared() };
    let system = prepared(servers)?.with("LANE_EVENTS_MOST", "20").with("DRAIN_DEADLINE_MS", "300").up().await?;
    let url = free_url()?;
    let other = Process::spawn(&system.persister_spec(&url), Lifetime::Attached)?;
    system.ready(&other, &url).await?;
    let first = system.persister.as_ref().context("persister")?;
    let times = async |kind: &str| -> Result<f64> {
        let text = system.metrics(&system.persister_admin_url).await?;
        metric(&text, &format!("write_behind_rebalances_total{{kind=\"{kind}\"}}")).context("rebalances")
    };
    // A member that stands still for longer than its session: its partitions come to the first.
    let (assigned, revoked) = (times("assigned").await?, times("revoked").await?);
    other.pause()?;
    system.eventually("all are the first one's", async || Ok(times("assigned").await? > assigned)).await?;
    system.servers.database.pause()?;
    let load = Load::start(&system.ingest_url, 8, 100, 11);
    // More than fits into the lanes: their partitions are paused.
    while_acknowledging(&load, 400).await?;
    let journal = load.finish().await?;
    other.resume()?;
    system.eventually("some are taken away, full", async || Ok(times("revoked").await? > revoked)).await?;
    let assigned = times("assigned").await?;
    other.kill()?;
    system.eventually("they come back", async || Ok(times("assigned").await? > assigned)).await?;
    system.servers.database.resume()?;
    nothing_is_lost(&system, &journal).await?;
    ensure!(first.is_running(), "{}", first.log_tail(20));
    Ok(())
}

/// The same generation goes on in a topic that was deleted and made anew under it, from 0: what it had done before says nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g7_of_a_topic_made_anew_under_a_member_no_offset_is_committed_that_it_has_not_reached() -> Result<()> {
    use rdkafka::admin::{AdminClient, AdminOptions};
    use rdkafka::client::DefaultClientContext;
    let mut system = prepared(Servers::shared())?.with("TOPIC_PARTITIONS", "1").up().await?;
    let (brokers, topic) = (system.servers.kafka.brokers(), format!("{}users", system.topic_prefix));
    let table = system.table().await?;
    let write = async |system: &System, ids: std::ops::Range<i32>| -> Result<()> {
        for id in ids {
            system.put("users", &id.to_string(), &json!({ "name": "Ada", "age": 36 })).await?;
        }
        Ok(())
    };
    let held = async |rows: i64| -> Result<bool> {
        Ok(sqlx::query("SELECT COUNT(*) FROM users").fetch_one(&table).await?.get::<i64, _>(0) == rows)
    };
    write(&system, 0..40).await?;
    system.eventually("it is in the table", async || held(40).await).await?;
    let position = || anyhow::Ok(committed(&brokers, &system.group, &topic)?.get(&0).copied().unwrap_or(0));
    system.eventually("and committed", async || Ok(position()? == 40)).await?;
    let client = rdkafka::ClientConfig::new().set("bootstrap.servers", &brokers).create();
    let admin: AdminClient<DefaultClientContext> = client?;
    admin.delete_topics(&[&topic], &AdminOptions::new()).await?;
    system.eventually("the topic is made again", async || Ok(system.migrate().is_ok())).await?;
    write(&system, 40..45).await?;
    system.eventually("what is written to it is in the table", async || held(45).await).await?;
    system.eventually("five are committed, and not forty", async || Ok(position()? == 5)).await?;
    let persister = system.persister.take().context("persister")?;
    let status = persister.stop(Duration::from_secs(20))?;
    assert!(status.is_some_and(|status| status.success()), "{status:?}\n{}", persister.log_tail(20));
    assert_eq!(
        committed(&brokers, &system.group, &topic)?.get(&0),
        Some(&5),
        "old progress was committed at the revoke"
    );
    write(&system, 45..95).await?;
    system.start_persister().await?;
    system.eventually("nothing was passed over", async || held(95).await).await
}
