//! `persister replay` (R19): a live table stays as it is, an empty one becomes what it was, and what is in the way stops nothing.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::topic_reader::{committed, read_all};
use e2e::{Load, Servers, System};
use serde_json::json;
use sqlx::Row;

use crate::commands::{command, replay, run, verify};
use crate::faults::{settled, while_acknowledging};
use crate::verify::{drained, root, sql};

/// Every row, but for the time at which it came.
pub(crate) async fn rows(system: &System) -> Result<Vec<String>> {
    let sql = "SELECT CAST(CONCAT_WS('|', id, name, age, occupation, first_name, last_name, version, deleted, log_offset) AS CHAR) \
               FROM users ORDER BY id";
    Ok(sqlx::query_scalar(sql).fetch_all(&root(system).await?).await?)
}

async fn updated(system: &System) -> Result<String> {
    let sql = "SELECT CAST(COALESCE(MAX(updated_at), 0) AS CHAR) FROM users";
    Ok(sqlx::query_scalar(sql).fetch_one(&root(system).await?).await?)
}

/// A system with a table full of updates and deletes, drained.
pub(crate) async fn written() -> Result<System> {
    let system = System::start().await?;
    let load = Load::start(&system.ingest_url, 8, 60, 3);
    while_acknowledging(&load, 1000).await?;
    let journal = load.finish().await?;
    settled(&system, &journal).await?;
    drained(&system).await?;
    Ok(system)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r19_replaying_everything_over_a_live_system_changes_no_row() -> Result<()> {
    let system = System::start().await?;
    let load = Load::start(&system.ingest_url, 8, 60, 3);
    while_acknowledging(&load, 600).await?;
    // Beside traffic: whatever a replay does, the newest version wins.
    let beside = replay(&system, &["--all"]).await?;
    assert_eq!(beside.code, Some(0), "{beside:?}");
    let journal = load.finish().await?;
    settled(&system, &journal).await?;
    drained(&system).await?;

    let (topic, brokers) = (format!("{}users", system.topic_prefix), system.servers.kafka.brokers());
    let before = (rows(&system).await?, updated(&system).await?, read_all(&brokers, &topic)?.len());
    let offsets = committed(&brokers, &system.group, &topic)?;
    let said = replay(&system, &["--all"]).await?;
    assert_eq!(said.code, Some(0), "{said:?}");
    let object = said.object()?;
    assert_eq!((&object["changed"], &object["poison"]), (&json!(0), &json!(0)), "{object}");
    assert_eq!(object["events"], before.2, "{object}");
    let after = (rows(&system).await?, updated(&system).await?, read_all(&brokers, &topic)?.len());
    assert_eq!(after, before, "a replay changed rows, or put something on the topic");
    assert_eq!(committed(&brokers, &system.group, &topic)?, offsets, "a replay moved the group's offsets");
    let well = verify(&system, &[]).await?;
    assert_eq!(well.code, Some(0), "{well:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r19_an_empty_table_becomes_what_it_was_row_for_row_deletes_included() -> Result<()> {
    let mut system = written().await?;
    let before = rows(&system).await?;
    assert!(before.iter().any(|row| row.contains("|1|")), "no delete among {before:?}");
    let table = root(&system).await?;
    system.persister.take().context("persister")?.stop(Duration::from_secs(20))?;
    sqlx::query("TRUNCATE TABLE users").execute(&table).await?;
    let said = replay(&system, &["--all"]).await?;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(rows(&system).await?, before, "the topic gives another table");
    assert!(said.object()?["changed"].as_u64() >= Some(before.len() as u64), "{said:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r19_a_table_that_was_purged_is_rebuilt_only_with_its_mark_put_back_and_the_group_stopped() -> Result<()> {
    let mut system = written().await?;
    let before = rows(&system).await?;
    let table = root(&system).await?;
    sql(&table, "UPDATE _write_behind_entities SET purged = 9007199254740991 - 16").await?;
    sqlx::query("TRUNCATE TABLE users").execute(&table).await?;
    let refused = replay(&system, &["--all"]).await?;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.log.contains("--reset-purge-mark"), "{refused:?}");
    let refused = replay(&system, &["--all", "--reset-purge-mark"]).await?;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.log.contains("persisters are running"), "{refused:?}");
    assert!(rows(&system).await?.is_empty());
    system.persister.take().context("persister")?.stop(Duration::from_secs(20))?;
    let said = replay(&system, &["--all", "--reset-purge-mark"]).await?;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(rows(&system).await?, before, "the topic gives another table");
    let refused = replay(&system, &["--all", "--reset-purge-mark"]).await?;
    assert_eq!(refused.code, Some(0), "a mark of 0 needs no reset: {refused:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r19_a_killed_replay_goes_on_where_it_was() -> Result<()> {
    let mut system = written().await?;
    let before = rows(&system).await?;
    let table = root(&system).await?;
    system.persister.take().context("persister")?.stop(Duration::from_secs(20))?;
    sqlx::query("TRUNCATE TABLE users").execute(&table).await?;
    let none = replay(&system, &["--resume"]).await?;
    assert_eq!(none.code, Some(2), "{none:?}");
    assert!(none.log.contains("no replay was interrupted"), "{none:?}");

    let begun = Instant::now();
    let mut slow = command(&system, &system.accounts.persister, &["replay", "--all", "--rate-most=200"]);
    let mut slow = slow.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let left = || async {
        let sql = "SELECT CAST(COALESCE(SUM(until - next), 0) AS SIGNED), COUNT(*) FROM _write_behind_replays";
        let row = sqlx::query(sql).fetch_one(&table).await?;
        anyhow::Ok((row.get::<i64, _>(0), row.get::<i64, _>(1)))
    };
    system.eventually("the replay has begun", async || Ok(left().await?.1 > 0)).await?;
    let whole = left().await?.0;
    system.eventually("it has noted how far it is", async || Ok(left().await?.0 < whole)).await?;
    slow.kill()?;
    slow.wait()?;
    let (rest, _) = left().await?;
    let brought = whole - rest;
    assert!(rest > 0, "it came to its end");
    assert!(i64::try_from(begun.elapsed().as_millis())? * 2 / 10 + 60 >= brought, "{brought} in {:?}", begun.elapsed());
    let said = replay(&system, &["--resume"]).await?;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(said.object()?["events"], rest, "it did not go on where it was: {said:?}");
    assert_eq!(rows(&system).await?, before);
    assert_eq!(left().await?.1, 0, "it is noted although it has ended");
    Ok(())
}

/// One of two clocks is wrong, and nobody knows which: such an event is neither left out nor named as one that cannot be applied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r13_r19_what_is_from_the_future_by_one_clock_alone_waits_and_is_replayed() -> Result<()> {
    let servers = Servers { database: crate::mysql_errors::own_database()?, ..Servers::shared() };
    let system = System::prepare(servers)?;
    system.migrate()?;
    let ahead = (service::clock::now_micros() / 16 + 1_000_000) * 16;
    let event = record::Event {
        id: record::RecordId::parse("ahead")?,
        version: record::Version::new(ahead)?,
        origin: record::Origin::Write,
        change: record::Change::Tombstone,
    };
    let topic = format!("{}users", system.topic_prefix);
    let outgoing = topic::Outgoing { topic: &topic, event: &event, trace: None };
    crate::order::publisher(&system)?.publish(outgoing).await?;
    // Of every connection that is made from now on.
    system.servers.database.query("SET GLOBAL init_connect = 'SET timestamp = UNIX_TIMESTAMP() + 3600'")?;
    let said = replay(&system, &["--all", "--entity=users", "--future-most-ms=1000"]).await?;
    assert!(said.log.contains("the future by this machine's clock"), "nobody is told why: {said:?}");
    assert_eq!(said.code, Some(0), "a good event cannot be applied: {said:?}");
    assert!(service::clock::now_micros() + 1_000_000 >= ahead, "it was applied while the clocks disagreed");
    let row: u64 =
        sqlx::query_scalar("SELECT version FROM users WHERE id = 'ahead'").fetch_one(&root(&system).await?).await?;
    assert_eq!(row, ahead);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r19_a_replay_begins_where_it_is_told_to() -> Result<()> {
    let mut system = System::start().await?;
    let body = |n: u32| json!({ "name": format!("User {n}"), "age": n });
    for id in 1..=10 {
        system.put("users", &id.to_string(), &body(id)).await?;
    }
    drained(&system).await?;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let since: String = sqlx::query_scalar("SELECT DATE_FORMAT(UTC_TIMESTAMP(3), '%Y-%m-%dT%H:%i:%s.%fZ')")
        .fetch_one(&root(&system).await?)
        .await?;
    tokio::time::sleep(Duration::from_millis(20)).await;
    for id in 11..=14 {
        system.put("users", &id.to_string(), &body(id)).await?;
    }
    drained(&system).await?;
    system.persister.take().context("persister")?.stop(Duration::from_secs(20))?;
    let table = root(&system).await?;
    sqlx::query("TRUNCATE TABLE users").execute(&table).await?;
    let said = replay(&system, &[&format!("--since={since}")]).await?;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(said.object()?["events"], 4, "since {since}: {said:?}");

    let topic = format!("{}users", system.topic_prefix);
    let events = read_all(&system.servers.kafka.brokers(), &topic)?;
    let partition = events[0].partition;
    let own: Vec<_> = events.iter().filter(|event| event.partition == partition).collect();
    let at = own[own.len() / 2].offset;
    let behind = own.iter().filter(|event| event.offset >= at).count();
    let said = replay(&system, &["--entity=users", &format!("--from-offset={partition}={at}")]).await?;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(said.object()?["events"], behind, "{said:?}");
    let nowhere = replay(&system, &["--entity=users", "--from-offset=99=0"]).await?;
    assert_eq!(nowhere.code, Some(2), "{nowhere:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_is_told_to_stop_stops_and_shows_how_far_it_is() -> Result<()> {
    let system = written().await?;
    let listen = format!("127.0.0.1:{}", stack::port::free()?);
    let words = ["replay", "--all", "--rate-most=100", "--replay-listen", &listen];
    let mut slow = command(&system, &system.accounts.persister, &words);
    let child = slow.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id())?);
    system
        .eventually("its metrics are shown", async || {
            let Ok(text) = system.metrics(&format!("http://{listen}")).await else { return Ok(false) };
            let shown =
                |name: &str| e2e::system::metric(&text, &format!("write_behind_replay_{name}{{entity=\"users\"}}"));
            let rows = shown("rows_changed_total") == Some(0.0) && shown("poison_total") == Some(0.0);
            Ok(rows && shown("events_total") > Some(0.0) && shown("remaining_events") > Some(0.0))
        })
        .await?;
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
    let mut child = child;
    let status = tokio::task::spawn_blocking(move || child.wait()).await??;
    assert_eq!(status.code(), Some(2));
    let said = replay(&system, &["--resume"]).await?;
    ensure!(said.code == Some(0), "{said:?}");
    let words = ["replay", "--all", "--entity=users"];
    let text = run(command(&system, &system.accounts.persister, &words)).await?.out;
    assert!(text.starts_with("users: ") && text.contains(" 0 rows changed, "), "{text}");
    Ok(())
}
