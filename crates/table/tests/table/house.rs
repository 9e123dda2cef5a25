//! What the tests build on: a database of their own with an entity's table, and short ways to fill and look at it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use record::{Catalog, Entity, Record, RecordId, Value, Version};
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, Executor, MySqlPool, Row};
use stack::{Accounts, shared};
use table::{Database, DatabaseSettings, EntityTable, Held, Incoming};

/// A text that may be empty and a number that may be missing.
pub(crate) const THING: &str = r#"{"type": "record", "name": "Thing", "fields": [
    {"name": "name", "type": "string", "maxLength": 10},
    {"name": "size", "type": ["null", "long"], "default": null}]}"#;

/// The entity `things` with these versions, published on the spot.
pub(crate) fn entity(versions: &[&str]) -> Arc<Entity> {
    let files: Vec<_> =
        versions.iter().enumerate().map(|(at, text)| (format!("things/v{}.avsc", at + 1), *text)).collect();
    let pinned = record::pin(files.iter().map(|(path, text)| (path, text)), "").unwrap();
    let catalog = Catalog::compile(files.iter().map(|(path, text)| (path, text)), &pinned.text).unwrap();
    Arc::clone(catalog.get("things").unwrap())
}

/// Accounts to a fresh database on the server that the tests share.
pub(crate) fn accounts() -> Accounts {
    accounts_on(shared::database())
}

pub(crate) fn accounts_on(server: &stack::Database) -> Accounts {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    server.create(&format!("table_{}", NEXT.fetch_add(1, Ordering::Relaxed))).unwrap()
}

pub(crate) fn database(url: &str) -> Database {
    patient_database(url, Duration::from_secs(30), 4)
}

pub(crate) fn patient_database(url: &str, timeout: Duration, connections: u32) -> Database {
    Database::new(&DatabaseSettings {
        database_url: url.parse().unwrap(),
        access: table::DatabaseAccess::default(),
        database_connections: connections,
        database_timeout_ms: timeout,
    })
    .unwrap()
}

/// An entity's table, migrated, with the persister's account.
pub(crate) struct House {
    pub(crate) accounts: Accounts,
    pub(crate) entity: Arc<Entity>,
    pub(crate) table: EntityTable,
    root: MySqlPool,
}

impl House {
    pub(crate) async fn of(schema: &str) -> Self {
        Self::on(accounts(), entity(&[schema])).await
    }

    pub(crate) async fn on(accounts: Accounts, entity: Arc<Entity>) -> Self {
        database(&accounts.migrate).migrate(&entity, 6).await.unwrap();
        let table = EntityTable::new(database(&accounts.persister), Arc::clone(&entity));
        Self { root: MySqlPool::connect_lazy(&accounts.root).unwrap(), accounts, entity, table }
    }

    /// A record of `things`.
    pub(crate) fn thing(&self, name: &str, size: Option<i64>) -> Record<'static> {
        let size = size.map_or(Value::Null, Value::Integer);
        self.entity.assemble(vec![Value::Text(name.to_owned().into()), size]).unwrap()
    }

    pub(crate) fn put(&self, id: &str, version: u64, offset: i64, name: &str) -> Incoming<'static> {
        Incoming { id: key(id), version: at(version), offset, record: Some(self.thing(name, None)) }
    }

    /// Applies a batch that must succeed, at a stamp that no other batch has.
    pub(crate) async fn apply(&self, rows: &[Incoming<'_>]) -> Vec<Option<Held>> {
        self.table.apply(rows, stamp()).await.unwrap()
    }

    /// What stands in the table: id, name, size, deleted, version, offset.
    pub(crate) async fn rows(&self) -> Vec<Stored> {
        let sql = "SELECT id, name, size, deleted, version, log_offset FROM things ORDER BY id";
        sqlx::query(sql).fetch_all(&self.root).await.unwrap().iter().map(Stored::of).collect()
    }

    /// Runs SQL as root.
    pub(crate) async fn sql(&self, sql: &str) {
        self.root.execute(AssertSqlSafe(sql.to_owned())).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// A connection as root, for tests that hold a lock.
    pub(crate) async fn session(&self) -> sqlx::pool::PoolConnection<sqlx::MySql> {
        Box::pin(self.root.acquire()).await.unwrap()
    }

    /// Until a transaction waits for a row, anywhere in the server: it must be a server that no other test uses.
    pub(crate) async fn until_a_lock_is_waited_for(&self) {
        let until = Instant::now() + Duration::from_secs(4);
        let waits = "SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'";
        while sqlx::query(waits).fetch_one(&self.root).await.unwrap().get_unchecked::<String, _>(1) == "0" {
            assert!(Instant::now() < until, "nobody waits for a lock");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// One number that SQL gives.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let row = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_one(&self.root).await;
        row.unwrap_or_else(|error| panic!("{sql}: {error}")).get_unchecked(0)
    }
}

/// A row of `things`, without its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) id: String,
    pub(crate) name: Option<String>,
    pub(crate) size: Option<i64>,
    pub(crate) deleted: bool,
    pub(crate) version: u64,
    pub(crate) offset: i64,
}

impl Stored {
    fn of(row: &MySqlRow) -> Self {
        Self {
            id: row.get_unchecked(0),
            name: row.get_unchecked(1),
            size: row.get_unchecked(2),
            deleted: row.get_unchecked(3),
            version: row.get_unchecked(4),
            offset: row.get_unchecked(5),
        }
    }

    pub(crate) fn live(id: &str, name: &str, version: u64, offset: i64) -> Self {
        let (id, name) = (id.to_owned(), Some(name.to_owned()));
        Self { id, name, size: None, deleted: false, version: at(version).get(), offset }
    }

    pub(crate) fn tombstone(id: &str, version: u64, offset: i64) -> Self {
        Self { id: id.to_owned(), name: None, size: None, deleted: true, version: at(version).get(), offset }
    }
}

pub(crate) fn key(id: &str) -> RecordId {
    RecordId::parse(id).unwrap()
}

/// Versions are multiples of 16, as a script of Redis gives them.
pub(crate) fn at(version: u64) -> Version {
    Version::new(version * 16).unwrap()
}

pub(crate) fn delete(id: &str, version: u64, offset: i64) -> Incoming<'static> {
    Incoming { id: key(id), version: at(version), offset, record: None }
}

pub(crate) fn held(version: u64, offset: i64, fresh: bool) -> Option<Held> {
    Some(Held { version: at(version), offset, fresh })
}

/// Microseconds that no other call gets.
pub(crate) fn stamp() -> u64 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    1_800_000_000_000_000 + u64::from(NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Every column with its type, in order.
pub(crate) async fn columns(accounts: &Accounts) -> Vec<String> {
    let pool = Box::pin(sqlx::MySqlPool::connect(&accounts.root)).await.unwrap();
    let sql = "SELECT CAST(CONCAT(table_name, '.', column_name, ' ', column_type, ' ', is_nullable) AS CHAR) \
               FROM information_schema.columns WHERE table_schema = DATABASE() ORDER BY table_name, ordinal_position";
    sqlx::query_scalar(sql).fetch_all(&pool).await.unwrap()
}
