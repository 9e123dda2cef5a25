//! A persister that loses its place in the group gets it again by itself, in the same process, whatever librdkafka makes of it:
//! after an outage of Kafka that was longer than its session, where its name was another's, and where it hangs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::journal::Load;
use e2e::system::metric;
use e2e::topic_reader::committed;
use e2e::{Servers, System};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, MySqlConnection, Row};
use stack::{Kafka, KafkaOptions, Lifetime, Place, Process, Tools, shared};

use crate::faults::while_acknowledging;
use crate::group::{free_url, nothing_is_lost, prepared};

fn own_kafka() -> Result<Servers> {
    let place = Place::attached(shared::scratch("kafka"));
    let kafka = Box::leak(Box::new(Kafka::start(&Tools::find(), &place, KafkaOptions::default())?));
    Ok(Servers { kafka, ..Servers::shared() })
}

async fn count(system: &System, url: &str, series: &str) -> Result<f64> {
    metric(&system.metrics(url).await?, series).with_context(|| series.to_owned())
}

const LOST: &str = "write_behind_rebalances_total{kind=\"lost\"}";
const UNSTEADY: &str = "write_behind_consumers_replaced_total{reason=\"unsteady\"}";
const NAME_TAKEN: &str = "write_behind_consumers_replaced_total{reason=\"name-taken\"}";

/// It dies or stands still, for longer than a session, or than two: what librdkafka still wants to commit then is answered in
/// more than one way.
async fn kafka_is_away_for_longer_than_the_session(protocol: &str) -> Result<()> {
    let system = prepared(own_kafka()?)?.with("UNSTEADY_MOST_MS", "6000").with("GROUP_PROTOCOL", protocol);
    let system = system.with("GROUP_INSTANCE_ID", "persister-0").up().await?;
    let (kafka, persister) = (system.servers.kafka, system.persister.as_ref().context("persister")?);
    let load = Load::start(&system.ingest_url, 4, 50, 11);
    let table = system.table().await?;
    for (away, frozen) in [(3_400, false), (8_000, false), (8_000, true)] {
        while_acknowledging(&load, 100).await?;
        if frozen {
            kafka.pause()?;
        } else {
            kafka.kill()?;
        }
        tokio::time::sleep(Duration::from_millis(away)).await;
        if frozen {
            kafka.resume()?;
        } else {
            kafka.restart()?;
        }
        system
            .eventually("what is written comes into the table again", async || {
                let answer = system.call(Method::DELETE, "/users/asked", None).await?.json::<Value>().await?;
                let version = answer["version"].as_u64().context("a version")?;
                tokio::time::sleep(Duration::from_millis(300)).await;
                let held = sqlx::query("SELECT version FROM users WHERE id = 'asked'").fetch_optional(&table).await?;
                Ok(held.is_some_and(|row| row.get::<u64, _>(0) >= version))
            })
            .await
            .with_context(|| format!("Kafka was away for {away} ms"))?;
    }
    let journal = load.finish().await?;
    nothing_is_lost(&system, &journal).await?;
    ensure!(persister.is_running(), "it has ended\n{}", persister.log_tail(30));
    let lost = count(&system, &system.persister_admin_url, LOST).await?;
    // Under KIP-848 the brokers alone count the session, and a broker that comes back begins it anew.
    ensure!(lost >= 1.0 || protocol == "consumer", "its session was never over: this proves nothing");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_persister_with_a_name_takes_up_its_partitions_again_when_kafka_was_away_for_longer_than_its_session()
-> Result<()> {
    kafka_is_away_for_longer_than_the_session("classic").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kip_848_the_same_holds() -> Result<()> {
    kafka_is_away_for_longer_than_the_session("consumer").await
}

/// Two of one name: a mistake, which is said; and nobody takes it back, or they would do so in turns for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_persister_whose_name_another_one_takes_says_so_and_waits_until_the_name_is_free() -> Result<()> {
    let system = prepared(Servers::shared())?.with("GROUP_INSTANCE_ID", "persister-0").up().await?;
    let load = Load::start(&system.ingest_url, 4, 50, 11);
    while_acknowledging(&load, 100).await?;
    let (first, url) = (system.persister.as_ref().context("persister")?, free_url()?);
    let second = Process::spawn(&system.persister_spec(&url), Lifetime::Attached)?;
    system
        .eventually("the first is told", async || {
            Ok(count(&system, &system.persister_admin_url, NAME_TAKEN).await? == 1.0)
        })
        .await?;
    system
        .eventually("it says who has it", async || Ok(first.log_tail(60).contains("waiting until it is free")))
        .await?;
    let log = first.log_tail(60);
    ensure!(log.contains("--group-instance-id"), "the reason is not named\n{log}");
    let shown = system.client.get(format!("{}/readyz", system.persister_admin_url)).send().await?;
    ensure!(shown.status() == 503, "it is no member, and cannot be ready: {}", shown.status());
    // Twice as long as a session.
    while_acknowledging(&load, 100).await?;
    tokio::time::sleep(Duration::from_secs(6)).await;
    for (who, url) in [("first", &system.persister_admin_url), ("second", &url)] {
        let (taken, lost) = (count(&system, url, NAME_TAKEN).await?, count(&system, url, LOST).await?);
        ensure!(
            taken == f64::from(u8::from(who == "first")) && lost <= taken,
            "of the {who}: {taken}, {lost}: they fight"
        );
    }
    second.kill()?;
    system.ready(first, &system.persister_admin_url).await?;
    while_acknowledging(&load, 100).await?;
    let journal = load.finish().await?;
    nothing_is_lost(&system, &journal).await
}

/// KIP-848 refuses the name to whoever comes, until the session of the one before is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kip_848_a_persister_that_comes_after_a_crash_waits_for_its_own_name_and_goes_on() -> Result<()> {
    let system = prepared(Servers::shared())?.with("GROUP_PROTOCOL", "consumer");
    let mut system = system.with("GROUP_INSTANCE_ID", "persister-0").up().await?;
    let load = Load::start(&system.ingest_url, 4, 50, 11);
    while_acknowledging(&load, 100).await?;
    system.persister.take().context("persister")?.kill()?;
    system.start_persister().await?;
    let refused = count(&system, &system.persister_admin_url, NAME_TAKEN).await?;
    ensure!(refused >= 1.0, "the name was free at once: this proves nothing");
    let journal = load.finish().await?;
    nothing_is_lost(&system, &journal).await
}

/// The group waits for a member that stands still, so that the first one has no place for longer than it may. Its lane is in
/// its transaction all the while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g7_what_a_lane_of_a_consumer_that_was_given_up_brings_is_never_committed_by_it() -> Result<()> {
    let servers = Servers { database: crate::mysql_errors::own_database()?, ..Servers::shared() };
    let system = prepared(servers)?.with("TOPIC_PARTITIONS", "1").with("UNSTEADY_MOST_MS", "4000").up().await?;
    let topic = format!("{}users", system.topic_prefix);
    let position = || anyhow::Ok(committed(&system.servers.kafka.brokers(), &system.group, &topic)?.get(&0).copied());
    system.put("users", "1", &json!({ "name": "first", "age": 1 })).await?;
    system.eventually("the first event is committed", async || Ok(position()? == Some(1))).await?;
    let patient = |url: &str| {
        let spec = system.persister_spec(url).env("SESSION_TIMEOUT_MS", "25000");
        spec.env("POLL_INTERVAL_MOST_MS", "26000").env("UNSTEADY_MOST_MS", "27000")
    };
    let (second_url, third_url) = (free_url()?, free_url()?);
    let second = Process::spawn(&patient(&second_url), Lifetime::Attached)?;
    system.ready(&second, &second_url).await?;

    // The only partition may be either's.
    let mut lock = Box::pin(MySqlConnection::connect(&system.accounts.root)).await?;
    lock.execute("START TRANSACTION").await?;
    lock.execute("SELECT * FROM _write_behind_entities FOR UPDATE").await?;
    system.put("users", "1", &json!({ "name": "second", "age": 1 })).await?;
    system
        .eventually("the lane waits for the lock", async || {
            let waits = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'";
            Ok(system.servers.database.query(waits)?.trim() != "0")
        })
        .await?;
    second.pause()?;
    let third = Process::spawn(&patient(&third_url), Lifetime::Attached)?;
    let first = &system.persister_admin_url;
    system.eventually("the first is given up", async || Ok(count(&system, first, UNSTEADY).await? >= 1.0)).await?;
    lock.execute("ROLLBACK").await?;
    system
        .eventually("its lane is not believed", async || {
            Ok(count(&system, first, "write_behind_commit_failures_total{reason=\"AssignmentLost\"}").await? >= 1.0)
        })
        .await?;
    let table = system.table().await?;
    let name = async || -> Result<String> {
        Ok(sqlx::query("SELECT name FROM users WHERE id = '1'").fetch_one(&table).await?.get(0))
    };
    ensure!(name().await? == "second", "the lane has not brought its event: this proves nothing");
    tokio::time::sleep(Duration::from_millis(500)).await;
    ensure!(position()? == Some(1), "it is committed by a consumer that was given up: {:?}", position()?);
    second.resume()?;
    third.kill()?;
    system.eventually("the group goes on", async || Ok(position()? == Some(2))).await
}
