//! What goes wrong on a real server, and the class that it is given (FACTS: decided on numbers).

use std::sync::Arc;

use std::time::{Duration, Instant};

use futures_util::future::join;
use service::FailureClass::{Fatal, Poison, Saturated, Transient};
use service::{FailureClass, Health, Metrics};
use sqlx::{Connection, Executor, MySqlConnection};
use stack::{Kind, Place, Tools, shared};
use table::{EntityTable, TableError};
use tokio::sync::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use crate::house::{House, Stored, THING, accounts_on, database, entity, held, patient_database, stamp};

/// A server of its own for the tests that hurt one, which come one after the other.
pub(crate) async fn hurt() -> MutexGuard<'static, stack::Database> {
    static IT: tokio::sync::OnceCell<Mutex<stack::Database>> = tokio::sync::OnceCell::const_new();
    let start = async || {
        let place = Place::attached(shared::scratch("hurt"));
        Mutex::new(stack::Database::start(&Tools::find(), &place, Kind::from_env().unwrap()).unwrap())
    };
    IT.get_or_init(start).await.lock().await
}

pub(crate) async fn house_on(server: &stack::Database) -> House {
    House::on(accounts_on(server), entity(&[THING])).await
}

/// The table with an impatient pool of one connection.
fn single(house: &House, timeout: Duration) -> EntityTable {
    EntityTable::new(patient_database(&house.accounts.persister, timeout, 1), Arc::clone(&house.entity))
}

fn number(error: &TableError) -> Option<u16> {
    match error {
        TableError::Refused { number, .. } => Some(*number),
        _ => None,
    }
}

async fn apply_error(house: &House, table: &EntityTable) -> TableError {
    table.apply(&[house.put("a", 2, 2, "\u{1d11e}")], stamp()).await.expect_err("this had to fail")
}

/// User name of an account.
fn user(url: &str) -> &str {
    url.trim_start_matches("mysql://").split(':').next().unwrap()
}

fn schema(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

#[tokio::test]
async fn each_refusal_of_the_server_has_its_class() {
    let cases: [(&str, &[u16], FailureClass); 9] = [
        ("MODIFY name VARCHAR(1), MODIFY size BIGINT NOT NULL DEFAULT 0", &[1048], Poison),
        ("MODIFY name VARCHAR(10) CHARACTER SET latin1", &[1366, 3988], Poison),
        ("ADD CONSTRAINT named CHECK (name < 'a')", &[4025, 3819], Poison),
        ("MODIFY id VARCHAR(4) CHARACTER SET ascii COLLATE ascii_bin", &[1406], Poison),
        ("DROP COLUMN size", &[1054], Fatal),
        ("ADD COLUMN foreign_to_us INT NOT NULL", &[1364], Fatal),
        ("RENAME TO elsewhere", &[1146], Fatal),
        ("DROP COLUMN log_offset", &[1054], Fatal),
        ("PARTITION BY RANGE COLUMNS (id) (PARTITION low VALUES LESS THAN ('3'))", &[1526], Fatal),
    ];
    for (change, numbers, class) in cases {
        let house = House::of(THING).await;
        house.sql(&format!("ALTER TABLE things {change}")).await;
        let row = house.put("longer", 2, 2, "\u{1d11e}");
        let error = house.table.apply(&[row], stamp()).await.expect_err(change);
        assert!(number(&error).is_some_and(|number| numbers.contains(&number)), "{change}: {error}");
        assert_eq!(error.class(), class, "{change}: {error}");
        assert!(!error.to_string().contains("longer"), "the error quotes the record: {error}");
    }
}

#[tokio::test]
async fn strict_mode_is_ours_whatever_the_server_has() {
    let server = hurt().await;
    let house = house_on(&server).await;
    let before = server.query("SELECT @@GLOBAL.sql_mode").unwrap();
    server.query("SET GLOBAL sql_mode = ''").unwrap();
    let lax = EntityTable::new(database(&house.accounts.persister), Arc::clone(&house.entity));
    let long = house.put("a", 1, 1, "more than ten characters");
    let error = lax.apply(&[long], stamp()).await;
    server.query(&format!("SET GLOBAL sql_mode = '{}'", before.trim())).unwrap();
    let error = error.expect_err("an overlong text was cut short");
    assert_eq!((number(&error), error.class()), (Some(1406), Poison));
    assert_eq!(house.rows().await, []);
}

#[tokio::test]
async fn a_table_without_its_marks_says_how_they_are_made() {
    let house = House::of(THING).await;
    house.sql("DELETE FROM _write_behind_entities").await;
    let error = apply_error(&house, &house.table).await;
    assert_eq!(error.class(), Fatal);
    assert!(error.to_string().contains("persister migrate"), "{error}");
}

#[tokio::test]
async fn a_lost_grant_is_fatal_and_so_is_a_lost_account() {
    let house = House::of(THING).await;
    let (user, schema) = (user(&house.accounts.persister), schema(&house.accounts.persister));
    house.sql(&format!("REVOKE UPDATE ON `{}`.* FROM '{user}'@'127.0.0.1'", schema.replace('_', "\\_"))).await;
    let table = EntityTable::new(database(&house.accounts.persister), Arc::clone(&house.entity));
    let error = apply_error(&house, &table).await;
    assert_eq!((number(&error), error.class()), (Some(1142), Fatal));
    house.sql(&format!("DROP USER '{user}'@'127.0.0.1'")).await;
    let table = EntityTable::new(database(&house.accounts.persister), Arc::clone(&house.entity));
    let error = apply_error(&house, &table).await;
    assert_eq!((number(&error), error.class()), (Some(1045), Fatal));
}

#[tokio::test]
async fn an_account_that_may_only_read_can_read_and_not_write() {
    let house = House::of(THING).await;
    house.apply(&[house.put("a", 1, 1, "a")]).await;
    let table = EntityTable::new(database(&house.accounts.ingest), Arc::clone(&house.entity));
    assert!(table.select(&crate::house::key("a")).await.unwrap().is_some());
    assert_eq!(apply_error(&house, &table).await.class(), Fatal);
}

#[tokio::test]
async fn a_deadlock_is_transient_and_the_batch_can_be_applied_again() {
    let server = hurt().await;
    let house = house_on(&server).await;
    let rows: Vec<_> = (0..100).map(|n| house.put(&format!("z{n}"), 1, n, "z")).collect();
    house.apply(&rows).await;
    house.apply(&[house.put("a", 1, 1, "a"), house.put("b", 1, 2, "b")]).await;
    let mut other = house.session().await;
    // The heavier one of two that wait for each other survives.
    other.execute("START TRANSACTION").await.unwrap();
    other.execute("UPDATE things SET name = 'other' WHERE id LIKE 'z%' OR id = 'b'").await.unwrap();
    let batch = [house.put("a", 2, 3, "A"), house.put("b", 2, 4, "B")];
    let applying = house.table.apply(&batch, stamp());
    let crossing = async {
        house.until_a_lock_is_waited_for().await;
        other.execute("UPDATE things SET name = 'other' WHERE id = 'a'").await.unwrap();
        other.execute("ROLLBACK").await.unwrap();
    };
    let (applied, ()) = join(applying, crossing).await;
    let error = applied.expect_err("no deadlock came about");
    assert_eq!((number(&error), error.class()), (Some(1213), Transient));
    assert_eq!(house.apply(&batch).await, [held(2, 3, true), held(2, 4, true)]);
}

#[tokio::test]
async fn a_lock_that_is_not_given_in_5_seconds_is_transient_and_leaves_no_transaction() {
    let house = House::of(THING).await;
    house.apply(&[house.put("b", 1, 1, "b")]).await;
    let mut other = house.session().await;
    other.execute("START TRANSACTION").await.unwrap();
    other.execute("SELECT * FROM things WHERE id = 'b' FOR UPDATE").await.unwrap();
    let table = single(&house, Duration::from_secs(30));
    let batch = [house.put("a", 2, 2, "a"), house.put("b", 2, 3, "B")];
    let begun = Instant::now();
    let error = table.apply(&batch, stamp()).await.expect_err("the row is locked");
    assert_eq!((number(&error), error.class()), (Some(1205), Transient));
    assert!(begun.elapsed() < Duration::from_secs(8), "waited {:?}", begun.elapsed());
    // 1205 ends a statement only, not its transaction.
    table.apply(&[house.put("c", 1, 4, "c")], stamp()).await.unwrap();
    other.execute("ROLLBACK").await.unwrap();
    assert_eq!(house.rows().await, [Stored::live("b", "b", 1, 1), Stored::live("c", "c", 1, 4)]);
}

#[tokio::test]
async fn what_failed_half_way_is_not_committed_by_the_next_call_on_the_connection() {
    let house = House::of(THING).await;
    let table = single(&house, Duration::from_secs(30));
    // Six rows are two statements: the first one succeeds.
    let mut batch: Vec<_> = (0..5).map(|n| house.put(&format!("a{n}"), 1, n, "a")).collect();
    batch.push(house.put("b", 1, 5, "more than ten characters"));
    assert_eq!(table.apply(&batch, stamp()).await.unwrap_err().class(), Poison);
    table.apply(&[house.put("c", 1, 6, "c")], stamp()).await.unwrap();
    assert_eq!(house.rows().await, [Stored::live("c", "c", 1, 6)], "half a batch was committed");
}

#[tokio::test]
async fn a_table_that_is_being_altered_does_not_hold_a_connection_for_ever() {
    let house = House::of(THING).await;
    let mut other = house.session().await;
    other.execute("LOCK TABLES things WRITE").await.unwrap();
    let error = single(&house, Duration::from_secs(30)).apply(&[house.put("a", 1, 1, "a")], stamp()).await;
    let error = error.expect_err("the table is locked");
    assert_eq!((number(&error), error.class()), (Some(1205), Transient));
}

/// As a client does that disconnects while its record is read.
#[tokio::test]
async fn a_call_whose_caller_goes_away_leaves_nobody_its_connection() {
    let house = House::of(THING).await;
    house.apply(&[house.put("a", 1, 1, "a")]).await;
    let database = patient_database(&house.accounts.reader, Duration::from_secs(30), 1);
    let reader = EntityTable::new(database, Arc::clone(&house.entity));
    reader.select(&crate::house::key("a")).await.unwrap();
    let own = format!("FROM information_schema.processlist WHERE user = '{}'", user(&house.accounts.reader));
    let before = house.number(&format!("SELECT id {own}")).await;
    let mut other = house.session().await;
    other.execute("LOCK TABLES things WRITE").await.unwrap();
    let key = crate::house::key("a");
    let gone = tokio::time::timeout(Duration::from_millis(300), reader.select(&key)).await;
    assert!(gone.is_err(), "the table is locked");
    other.execute("UNLOCK TABLES").await.unwrap();
    assert!(reader.select(&key).await.unwrap().is_some(), "the next one is served");
    let until = Instant::now() + Duration::from_secs(10);
    while house.number(&format!("SELECT COUNT(*) {own} AND id = {before}")).await > 0 {
        assert!(Instant::now() < until, "a connection was handed on that stood in the middle of a call");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_killed_connection_is_transient_and_the_next_call_has_a_new_one() {
    let server = hurt().await;
    let house = house_on(&server).await;
    let table = single(&house, Duration::from_secs(30));
    table.apply(&[house.put("a", 1, 1, "a")], stamp()).await.unwrap();
    let user = user(&house.accounts.persister);
    let own = format!("SELECT id FROM information_schema.processlist WHERE user = '{user}'");
    // Between two calls. A busy server takes a moment until the connection is really gone.
    let killed = house.number(&own).await;
    house.sql(&format!("KILL {killed}")).await;
    let left = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE id = {killed}");
    let until = Instant::now() + Duration::from_secs(10);
    while house.number(&left).await > 0 {
        assert!(Instant::now() < until, "the connection lives on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(apply_error(&house, &table).await.class(), Transient);
    table.apply(&[house.put("a", 2, 2, "a")], stamp()).await.unwrap();
    // In the middle of one.
    let mut other = house.session().await;
    for kill in ["KILL QUERY", "KILL"] {
        other.execute("START TRANSACTION").await.unwrap();
        other.execute("SELECT * FROM things FOR UPDATE").await.unwrap();
        let killing = async {
            house.until_a_lock_is_waited_for().await;
            house.sql(&format!("{kill} {}", house.number(&own).await)).await;
        };
        let batch = [house.put("a", 3, 3, "a")];
        let (applied, ()) = join(table.apply(&batch, stamp()), killing).await;
        assert_eq!(applied.expect_err(kill).class(), Transient, "{kill}");
        other.execute("ROLLBACK").await.unwrap();
    }
    table.apply(&[house.put("a", 3, 3, "a")], stamp()).await.unwrap();
}

#[tokio::test]
async fn an_account_or_a_server_without_room_for_connections_is_saturated() {
    let server = hurt().await;
    let house = house_on(&server).await;
    let user = user(&house.accounts.persister);
    house.sql(&format!("ALTER USER '{user}'@'127.0.0.1' WITH MAX_USER_CONNECTIONS 1")).await;
    let mut only = MySqlConnection::connect(&house.accounts.persister).await.unwrap();
    let error = apply_error(&house, &single(&house, Duration::from_secs(30))).await;
    assert_eq!((number(&error), error.class()), (Some(1226), Saturated));
    only.ping().await.unwrap();
    only.close().await.unwrap();

    let before = server.query("SELECT @@GLOBAL.max_connections").unwrap();
    server.query("SET GLOBAL max_connections = 10").unwrap();
    let mut all = Vec::new();
    while let Ok(connection) = MySqlConnection::connect(&house.accounts.reader).await {
        all.push(connection);
    }
    let error = apply_error(&house, &single(&house, Duration::from_secs(30))).await;
    server.query(&format!("SET GLOBAL max_connections = {}", before.trim())).unwrap();
    assert_eq!((number(&error), error.class()), (Some(1040), Saturated));
}

#[tokio::test]
async fn a_server_that_is_read_only_is_saturated_and_its_connections_are_dropped() {
    let server = hurt().await;
    let house = house_on(&server).await;
    house.apply(&[house.put("a", 1, 1, "a")]).await;
    server.query("SET GLOBAL read_only = 1").unwrap();
    let error = apply_error(&house, &house.table).await;
    server.query("SET GLOBAL read_only = 0").unwrap();
    assert_eq!((number(&error), error.class()), (Some(1290), Saturated));
    house.apply(&[house.put("a", 2, 2, "a")]).await;
}

#[tokio::test]
async fn a_killed_server_is_transient_at_once_and_a_restarted_one_is_used_again() {
    let server = hurt().await;
    let house = house_on(&server).await;
    // Every connection of the pool is open.
    let pings = (0..4).map(|n| house.put(&n.to_string(), 1, n, "a"));
    futures_util::future::join_all(pings.map(|row| async { house.apply(&[row]).await })).await;
    let refused = async |what: &str| {
        let begun = Instant::now();
        let error = apply_error(&house, &house.table).await;
        assert_eq!(error.class(), Transient, "{what}: {error}");
        assert!(begun.elapsed() < Duration::from_secs(4), "{what}: took {:?}", begun.elapsed());
    };
    server.kill().unwrap();
    refused("on a connection that was open").await;
    server.restart().unwrap();
    // All four connections broke; only one call has paid for it.
    assert_eq!(house.apply(&[house.put("0", 2, 9, "b")]).await, [held(2, 9, true)]);
    server.kill().unwrap();
    refused("on the connection that was open").await;
    refused("without a connection").await;
    server.restart().unwrap();
    assert_eq!(house.apply(&[house.put("0", 3, 10, "c")]).await, [held(3, 10, true)]);
}

#[tokio::test]
async fn a_watched_server_is_down_while_it_is_down() {
    let server = hurt().await;
    let house = house_on(&server).await;
    let health = Health::new(&Metrics::new(), &["mysql"], &[]);
    let (mysql, stopping) = (health.dependency("mysql").unwrap(), CancellationToken::new());
    let watched = database(&house.accounts.persister);
    let until = async |up: bool| {
        let until = Instant::now() + Duration::from_secs(20);
        while mysql.is_up() != up {
            assert!(Instant::now() < until, "the server is shown as {}", if up { "down" } else { "up" });
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let hurting = async {
        until(true).await;
        server.kill().unwrap();
        until(false).await;
        server.restart().unwrap();
        until(true).await;
        stopping.cancel();
    };
    join(watched.watch(&mysql, &stopping, &service::Pulse::unwatched()), hurting).await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_in_time() {
    let server = hurt().await;
    let house = house_on(&server).await;
    let unconnected = database(&house.accounts.persister);
    server.pause().unwrap();
    let begun = Instant::now();
    let error = unconnected.ping().await;
    server.resume().unwrap();
    assert!(matches!(error, Err(TableError::Away(_))), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(4), "waited {:?}", begun.elapsed());
    unconnected.ping().await.unwrap();
}

#[tokio::test]
async fn a_transaction_past_our_timeout_is_unanswered_and_leaves_nothing_behind() {
    let house = House::of(THING).await;
    house.apply(&[house.put("b", 1, 1, "b")]).await;
    let mut other = house.session().await;
    other.execute("START TRANSACTION").await.unwrap();
    other.execute("SELECT * FROM things WHERE id = 'b' FOR UPDATE").await.unwrap();
    let table = single(&house, Duration::from_millis(300));
    let error = table.apply(&[house.put("a", 2, 2, "a"), house.put("b", 2, 3, "B")], stamp()).await;
    assert!(matches!(error, Err(TableError::Unanswered)), "{error:?}");
    assert_eq!(error.unwrap_err().class(), Transient);
    table.apply(&[house.put("c", 1, 4, "c")], stamp()).await.unwrap();
    other.execute("ROLLBACK").await.unwrap();
    // Also later, when the server has noticed that nobody waits any more.
    house.apply(&[house.put("a", 1, 5, "one"), house.put("b", 1, 1, "b")]).await;
    let rows = [Stored::live("a", "one", 1, 5), Stored::live("b", "b", 1, 1), Stored::live("c", "c", 1, 4)];
    assert_eq!(house.rows().await, rows);
}

#[tokio::test]
async fn our_own_connections_all_in_use_are_saturated_and_no_sign_that_the_server_is_away() {
    let house = House::of(THING).await;
    let busy = patient_database(&house.accounts.migrate, Duration::from_secs(30), 1);
    // A migration's lock holds the only connection.
    let error = busy.migrating(async || busy.ping().await).await;
    assert!(matches!(error, Err(TableError::Saturated)), "{error:?}");
    busy.ping().await.unwrap();
}
