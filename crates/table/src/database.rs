//! The pool of connections, each set up alike: strict, READ COMMITTED, UTC.

use std::time::Duration;

use service::{Dependency, FailureClass, Supervisor};
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::pool::PoolConnection;
use sqlx::{Executor, MySql, MySqlPool};
use tokio_util::sync::CancellationToken;

use crate::{DatabaseSettings, TableError};

/// READ COMMITTED, since under REPEATABLE READ the read-back of R13 may show an older snapshot. Strict, since without it
/// an overlong value is cut short silently.
const SESSION: [&str; 3] = [
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')",
    "SET SESSION innodb_lock_wait_timeout = 5",
];

/// The database behind a bounded pool. Cheap to clone; connects when it is first used.
#[derive(Clone, Debug)]
pub struct Database {
    pool: MySqlPool,
    timeout: Duration,
}

impl Database {
    /// Parses the address; nothing is connected yet.
    ///
    /// # Errors
    /// `--database-url` is not an address of a database.
    pub fn new(settings: &DatabaseSettings) -> Result<Self, TableError> {
        let options: MySqlConnectOptions = settings
            .database_url
            .expose()
            .parse()
            .map_err(|error| TableError::Setup(format!("--database-url: {error}")))?;
        let pool = MySqlPoolOptions::new()
            .max_connections(settings.database_connections)
            .acquire_timeout(Duration::from_secs(5))
            .test_before_acquire(false)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    for statement in SESSION {
                        connection.execute(statement).await?;
                    }
                    Ok(())
                })
            })
            .connect_lazy_with(options);
        Ok(Self { pool, timeout: settings.database_timeout_ms })
    }

    /// Asks the database for a sign of life.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn ping(&self) -> Result<(), TableError> {
        self.with(async |connection| {
            sqlx::query("SELECT 1").execute(&mut **connection).await?;
            Ok(())
        })
        .await
    }

    /// Runs `work` on a connection, within the timeout. After any failure the connection is closed rather than handed
    /// on: it may stand inside a transaction.
    ///
    /// # Cancellation
    /// Must not be cancelled while it runs; callers await it to its end.
    pub(crate) async fn with<T, W>(&self, work: W) -> Result<T, TableError>
    where
        W: AsyncFnOnce(&mut PoolConnection<MySql>) -> Result<T, TableError>,
    {
        // Boxed: the future of a new connection is large, and would make every future around it so.
        let mut connection = Box::pin(self.pool.acquire()).await?;
        let done =
            tokio::time::timeout(self.timeout, work(&mut connection)).await.unwrap_or(Err(TableError::Unanswered));
        if done.is_err() {
            connection.close_on_drop();
        }
        done
    }

    /// Runs [`Database::watch`] for the life of the process.
    pub fn supervise(self, mysql: Dependency, supervisor: &Supervisor) {
        let stopping = supervisor.stopping();
        supervisor.spawn("mysql", async move { self.watch(&mysql, &stopping).await });
    }

    /// Reports on `mysql` until `stopping`.
    pub async fn watch(&self, mysql: &Dependency, stopping: &CancellationToken) {
        while !stopping.is_cancelled() {
            let alive = self.ping().await;
            if let Err(error) = &alive {
                tracing::debug!(%error, "the database did not answer");
            }
            // All connections in use is our own doing, not the server's.
            mysql.set(!matches!(alive, Err(ref error) if error.class() != FailureClass::Saturated));
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(2)) => {}
                () = stopping.cancelled() => {}
            }
        }
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

const GET_LOCK: &str = "SELECT GET_LOCK(?, 60)";

impl Database {
    pub(crate) async fn with_lock<T>(
        &self,
        name: &str,
        work: impl AsyncFnOnce() -> Result<T, TableError>,
    ) -> Result<T, TableError> {
        let mut holder = Box::pin(self.pool.acquire()).await?;
        // Closing the connection releases the lock, whatever happens in between.
        holder.close_on_drop();
        let taken: Option<i64> = sqlx::query_scalar(GET_LOCK).bind(name).fetch_one(&mut *holder).await?;
        if taken != Some(1) {
            return Err(TableError::Setup("another migration of this database has not ended in 60 s".to_owned()));
        }
        work().await
    }
}
