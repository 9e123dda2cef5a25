//! What the table refuses, and whose fault that is: the row's alone, or everybody's (G8).

use anyhow::{Context, Result};
use e2e::system::PATIENCE;
use e2e::topic_reader::read_all;
use e2e::{Servers, System};
use serde_json::json;
use sqlx::Row;

use crate::dead::{alter, holds, letters, notes, prepared, put, rows, until_behind};

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
    let expected = expected.map(|(id, name)| (id.to_owned(), name.to_owned())).into();
    assert_eq!(
        rows(&system).await?,
        expected,
        "a row was overwritten through another id's key, or lost one that was free"
    );
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
        let held = format!("the lane holds, for a person to mend: {fault}");
        system.eventually(&held, async || holds(&system, "fatal").await).await?;
        alter(&system, remedy).await?;
        until_behind(&system, 15 * (i64::try_from(at)? + 1)).await.context(fault.clone())?;
        assert_eq!(notes(&system).await?, [], "{fault}");
        assert_eq!(letters(&system)?.len(), 0, "{fault}");
        system.persister.take().context("persister")?.stop(PATIENCE)?;
    }
    assert_eq!(rows(&system).await?.len(), 60);
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
