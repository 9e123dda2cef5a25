//! The pool of connections, each set up alike: strict, READ COMMITTED, UTC.

use std::sync::Arc;
use std::time::Duration;

use service::{Dependency, Metrics, Pulse, Supervisor};
use sqlx::mysql::MySqlPoolOptions;
use sqlx::pool::PoolConnection;
use sqlx::{Executor, MySql, MySqlPool};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{DatabaseSettings, TableError};

/// READ COMMITTED, since under REPEATABLE READ the read-back of R13 may show an older snapshot. Strict, since without it
/// an overlong value is cut short silently. Bounded on the server, which does not notice that we have given up: for rows,
/// and for tables that are being altered.
const SESSION: [&str; 4] = [
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')",
    "SET SESSION innodb_lock_wait_timeout = 5",
    "SET SESSION lock_wait_timeout = 5",
];

/// How long a call waits for its turn at one of our connections.
const TURN: Duration = Duration::from_secs(5);
/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(2);
/// How long a change of a table may take: as long as a large one needs.
const ALTERATION: Duration = Duration::from_secs(24 * 3600);

/// The database behind a bounded pool. Cheap to clone; connects when it is first used.
#[derive(Clone, Debug)]
pub struct Database {
    pool: MySqlPool,
    /// As many as the pool has connections, so that a pool which gives none in time could not make one: sqlx has one
    /// error for "all in use" and "the server is away".
    turns: Arc<Semaphore>,
    most: usize,
    timeout: Duration,
}

impl Database {
    /// Makes the pool; nothing is connected yet.
    ///
    /// # Errors
    /// The settings describe no connection.
    pub fn new(settings: &DatabaseSettings) -> Result<Self, TableError> {
        let options = settings.options().map_err(|faults| TableError::Setup(faults.join("\n")))?;
        let pool = MySqlPoolOptions::new()
            .max_connections(settings.database_connections)
            .acquire_timeout(CONNECT)
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
        let most = settings.database_connections as usize;
        Ok(Self { pool, turns: Arc::new(Semaphore::new(most)), most, timeout: settings.database_timeout_ms })
    }

    /// Connections in use at the moment, of at most `--database-connections`.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.most.saturating_sub(self.turns.available_permits())
    }

    /// Shows that.
    pub fn show(&self, metrics: &Metrics) {
        let this = self.clone();
        metrics.asked(
            "database_connections_in_use",
            "Connections to the database in use; at most --database-connections",
            move || this.in_use(),
        );
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

    /// The database's clock, in microseconds since 1970.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn now(&self) -> Result<u64, TableError> {
        self.with(async |connection| Ok(sqlx::query_scalar(NOW).fetch_one(&mut **connection).await?)).await
    }

    /// Runs `work` on a connection, within the timeout. After any failure the connection is closed rather than handed
    /// on: it may stand inside a transaction.
    ///
    /// # Cancellation
    /// The connection is closed as after a failure; what was not committed is not done.
    pub(crate) async fn with<T, W>(&self, work: W) -> Result<T, TableError>
    where
        W: AsyncFnOnce(&mut PoolConnection<MySql>) -> Result<T, TableError>,
    {
        self.within(self.timeout, work).await
    }

    /// The same for a change of a table.
    pub(crate) async fn altering<T, W>(&self, work: W) -> Result<T, TableError>
    where
        W: AsyncFnOnce(&mut PoolConnection<MySql>) -> Result<T, TableError>,
    {
        self.within(ALTERATION, async |connection| {
            connection.execute("SET SESSION lock_wait_timeout = 60").await?;
            let done = work(connection).await?;
            connection.close_on_drop();
            Ok(done)
        })
        .await
    }

    async fn within<T, W>(&self, timeout: Duration, work: W) -> Result<T, TableError>
    where
        W: AsyncFnOnce(&mut PoolConnection<MySql>) -> Result<T, TableError>,
    {
        let (_turn, connection) = self.connection().await?;
        let mut lent = Lent(Some(connection));
        // Boxed, as everywhere here: a transaction's future is large, and would make every future around it so.
        let done = tokio::time::timeout(timeout, Box::pin(lent.work(work))).await;
        let done = done.unwrap_or(Err(TableError::Unanswered));
        match &done {
            Ok(_) => lent.give_back(),
            Err(error) if error.is_of_the_server() => {
                drop(lent);
                self.discard_idle();
            }
            Err(_) => {}
        }
        done
    }

    async fn connection(&self) -> Result<(OwnedSemaphorePermit, PoolConnection<MySql>), TableError> {
        let turn = tokio::time::timeout(TURN, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.map_err(|_| TableError::Saturated)?.map_err(|_| sqlx::Error::PoolClosed)?;
        Ok((turn, Box::pin(self.pool.acquire()).await?))
    }

    /// What broke one connection broke the others: else each of them would fail one more call.
    fn discard_idle(&self) {
        while let Some(connection) = self.pool.try_acquire() {
            drop(connection.detach());
        }
    }

    /// Runs [`Database::watch`] for the life of the process.
    pub fn supervise(self, mysql: Dependency, supervisor: &Supervisor) {
        let (stopping, pulse) = (supervisor.stopping(), supervisor.pulse("mysql"));
        supervisor.spawn("mysql", async move { self.watch(&mysql, &stopping, &pulse).await });
    }

    /// Reports on `mysql` until `stopping`.
    pub async fn watch(&self, mysql: &Dependency, stopping: &CancellationToken, pulse: &Pulse) {
        while !stopping.is_cancelled() {
            pulse.beat();
            match self.ping().await {
                // All of our connections in use is our own doing, not the server's.
                Ok(()) | Err(TableError::Saturated) => mysql.answers(),
                Err(error) => mysql.away(error),
            }
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

/// A connection at work. It is closed unless it was given back, so that one which fails, or whose caller went away in the
/// middle, is nobody's.
struct Lent(Option<PoolConnection<MySql>>);

impl Lent {
    async fn work<T, W>(&mut self, work: W) -> Result<T, TableError>
    where
        W: AsyncFnOnce(&mut PoolConnection<MySql>) -> Result<T, TableError>,
    {
        match &mut self.0 {
            Some(connection) => work(connection).await,
            None => Err(TableError::Unanswered),
        }
    }

    fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            // Without a farewell, for which a server that hangs would let us wait.
            drop(connection.detach());
        }
    }
}

const NOW: &str = "SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS UNSIGNED)";

const GET_LOCK: &str = "SELECT GET_LOCK(?, 60)";

impl Database {
    pub(crate) async fn with_lock<T>(
        &self,
        name: &str,
        work: impl AsyncFnOnce() -> Result<T, TableError>,
    ) -> Result<T, TableError> {
        let (_turn, mut holder) = self.connection().await?;
        // Closing the connection releases the lock, whatever happens in between.
        holder.close_on_drop();
        let taken: Option<i64> = sqlx::query_scalar(GET_LOCK).bind(name).fetch_one(&mut *holder).await?;
        if taken != Some(1) {
            return Err(TableError::Setup("another migration of this database has not ended in 60 s".to_owned()));
        }
        work().await
    }
}
