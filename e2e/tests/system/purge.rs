//! `persister purge` (R18): what it takes stays deleted, and its mark never passes anything that is on its way.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::topic_reader::read_all;
use e2e::{Load, Servers, System};
use record::{Change, Event, Origin, RecordId, SchemaId, Version};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Row;
use topic::Outgoing;

use crate::commands::{Said, purge, replay, verify};
use crate::faults::{settled, while_acknowledging};
use crate::order::publisher;
use crate::verify::{drained, key, redis, root};

async fn mark(system: &System) -> Result<u64> {
    let sql = "SELECT purged FROM _write_behind_entities WHERE entity = 'users'";
    Ok(sqlx::query_scalar(sql).fetch_one(&root(system).await?).await?)
}

/// Version and whether it is deleted; `None` where there is no row.
async fn row(system: &System, id: &str) -> Result<Option<(u64, bool)>> {
    let row = sqlx::query("SELECT version, deleted FROM users WHERE id = ?").bind(id.to_owned());
    Ok(row.fetch_optional(&root(system).await?).await?.map(|row| (row.get(0), row.get(1))))
}

fn version(answer: &Value) -> Result<u64> {
    answer["version"].as_u64().context("a version")
}

async fn put(system: &System, id: &str) -> Result<u64> {
    version(&system.put("users", id, &json!({ "name": "Jane", "age": 1 })).await?)
}

async fn delete(system: &System, id: &str) -> Result<u64> {
    version(&system.call(Method::DELETE, &format!("/users/{id}"), None).await?.json().await?)
}

/// As young as a purge may go, by the other numbers. Nothing here is on its way to the topic for as long as that.
const YOUNG: [&str; 4] = ["--purge-age-s=3", "--idempotency-ttl-s=2", "--settled-ttl-s=1", "--produce-deadline-ms=400"];
const AGE: Duration = Duration::from_millis(3100);

/// A purge of everything that is there now.
async fn purge_now(system: &System) -> Result<Said> {
    tokio::time::sleep(AGE).await;
    purge(system, &YOUNG).await
}

#[tokio::test]
async fn r18_an_older_put_that_comes_after_the_purge_does_not_bring_a_record_back() -> Result<()> {
    let system = System::start().await?;
    put(&system, "stays").await?;
    let first = put(&system, "1").await?;
    let deleted = delete(&system, "1").await?;
    drained(&system).await?;
    assert_eq!(row(&system, "1").await?, Some((deleted, true)));
    let dry = {
        tokio::time::sleep(AGE).await;
        purge(&system, &[&YOUNG[..], &["--dry-run"]].concat()).await?
    };
    assert_eq!((dry.code, &dry.object()?["rows"]), (Some(0), &json!(1)), "{dry:?}");
    assert_eq!((mark(&system).await?, row(&system, "1").await?.is_some()), (0, true), "a dry run did something");

    let said = purge_now(&system).await?;
    assert_eq!((said.code, &said.object()?["rows"]), (Some(0), &json!(1)), "{said:?}");
    assert_eq!(said.object()?["held_by"], "the purge age");
    assert_eq!(row(&system, "1").await?, None, "the tombstone is still there");
    assert!(row(&system, "stays").await?.is_some(), "a purge took a record that is not deleted");
    let in_force = mark(&system).await?;
    assert_eq!(in_force % 16, 15, "k16c: {in_force} is a version that somebody may have");
    assert!(in_force > deleted);
    let well = verify(&system, &[]).await?;
    assert_eq!(well.code, Some(0), "what was purged is no difference: {well:?}");

    // d11: as if the handler had stood still since before the delete.
    let topic = format!("{}users", system.topic_prefix);
    let events = read_all(&system.servers.kafka.brokers(), &topic)?;
    let old = events.iter().find(|event| event.header("version") == Some(&first.to_string())).context("the put")?;
    let datum = old.value.as_deref().and_then(|value| value.get(5..)).context("a datum")?;
    let change = Change::Upsert { schema: SchemaId::new(2), datum: datum.into() };
    let late = Event { id: RecordId::parse("1")?, version: Version::new(first + 16)?, origin: Origin::Write, change };
    publisher(&system)?.publish(Outgoing { topic: &topic, event: &late, trace: None }).await?;
    put(&system, "2").await?;
    drained(&system).await?;
    assert_eq!(row(&system, "1").await?, None, "a purged record came back");
    let all = replay(&system, &["--all"]).await?;
    assert_eq!((all.code, &all.object()?["changed"]), (Some(0), &json!(0)), "{all:?}");
    assert_eq!(row(&system, "1").await?, None, "a replay brought a purged record back");
    Ok(())
}

#[tokio::test]
async fn k15_the_mark_stays_below_an_event_that_is_logged_and_not_applied() -> Result<()> {
    let mut system = System::start().await?;
    put(&system, "stays").await?;
    delete(&system, "gone").await?;
    drained(&system).await?;
    system.persister.take().context("persister")?.stop(Duration::from_secs(20))?;
    let waiting = put(&system, "1").await?;
    // Not even the cache knows of it: the topic alone must hold the mark.
    let () = ::redis::cmd("DEL")
        .arg(key(&mut redis(&system).await?, "1").await?)
        .query_async(&mut redis(&system).await?)
        .await?;
    for name in ["outbox", "unsettled"] {
        let keys: Vec<String> =
            ::redis::cmd("KEYS").arg(format!("wb:*:{name}")).query_async(&mut redis(&system).await?).await?;
        for key in keys {
            let () = ::redis::cmd("DEL").arg(key).query_async(&mut redis(&system).await?).await?;
        }
    }
    let said = purge_now(&system).await?;
    assert_eq!((said.code, &said.object()?["held_by"]), (Some(0), &json!("the oldest unapplied event")), "{said:?}");
    assert_eq!(mark(&system).await?, waiting - 1, "the mark is not just below the event");
    assert_eq!(row(&system, "gone").await?, None, "what is older than the event is purged all the same");
    system.start_persister().await?;
    system.eventually("the event is applied", async || Ok(row(&system, "1").await?.is_some())).await?;
    Ok(())
}

#[tokio::test]
async fn k34_the_mark_stays_below_whatever_the_cache_still_waits_for() -> Result<()> {
    let mut system = System::start().await?;
    let written = put(&system, "1").await?;
    drained(&system).await?;
    // Nobody is to mend what is planted.
    system.ingest.take().context("ingest")?.kill()?;
    let record = key(&mut redis(&system).await?, "1").await?;
    for (index, held_by) in [("unsettled", "the oldest unsettled entry"), ("outbox", "the oldest outbox entry")] {
        let index = record.replace("record:users:1", index);
        let mut cache = redis(&system).await?;
        let () = ::redis::cmd("ZADD").arg(&index).arg(written).arg("users:1").query_async(&mut cache).await?;
        let said = purge_now(&system).await?;
        assert_eq!((said.code, &said.object()?["held_by"]), (Some(0), &json!(held_by)), "{said:?}");
        assert_eq!(mark(&system).await?, written - 1, "{index}");
        let () = ::redis::cmd("DEL").arg(&index).query_async(&mut cache).await?;
    }
    Ok(())
}

#[tokio::test]
async fn r18_no_purge_while_the_cache_is_in_doubt_or_away() -> Result<()> {
    let mut system = System::start().await?;
    put(&system, "stays").await?;
    delete(&system, "gone").await?;
    drained(&system).await?;
    // Nobody is to mend what is planted.
    system.ingest.take().context("ingest")?.kill()?;
    system.persister.take().context("persister")?.stop(Duration::from_secs(20))?;
    let mut cache = redis(&system).await?;
    let () = ::redis::cmd("SET").arg("wb:{07}:incomplete").arg(1).query_async(&mut cache).await?;
    let said = purge_now(&system).await?;
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.log.contains("shard 7: the cache is incomplete"), "{said:?}");
    let () = ::redis::cmd("DEL").arg("wb:{07}:incomplete").query_async(&mut cache).await?;
    let epoch: Option<String> = ::redis::cmd("HGET").arg("wb:{03}:epoch").arg("run_id").query_async(&mut cache).await?;
    let () = ::redis::cmd("HSET").arg("wb:{03}:epoch").arg("run_id").arg("another").query_async(&mut cache).await?;
    let said = purge_now(&system).await?;
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.log.contains("shard 3: Redis has changed"), "{said:?}");
    let () = ::redis::cmd("HSET").arg("wb:{03}:epoch").arg("run_id").arg(epoch).query_async(&mut cache).await?;
    let words = [&["purge"], &YOUNG[..]].concat();
    let mut away = crate::commands::command(&system, &system.accounts.persister, &words);
    away.env("REDIS_URL", "redis://127.0.0.1:1");
    let said = crate::commands::run(away).await?;
    assert_eq!(said.code, Some(2), "{said:?}");
    assert_eq!((mark(&system).await?, row(&system, "gone").await?.is_some()), (0, true), "something was purged");
    let said = purge_now(&system).await?;
    assert_eq!((said.code, row(&system, "gone").await?), (Some(0), None), "{said:?}");
    Ok(())
}

/// The mark is a time: from a clock that is ahead it would pass what is younger than the purge age.
#[tokio::test]
async fn r18_no_purge_while_the_clocks_of_this_machine_redis_and_the_database_disagree() -> Result<()> {
    let mut servers = Servers::own()?;
    let options = stack::RedisOptions { clock: true, ..stack::RedisOptions::default() };
    let place = stack::Place::attached(stack::shared::scratch("redis-clock"));
    servers.redis = Box::leak(Box::new(stack::Redis::start_with(&stack::Tools::find(), &place, options)?));
    let mut system = System::prepare(servers)?.up().await?;
    put(&system, "stays").await?;
    delete(&system, "gone").await?;
    drained(&system).await?;
    // They would not write by such clocks, nor is anything to write.
    system.ingest.take().context("ingest")?.kill()?;
    system.persister.take().context("persister")?.stop(Duration::from_secs(20))?;
    let refused = async |clock: &str| -> Result<()> {
        let said = purge_now(&system).await?;
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.log.contains(&format!("the clock of {clock}")), "{said:?}");
        assert_eq!((mark(&system).await?, row(&system, "gone").await?.is_some()), (0, true), "something was purged");
        Ok(())
    };
    for seconds in [3600, -3600] {
        servers.redis.step_clock(seconds)?;
        refused("Redis").await?;
    }
    servers.redis.step_clock(0)?;
    for clock in ["UNIX_TIMESTAMP() + 3600", "UNIX_TIMESTAMP() - 3600"] {
        servers.database.query(&format!("SET GLOBAL init_connect = 'SET timestamp = {clock}'"))?;
        refused("the database").await?;
    }
    servers.database.query("SET GLOBAL init_connect = ''")?;
    let said = purge_now(&system).await?;
    assert_eq!((said.code, row(&system, "gone").await?), (Some(0), None), "{said:?}");
    Ok(())
}

#[tokio::test]
async fn r18_a_table_whose_every_record_was_deleted_and_purged_is_none_that_was_emptied() -> Result<()> {
    let mut system = System::start().await?;
    for id in ["1", "2", "3"] {
        put(&system, id).await?;
        delete(&system, id).await?;
    }
    drained(&system).await?;
    let said = purge_now(&system).await?;
    assert_eq!((said.code, &said.object()?["rows"]), (Some(0), &json!(2)), "{said:?}");
    system.persister.take().context("persister")?.stop(Duration::from_secs(20))?;
    system.start_persister().await?;
    put(&system, "4").await?;
    system.eventually("the persister goes on", async || Ok(row(&system, "4").await?.is_some())).await?;
    let said = purge_now(&system).await?;
    assert_eq!((said.code, &said.object()?["rows"]), (Some(0), &json!(1)), "what stayed goes with the next: {said:?}");
    let well = verify(&system, &[]).await?;
    assert_eq!(well.code, Some(0), "{well:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r18_purges_beside_lanes_and_a_replay_come_to_their_end_and_lose_nothing() -> Result<()> {
    let system = System::start().await?;
    let load = Load::start(&system.ingest_url, 8, 5000, 5);
    while_acknowledging(&load, 300).await?;
    let (mut purged, mut rounds) = (0, 0);
    while rounds < 4 || purged == 0 {
        rounds += 1;
        ensure!(rounds < 30, "no tombstone was old enough");
        tokio::time::sleep(Duration::from_millis(800)).await;
        let words = [&YOUNG[..], &["--chunk=7", "--pause-ms=1"]].concat();
        let (said, replayed) = tokio::join!(purge(&system, &words), replay(&system, &["--all"]));
        let (said, replayed) = (said?, replayed?);
        ensure!(said.code == Some(0), "{said:?}");
        ensure!(replayed.code == Some(0), "{replayed:?}");
        purged += said.object()?["rows"].as_u64().context("rows")?;
    }
    let held = system.metrics(&system.persister_admin_url).await?;
    let holds: Vec<_> =
        held.lines().filter(|line| line.starts_with("write_behind_lane_held") && line.ends_with(" 1")).collect();
    assert!(holds.is_empty(), "lanes hold: {holds:?}");
    let journal = load.finish().await?;
    // As lanes and purges have left it: what comes after could only hide what they have lost.
    settled(&system, &journal).await?;
    let well = verify(&system, &[]).await?;
    assert_eq!(well.code, Some(0), "{well:?}");
    Ok(())
}
