//! What can never be applied goes to the dead letters, and nothing else does: R13's second half, R14's last sentences, G7, G8.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use e2e::system::{FAIL_POINTS, PATIENCE, metric};
use e2e::topic_reader::{Read, committed, read_all};
use e2e::{Servers, System};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor, Row};
use stack::{Lifetime, Process};

use crate::order::publisher;
use record::{Change, Event, Origin, RecordId, SchemaId, Version};
use topic::Outgoing;

/// Names of more than this many characters are refused by the table.
pub(crate) const SHORT: &str = "ALTER TABLE users MODIFY name VARCHAR(8)";
pub(crate) const POISON: &str = "much too long a name";

pub(crate) fn topic(system: &System) -> String {
    format!("{}users", system.topic_prefix)
}

pub(crate) fn named(name: &str) -> Value {
    json!({ "name": name, "age": 1 })
}

/// Runs SQL as root in the system's database.
pub(crate) async fn alter(system: &System, sql: &str) -> Result<()> {
    let pool = Box::pin(sqlx::MySqlPool::connect(&system.accounts.root)).await?;
    // As text: MySQL prepares no CREATE TRIGGER.
    pool.execute(AssertSqlSafe(sql.to_owned())).await.with_context(|| sql.to_owned())?;
    Ok(())
}

/// One partition, so that the order of all events is known; a table that refuses long names; no persister yet, so that all
/// that is written comes in one batch.
pub(crate) async fn prepared(settings: &[(&str, &str)]) -> Result<System> {
    let mut system = System::prepare(Servers::shared())?.with("TOPIC_PARTITIONS", "1");
    for (name, value) in settings {
        system = system.with(name, value);
    }
    system.migrate()?;
    alter(&system, SHORT).await?;
    system.start_ingest().await?;
    Ok(system)
}

pub(crate) async fn put(system: &System, id: &str, name: &str) -> Result<u64> {
    system.put("users", id, &named(name)).await?["version"].as_u64().context("version")
}

/// Id and name of every row that is not deleted.
pub(crate) async fn rows(system: &System) -> Result<BTreeMap<String, String>> {
    let rows = sqlx::query("SELECT id, name FROM users WHERE NOT deleted").fetch_all(&system.table().await?).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

pub(crate) fn letters(system: &System) -> Result<Vec<Read>> {
    read_all(&system.servers.kafka.brokers(), &format!("{}.dead", topic(system)))
}

/// Offset, id, version and reason of what is noted, in order.
pub(crate) async fn notes(system: &System) -> Result<Vec<(i64, Option<String>, Option<u64>, String)>> {
    let sql = "SELECT `offset`, id, version, reason FROM _write_behind_dead_letters ORDER BY `offset`";
    let rows = sqlx::query(sql).fetch_all(&system.table().await?).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect())
}

/// The offset that is committed in the only partition.
pub(crate) fn position(system: &System) -> Result<i64> {
    let all = committed(&system.servers.kafka.brokers(), &system.group, &topic(system))?;
    Ok(all.get(&0).copied().unwrap_or(0))
}

pub(crate) async fn counted(system: &System, series: &str) -> Result<Option<f64>> {
    Ok(metric(&system.metrics(&system.persister_admin_url).await?, &format!("write_behind_{series}")))
}

pub(crate) async fn until_behind(system: &System, events: i64) -> Result<()> {
    let what = format!("the offset has passed {events} events");
    system.eventually(&what, async || Ok(position(system)? >= events)).await
}

pub(crate) async fn holds(system: &System, class: &str) -> Result<bool> {
    let series = format!("lane_held{{class=\"{class}\",partition=\"0\",topic=\"{}\"}}", topic(system));
    Ok(counted(system, &series).await? == Some(1.0))
}

async fn state(system: &System, id: &str) -> Result<Option<String>> {
    let shown = system.call(Method::GET, &format!("/users/{id}"), None).await?;
    Ok(shown.headers().get("write-behind-state").map(|state| state.to_str().unwrap_or_default().to_owned()))
}

pub(crate) fn accept(system: &System, until: &str) -> Result<()> {
    let spec = system.spec("persister", "accept", &system.accounts.persister);
    let spec = spec.arg("dead").arg("accept").arg("--until").arg(until).arg("--entity").arg("users");
    let process = stack::Process::spawn(&spec, stack::Lifetime::Attached)?;
    let ended = process.wait(PATIENCE)?;
    let well = matches!(ended, stack::Ended::Yes(Some(status)) if status.success());
    anyhow::ensure!(well, "{ended:?}\n{}", process.log_tail(20));
    Ok(())
}

/// `k48`, `k43`: mates are applied, the letter is whole, the fate is noted, and the cache lets go of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g8_a_refused_event_is_a_dead_letter_and_its_batch_mates_are_applied() -> Result<()> {
    let mut system = prepared(&[]).await?;
    for id in 0..30 {
        put(&system, &format!("before{id}"), "Jane").await?;
    }
    let version = put(&system, "bad", POISON).await?;
    for id in 0..30 {
        put(&system, &format!("after{id}"), "Jane").await?;
    }
    system.start_persister().await?;
    until_behind(&system, 61).await?;
    assert_eq!(rows(&system).await?.len(), 60, "the mates of a bad event");

    let original = read_all(&system.servers.kafka.brokers(), &topic(&system))?.remove(30);
    let [letter] = &letters(&system)?[..] else { panic!("one letter: {:?}", letters(&system)?) };
    assert_eq!((&letter.key, &letter.value, letter.partition), (&original.key, &original.value, 0));
    assert_eq!(letter.headers[..original.headers.len()], original.headers[..], "its headers are kept");
    let of = |name: &str| letter.header(&format!("__connect.errors.{name}")).map(ToOwned::to_owned);
    assert_eq!(
        (of("topic"), of("partition"), of("offset")),
        (Some(topic(&system)), Some("0".into()), Some("30".into()))
    );
    assert_eq!(of("exception.class.name").as_deref(), Some("refused"));
    assert_eq!(of("exception.message").as_deref(), Some("the database answered error 1406 (22001)"), "and no value");
    assert_eq!(letter.header("write_behind.errors.schema_id"), Some("2"));
    assert!(letter.header("write_behind.errors.at").is_some_and(|at| at.parse::<u64>().is_ok()));
    assert_eq!(notes(&system).await?, [(30, Some("bad".to_owned()), Some(version), "refused".to_owned())]);

    system
        .eventually("the cache lets go of the dead version", async || Ok(state(&system, "bad").await?.is_none()))
        .await?;
    system
        .eventually("nothing is unsettled", async || {
            let text = system.metrics(&system.ingest_admin_url).await?;
            Ok(metric(&text, "write_behind_unsettled_entries") == Some(0.0))
        })
        .await?;
    assert_eq!(counted(&system, "fates_total{entity=\"users\",fate=\"dead\"}").await?, Some(1.0));
    assert_eq!(counted(&system, "dead_letters_total{entity=\"users\",reason=\"refused\"}").await?, Some(1.0));
    assert_eq!(counted(&system, "fates_total{entity=\"users\",fate=\"applied\"}").await?, Some(60.0));
    Ok(())
}

/// `k46`: coalescing must not have thrown the older one away. `k45`: and the row stands behind the letter in the topic.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r13_the_newest_event_of_the_same_id_that_is_not_refused_is_applied_and_re_asserted() -> Result<()> {
    let mut system = prepared(&[]).await?;
    put(&system, "a", "one").await?;
    let good = put(&system, "a", "two").await?;
    put(&system, "a", POISON).await?;
    put(&system, "a", POISON).await?;
    put(&system, "b", "other").await?;
    system.start_persister().await?;
    // Five, and the re-asserted row.
    until_behind(&system, 6).await?;
    assert_eq!(rows(&system).await?, [("a".into(), "two".into()), ("b".into(), "other".into())].into());
    assert_eq!(letters(&system)?.len(), 2);
    let events = read_all(&system.servers.kafka.brokers(), &topic(&system))?;
    let last = events.iter().rfind(|event| event.key == "a").context("an event")?;
    assert_eq!((last.header("origin"), last.header("version")), (Some("reassert"), Some(&*good.to_string())));
    assert_eq!(events.len(), 6, "a re-asserted row must not echo: {events:?}");
    Ok(())
}

/// The poison stays the key's tail on purpose where there is no row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r13_behind_a_dead_letter_without_a_row_nothing_is_produced() -> Result<()> {
    let mut system = prepared(&[]).await?;
    put(&system, "a", POISON).await?;
    put(&system, "b", "good").await?;
    system.start_persister().await?;
    until_behind(&system, 2).await?;
    assert_eq!(read_all(&system.servers.kafka.brokers(), &topic(&system))?.len(), 2);
    assert_eq!(rows(&system).await?.len(), 1);
    Ok(())
}

/// A row that was there before us has version 0, which is none: an event that had it would be poison itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r13_behind_a_dead_letter_an_adopted_row_is_not_produced() -> Result<()> {
    let mut system = prepared(&[]).await?;
    alter(&system, "INSERT INTO users (id, name, version, log_offset) VALUES ('a', 'adopted', 0, -1)").await?;
    put(&system, "a", POISON).await?;
    put(&system, "b", "good").await?;
    system.start_persister().await?;
    until_behind(&system, 2).await?;
    put(&system, "b", "again").await?;
    until_behind(&system, 3).await?;
    let events = read_all(&system.servers.kafka.brokers(), &topic(&system))?;
    assert_eq!(events.len(), 3, "it echoes: {events:?}");
    assert_eq!(letters(&system)?.len(), 1);
    assert_eq!(rows(&system).await?, [("a".into(), "adopted".into()), ("b".into(), "again".into())].into());
    Ok(())
}

/// Everything that is no event, or none that can be read, without the table being asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g8_what_cannot_be_read_is_a_dead_letter_by_its_reason() -> Result<()> {
    let mut system = prepared(&[("UNKNOWN_SCHEMA_HOLD_MS", "1")]).await?;
    let publisher = publisher(&system)?;
    let now = put(&system, "good", "first").await?;
    let send = async |id: &str, version: u64, change: Change<'static>| -> Result<()> {
        let event = Event { id: RecordId::parse(id)?, version: Version::new(version)?, origin: Origin::Write, change };
        publisher.publish(Outgoing { topic: &topic(&system), event: &event, trace: None }).await?;
        Ok(())
    };
    let upsert = |schema, datum: &'static [u8]| Change::Upsert { schema: SchemaId::new(schema), datum: datum.into() };
    send("undecodable", now, upsert(2, &[0xff])).await?;
    send("future", now + 3_600_000_000, Change::Tombstone).await?;
    send("unknown", now, upsert(99, &[0])).await?;
    send("unknown2", now, upsert(99, &[0])).await?;
    send("reserved", 31, upsert(2, &[0])).await?;
    put(&system, "good2", "last").await?;
    system.start_persister().await?;
    until_behind(&system, 7).await?;
    let reasons: Vec<_> = notes(&system).await?.into_iter().map(|(offset, .., reason)| (offset, reason)).collect();
    let expected = [
        (1, "undecodable"),
        (2, "version-in-future"),
        (3, "unknown-schema"),
        (4, "unknown-schema"),
        (5, "bad-version"),
    ];
    assert_eq!(reasons, expected.map(|(offset, reason)| (offset, reason.to_owned())));
    assert_eq!(letters(&system)?.len(), 5);
    assert_eq!(rows(&system).await?.len(), 2);
    Ok(())
}

/// `k44`, `k49`, `k31`: a crash before the notes, before the commit, and after the first half: nothing is lost, nothing twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g7_a_crash_on_the_way_of_a_dead_letter_loses_nothing_and_notes_it_once() -> Result<()> {
    for place in
        ["lane.applied=return", "lane.applied=1*off->return", "letters.acknowledged=return", "letters.noted=return"]
    {
        let mut system = prepared(&[(FAIL_POINTS, place)]).await?;
        for id in 0..8 {
            put(&system, &id.to_string(), if id == 3 || id == 6 { POISON } else { "Jane" }).await?;
        }
        system.start_persister().await?;
        let alive = |system: &System| system.persister.as_ref().is_some_and(|process| process.is_running());
        system.eventually("the persister dies", async || Ok(!alive(&system))).await?;
        let (reached, applied) = (usize::try_from(position(&system)?)?, rows(&system).await?);
        let noted: Vec<_> = notes(&system).await?.into_iter().map(|(offset, ..)| offset).collect();
        for offset in 0..reached {
            let done = applied.contains_key(&offset.to_string()) || noted.contains(&i64::try_from(offset)?);
            assert!(done, "{place}: offset {offset} is committed, and its event is nowhere");
        }
        system.settings.retain(|(name, _)| name != FAIL_POINTS);
        system.start_persister().await?;
        until_behind(&system, 8).await.context(place)?;
        assert_eq!(rows(&system).await?.len(), 6, "{place}");
        let offsets: Vec<_> = notes(&system).await?.into_iter().map(|(offset, ..)| offset).collect();
        assert_eq!(offsets, [3, 6], "{place}");
        let there: std::collections::BTreeSet<_> = letters(&system)?.iter().map(|letter| letter.key.clone()).collect();
        assert_eq!(there, ["3".to_owned(), "6".to_owned()].into(), "{place}: a letter was noted and is not there");
    }
    Ok(())
}

/// DESIGN section 6: another user's row is never overwritten through a second unique key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_displaced_event_is_retried_in_order_and_then_a_dead_letter_that_names_both_ids() -> Result<()> {
    let mut system = prepared(&[]).await?;
    alter(&system, "ALTER TABLE users ADD UNIQUE KEY names (name)").await?;
    put(&system, "b", "taken").await?;
    put(&system, "z", "old").await?;
    system.start_persister().await?;
    until_behind(&system, 2).await?;
    system.persister.take().context("persister")?.stop(PATIENCE)?;
    // z frees what a takes, in this order; sorted by id a would come first. c takes what stays b's, new; z as a known row.
    put(&system, "z", "new").await?;
    put(&system, "a", "old").await?;
    put(&system, "c", "taken").await?;
    put(&system, "z", "taken").await?;
    put(&system, "d", "free").await?;
    system.start_persister().await?;
    // Seven, and z's row behind its letter.
    until_behind(&system, 8).await?;
    let expected = [("a", "old"), ("b", "taken"), ("d", "free"), ("z", "new")];
    assert_eq!(rows(&system).await?, expected.map(|(id, name)| (id.to_owned(), name.to_owned())).into());
    let all = letters(&system)?;
    assert_eq!(all.len(), 2);
    for (letter, id) in all.iter().zip(["c", "z"]) {
        assert_eq!(letter.header("__connect.errors.exception.class.name"), Some("displaced"));
        let detail = letter.header("__connect.errors.exception.message").context("a detail")?;
        assert!(detail.contains(&format!("id {id} ")) && detail.contains("id b "), "{detail}");
        assert!(!detail.contains("taken"), "it quotes a value: {detail}");
    }
    Ok(())
}

/// 0.1 % goes through, 10 % and 100 % stop; the event that is probed comes through once the cause is mended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g8_the_brake_stops_a_lane_of_poison_and_it_goes_on_by_itself_when_the_cause_is_mended() -> Result<()> {
    let mut system = prepared(&[("BRAKE_PROBE_MS", "200")]).await?;
    for id in 0..40 {
        put(&system, &id.to_string(), POISON).await?;
    }
    system.start_persister().await?;
    system.eventually("the lane is braked", async || holds(&system, "brake").await).await?;
    assert_eq!((notes(&system).await?.len(), letters(&system)?.len()), (10, 10), "the least number, and not one more");
    until_behind(&system, 10).await?;
    // Several probes later it still is.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!((position(&system)?, letters(&system)?.len()), (10, 10), "a probe is no dead letter");
    alter(&system, "ALTER TABLE users MODIFY name VARCHAR(100)").await?;
    until_behind(&system, 40).await?;
    assert_eq!((rows(&system).await?.len(), letters(&system)?.len()), (30, 10));
    assert!(!holds(&system, "brake").await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g8_an_operator_lets_dead_letters_go_up_to_an_offset_and_a_restart_forgets_nothing() -> Result<()> {
    let mut system = prepared(&[("BRAKE_PROBE_MS", "200")]).await?;
    for id in 0..45 {
        put(&system, &id.to_string(), POISON).await?;
    }
    put(&system, "good", "Jane").await?;
    system.start_persister().await?;
    system.eventually("the lane is braked", async || holds(&system, "brake").await).await?;
    accept(&system, "19")?;
    // Up to 19 by what was accepted, and then as many as the brake allows of those that nobody has accepted: none of the ten
    // that went before is forgotten.
    system.eventually("what was accepted has gone", async || Ok(position(&system)? >= 20)).await?;
    system.eventually("the lane is braked again", async || holds(&system, "brake").await).await?;
    let gone = position(&system)?;
    assert!((20..=30).contains(&gone), "{gone}");
    system.persister.take().context("persister")?.kill()?;
    accept(&system, "44")?;
    system.start_persister().await?;
    until_behind(&system, 46).await?;
    assert_eq!((letters(&system)?.len(), notes(&system).await?.len()), (45, 45));
    assert_eq!(rows(&system).await?, [("good".to_owned(), "Jane".to_owned())].into());
    Ok(())
}

/// What is wrong with everything is no event's fault: the real errors of the servers that a person must mend. Those that pass,
/// and a full server: `mysql_errors.rs`. What the servers call the row's fault is stopped by the brake alone, above.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g8_a_systemic_fault_holds_and_never_dead_letters() -> Result<()> {
    let mut system = prepared(&[]).await?;
    let user = system.accounts.persister.trim_start_matches("mysql://").split(':').next().context("a user")?.to_owned();
    let schema = system.accounts.persister.rsplit('/').next().context("a database")?.replace('_', "\\_");
    let faults = [
        ("RENAME TABLE users TO elsewhere".to_owned(), "RENAME TABLE elsewhere TO users".to_owned()),
        (
            "ALTER TABLE users RENAME COLUMN age TO years".to_owned(),
            "ALTER TABLE users RENAME COLUMN years TO age".to_owned(),
        ),
        (
            format!("REVOKE UPDATE ON `{schema}`.* FROM '{user}'@'127.0.0.1'"),
            format!("GRANT UPDATE ON `{schema}`.* TO '{user}'@'127.0.0.1'"),
        ),
    ];
    let faults = faults.into_iter().chain([(
        "ALTER TABLE users PARTITION BY RANGE COLUMNS (id) (PARTITION low VALUES LESS THAN ('3'))".to_owned(),
        "ALTER TABLE users REMOVE PARTITIONING".to_owned(),
    )]);
    for (at, (fault, remedy)) in faults.collect::<Vec<_>>().iter().enumerate() {
        // Without its table a persister does not begin; a grant is looked at when a connection is made.
        let table = fault.starts_with("RENAME");
        if table {
            system.start_persister().await?;
        }
        alter(&system, fault).await?;
        for id in 0..15 {
            put(&system, &format!("{at}-{id}"), "Jane").await?;
        }
        if !table {
            system.start_persister().await?;
        }
        system.eventually(fault, async || holds(&system, "fatal").await).await?;
        alter(&system, remedy).await?;
        until_behind(&system, 15 * (i64::try_from(at)? + 1)).await.context(fault.clone())?;
        assert_eq!(notes(&system).await?, [], "{fault}");
        assert_eq!(letters(&system)?.len(), 0, "{fault}");
        system.persister.take().context("persister")?.stop(PATIENCE)?;
    }
    assert_eq!(rows(&system).await?.len(), 60);
    Ok(())
}

/// Each refusal for a row's content is that row's alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g8_every_refusal_for_content_is_a_dead_letter_of_that_row_alone() -> Result<()> {
    let mysql = std::env::var("STACK_DB").is_ok_and(|kind| kind == "mysql");
    let trigger = "CREATE TRIGGER refuse BEFORE INSERT ON users FOR EACH ROW BEGIN IF NEW.age > 100 THEN \
                   SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'too old'; END IF; END";
    let check = "ALTER TABLE users ADD CONSTRAINT young CHECK (age <= 100)";
    for (change, number, bad) in [
        ("ALTER TABLE users MODIFY age TINYINT NULL", 1264, json!({ "name": "Old", "age": 140 })),
        ("ALTER TABLE users MODIFY last_name VARCHAR(100) NOT NULL", 1048, json!({ "name": "None", "age": 1 })),
        (check, if mysql { 3819 } else { 4025 }, json!({ "name": "Old", "age": 140 })),
        (trigger, 1644, json!({ "name": "Old", "age": 140 })),
    ] {
        let mut system = prepared(&[]).await?;
        alter(&system, change).await?;
        for id in ["a", "bad", "z"] {
            let good = json!({ "name": "Jane", "age": 1, "last_name": "Doe" });
            system.put("users", id, if id == "bad" { &bad } else { &good }).await?;
        }
        system.start_persister().await?;
        until_behind(&system, 3).await.context(change)?;
        assert_eq!(rows(&system).await?.into_keys().collect::<Vec<_>>(), ["a", "z"], "{change}");
        let all = letters(&system)?;
        let detail =
            all.first().and_then(|letter| letter.header("__connect.errors.exception.message")).context(change)?;
        assert!(all.len() == 1 && detail.contains(&format!("error {number} ")), "{change}: {detail}");
    }
    Ok(())
}

/// R18, `k16`, `k16b`: a write that is older than the mark makes no row, and a rebuild is told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r18_a_late_write_is_answered_with_a_tombstone_at_the_mark_and_the_tombstone_with_nothing() -> Result<()> {
    let mut system = prepared(&[]).await?;
    let late = put(&system, "late", "late").await?;
    put(&system, "there", "there").await?;
    system.call(Method::DELETE, "/users/gone", None).await?;
    alter(&system, "INSERT INTO users (id, name, version, log_offset) VALUES ('old', 'old', 16, 0)").await?;
    alter(&system, &format!("UPDATE _write_behind_entities SET purged = {}", late | 15)).await?;
    system.start_persister().await?;
    until_behind(&system, 4).await?;
    let events = read_all(&system.servers.kafka.brokers(), &topic(&system))?;
    assert_eq!(events.len(), 4, "one answer, and none to the answer: {events:?}");
    let answer = events.last().context("the answer")?;
    assert_eq!((&*answer.key, &answer.value, answer.header("origin")), ("late", &None, Some("reassert")));
    assert_eq!(answer.header("version"), Some(&*(late | 15).to_string()));
    assert!(!rows(&system).await?.contains_key("late"), "a purged record came back");
    assert_eq!(counted(&system, "late_tombstones_total{entity=\"users\"}").await?, Some(1.0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r18_too_many_late_writes_stop_the_lane_and_an_emptied_table_does_not_start() -> Result<()> {
    let mut system = prepared(&[("BRAKE_PROBE_MS", "200")]).await?;
    let mut last = 0;
    for id in 0..25 {
        last = put(&system, &id.to_string(), "Jane").await?;
    }
    alter(&system, &format!("UPDATE _write_behind_entities SET purged = {}", last | 15)).await?;
    let refused =
        stack::Process::spawn(&system.persister_spec(&system.persister_admin_url), stack::Lifetime::Attached)?;
    let ended = refused.wait(PATIENCE)?;
    assert!(matches!(ended, stack::Ended::Yes(Some(status)) if !status.success()), "{ended:?}");
    assert!(refused.log_tail(20).contains("has a purge mark"), "{}", refused.log_tail(20));

    alter(&system, "INSERT INTO users (id, name, version, log_offset) VALUES ('left', 'left', 16, 0)").await?;
    system.start_persister().await?;
    system.eventually("the lane is braked", async || holds(&system, "brake").await).await?;
    let tombstones = || -> Result<usize> {
        let events = read_all(&system.servers.kafka.brokers(), &topic(&system))?;
        Ok(events.iter().filter(|event| event.value.is_none()).count())
    };
    assert_eq!(tombstones()?, 10, "the topic must not be emptied with the table");
    // As after a restore.
    alter(&system, "UPDATE _write_behind_entities SET purged = 0").await?;
    until_behind(&system, 35).await?;
    assert_eq!(tombstones()?, 10);
    Ok(())
}

/// The server takes less in one statement than an event may have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_too_large_for_the_server_is_a_dead_letter_and_a_large_one_that_fits_is_a_row() -> Result<()> {
    let system = System::prepare(Servers::own()?)?.with("TOPIC_PARTITIONS", "1").with("BODY_BYTES_MOST", "2000000");
    let paper = r#"{"type": "record", "name": "Paper", "fields": [{"name": "text", "type": "string"}]}"#;
    system.add_schema("papers/v1.avsc", paper)?;
    let mut system = system;
    system.migrate()?;
    system.start_ingest().await?;
    let large = "x".repeat(1_900_000);
    let write = async |system: &System, texts: [(&str, &str); 3]| -> Result<()> {
        for (id, text) in texts {
            system.put("papers", id, &json!({ "text": text })).await?;
        }
        Ok(())
    };
    let table = system.table().await?;
    let lengths = async || -> Result<Vec<(String, i64)>> {
        let rows = sqlx::query("SELECT id, LENGTH(text) FROM papers ORDER BY id").fetch_all(&table).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    };
    let of = |rows: &[(&str, i64)]| rows.iter().map(|(id, length)| ((*id).to_owned(), *length)).collect::<Vec<_>>();
    write(&system, [("a", "1"), ("large", &large), ("z", "1")]).await?;
    system.start_persister().await?;
    let first = of(&[("a", 1), ("large", 1_900_000), ("z", 1)]);
    system.eventually("2 MB are taken by default", async || Ok(lengths().await? == first)).await?;
    system.persister.take().context("persister")?.stop(PATIENCE)?;

    system.servers.database.query("SET GLOBAL max_allowed_packet = 1048576")?;
    write(&system, [("a", "22"), ("larger", &large), ("z", "22")]).await?;
    system.start_persister().await?;
    let second = of(&[("a", 2), ("large", 1_900_000), ("z", 2)]);
    system.eventually("the mates of the large one are applied", async || Ok(lengths().await? == second)).await?;
    system.eventually("it is noted", async || Ok(notes(&system).await?.len() == 1)).await?;
    let all = read_all(&system.servers.kafka.brokers(), &format!("{}papers.dead", system.topic_prefix))?;
    let letter = all.first().context("a letter")?;
    assert_eq!(letter.header("__connect.errors.exception.class.name"), Some("too-large"));
    assert!(letter.value.as_ref().is_some_and(|value| value.len() > large.len()), "it is not whole");
    Ok(())
}

/// `k50`: what overwrote a write is no word about it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r7_a_retry_of_a_write_that_a_dead_letter_has_overwritten_brings_it_to_the_table_or_says_that_nobody_knows()
-> Result<()> {
    let mut system =
        System::prepare(Servers::shared())?.with("TOPIC_PARTITIONS", "1").with("ANSWER_DEADLINE_MS", "1000");
    for (name, value) in [("PRODUCE_DEADLINE_MS", "1500"), ("RELAY_AFTER_MS", "1600"), ("SWEEP_AFTER_MS", "2000")] {
        system = system.with(name, value);
    }
    system.migrate()?;
    alter(&system, SHORT).await?;
    let keyed = async |system: &System| -> Result<(u16, Value)> {
        let request = system.client.put(format!("{}/users/1", system.ingest_url)).header("Idempotency-Key", "a");
        let answer = request.json(&named("Ada")).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    };
    // Kafka is away, and a second write overwrites the first in the cache.
    let cut_off = Process::spawn(&system.ingest_spec().env("KAFKA_BROKERS", "127.0.0.1:9"), Lifetime::Attached)?;
    system
        .eventually("the first write is cached", async || {
            Ok(keyed(&system).await.is_ok_and(|(_, answer)| answer["state"] == "cached"))
        })
        .await?;
    let (_, first) = keyed(&system).await?;
    let second = put(&system, "1", POISON).await?;
    let (status, unknown) = keyed(&system).await?;
    assert_eq!(
        (status, &unknown["version"]),
        (504, &first["version"]),
        "nothing would bring it to the topic: {unknown}"
    );
    cut_off.kill()?;
    // The relay brings the newest alone, which becomes a dead letter.
    system.start_ingest().await?;
    system.start_persister().await?;
    system.eventually("it is a dead letter", async || Ok(notes(&system).await?.len() == 1)).await?;
    assert_eq!(letters(&system)?[0].header("version"), Some(&*second.to_string()));
    let (status, again) = keyed(&system).await?;
    assert_eq!((status, &again["state"]), (202, &json!("logged")), "{again}");
    assert_eq!(again["version"], first["version"], "G9: one key, one version");
    let there = [("1".to_owned(), "Ada".to_owned())].into();
    system.eventually("what was answered logged is in the table", async || Ok(rows(&system).await? == there)).await
}
