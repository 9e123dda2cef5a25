//! What MySQL and MariaDB really answer when they cannot: the lane holds in the class of the failure, stays a member, goes on
//! by itself soon after the cause is gone, and nothing is lost.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::journal::Load;
use e2e::system::metric;
use e2e::{Servers, System};
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection};
use stack::{Database, Kind, Place, Tools, shared};

use crate::faults::{prepared, settled, while_acknowledging};

/// A database server that may be hurt.
pub(crate) fn own_database() -> Result<&'static Database> {
    let place = Place::attached(shared::scratch("database"));
    Ok(Box::leak(Box::new(Database::start(&Tools::find(), &place, Kind::from_env()?)?)))
}

/// A system under load whose database alone is hurt.
struct Hurt {
    system: System,
    load: Load,
}

impl Hurt {
    async fn begin() -> Result<Self> {
        let servers = Servers { database: own_database()?, ..Servers::shared() };
        let system = prepared(servers)?.up().await?;
        let load = Load::start(&system.ingest_url, 4, 50, 5);
        while_acknowledging(&load, 100).await?;
        Ok(Self { system, load })
    }

    /// Until the lane has held in `class`, writes go on; `heal` undoes what `hurt` did.
    async fn endures<H>(
        &self,
        what: &str,
        class: &str,
        hurt: impl AsyncFnOnce(&System) -> Result<H>,
        heal: impl AsyncFnOnce(&System, H) -> Result<()>,
    ) -> Result<()> {
        let Self { system, load } = self;
        let log = || -> Result<String> {
            let persister = system.persister.as_ref().context("persister")?;
            Ok(std::fs::read_to_string(persister.log())?)
        };
        let (before, members) = (log()?.len(), self.rebalances().await?);
        let hurt_at = Instant::now();
        let harm = hurt(system).await.with_context(|| format!("{what}: to bring it about"))?;
        let holds = format!("\"class\":\"{class}\"");
        let held_as = format!("{what}: a lane holds as {class}");
        let held = system.eventually(&held_as, async || {
            let log = log()?;
            Ok(log.get(before..).is_some_and(|new| new.lines().any(|line| line.contains(&holds))))
        });
        held.await?;
        while_acknowledging(load, 50).await.with_context(|| format!("{what}: writes go on"))?;
        let outage = hurt_at.elapsed();
        let applied = self.applied().await?;
        heal(system, harm).await.with_context(|| format!("{what}: to undo it"))?;
        let healed_at = Instant::now();
        system
            .eventually(&format!("{what}: no lane holds any more, and all go on"), async || {
                let text = system.metrics(&system.persister_admin_url).await?;
                let held = text.lines().filter(|line| line.starts_with("write_behind_lane_held{"));
                Ok(held.filter(|line| !line.ends_with(" 0")).count() == 0 && self.applied().await? > applied)
            })
            .await?;
        // A delay of the backoff is at most as long as all before it together, and some calls wait for 5 s.
        let took = healed_at.elapsed();
        ensure!(took < outage + Duration::from_secs(12), "{what}: after {outage:?} it took {took:?} to go on");
        ensure!(self.rebalances().await? == members, "{what}: the persister has left the group in between");
        Ok(())
    }

    async fn applied(&self) -> Result<f64> {
        let text = self.system.metrics(&self.system.persister_admin_url).await?;
        metric(&text, "write_behind_fates_total{entity=\"users\",fate=\"applied\"}").context("fates")
    }

    async fn rebalances(&self) -> Result<Vec<String>> {
        let text = self.system.metrics(&self.system.persister_admin_url).await?;
        Ok(text.lines().filter(|line| line.starts_with("write_behind_rebalances_total")).map(str::to_owned).collect())
    }

    /// Nothing lost, nothing dead.
    async fn end(self) -> Result<()> {
        let Self { system, load } = self;
        while_acknowledging(&load, 100).await?;
        let journal = load.finish().await?;
        settled(&system, &journal).await?;
        let text = system.metrics(&system.persister_admin_url).await?;
        ensure!(metric(&text, "write_behind_fates_total{entity=\"users\",fate=\"dead\"}") == Some(0.0), "dead letters");
        Ok(())
    }
}

fn user(url: &str) -> &str {
    url.trim_start_matches("mysql://").split(':').next().unwrap_or_default()
}

fn schema(system: &System) -> &str {
    system.accounts.root.rsplit('/').next().unwrap_or_default()
}

fn sql(system: &System, sql: &str) -> Result<()> {
    system.servers.database.query(sql).map(drop)
}

async fn connection(url: &str) -> Result<MySqlConnection> {
    Ok(Box::pin(MySqlConnection::connect(url)).await?)
}

/// Ends every connection of the persister but this one.
fn kill(system: &System, but: u64) -> Result<()> {
    let user = user(&system.accounts.persister);
    let ids = format!("SELECT id FROM information_schema.processlist WHERE user = '{user}' AND id <> {but}");
    for id in system.servers.database.query(&ids)?.lines() {
        // One that has gone meanwhile is no error.
        drop(sql(system, &format!("KILL {id}")));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_away_by_itself_is_transient() -> Result<()> {
    let hurt = Hurt::begin().await?;
    let rows_locked = async |system: &System| {
        let mut other = connection(&system.accounts.root).await?;
        other.execute("START TRANSACTION").await?;
        other.execute("SELECT id FROM users FOR UPDATE").await?;
        Ok(other)
    };
    hurt.endures("1205, rows are locked by another", "transient", rows_locked, async |_, mut other| {
        other.execute("ROLLBACK").await?;
        Ok(())
    })
    .await?;
    let table_locked = async |system: &System| {
        let mut other = connection(&system.accounts.root).await?;
        other.execute("LOCK TABLES users WRITE").await?;
        Ok(other)
    };
    hurt.endures("1205, the table is locked by another", "transient", table_locked, async |_, other| {
        other.close().await?;
        Ok(())
    })
    .await?;
    let connections_killed = async |system: &System| {
        for _ in 0..20 {
            kill(system, 0)?;
        }
        Ok(())
    };
    hurt.endures("1317, 1927: its connections are killed", "transient", connections_killed, async |_, ()| Ok(()))
        .await?;
    let shut_down = async |system: &System| {
        system.servers.database.stop(Duration::from_secs(30))?;
        Ok(())
    };
    hurt.endures("1053, the server shuts down", "transient", shut_down, async |system, ()| {
        system.servers.database.restart()
    })
    .await?;
    let standing_still = async |system: &System| system.servers.database.pause();
    hurt.endures("the server does not answer", "transient", standing_still, async |system, ()| {
        system.servers.database.resume()
    })
    .await?;
    let small_packets = async |system: &System| {
        let before = system.servers.database.query("SELECT @@GLOBAL.max_allowed_packet")?;
        sql(system, "SET GLOBAL max_allowed_packet = 1024")?;
        kill(system, 0)?;
        Ok(before.trim().to_owned())
    };
    hurt.endures("1153, statements are too large", "transient", small_packets, async |system, before| {
        sql(system, &format!("SET GLOBAL max_allowed_packet = {before}"))?;
        kill(system, 0)
    })
    .await?;
    hurt.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_room_or_that_takes_no_writes_is_saturated() -> Result<()> {
    let hurt = Hurt::begin().await?;
    let read_only = async |system: &System| sql(system, "SET GLOBAL read_only = 1");
    hurt.endures("1290, the server is read-only", "saturated", read_only, async |system, ()| {
        sql(system, "SET GLOBAL read_only = 0")
    })
    .await?;
    let account_full = async |system: &System| {
        let mut only = connection(&system.accounts.persister).await?;
        let own: u64 = sqlx::query_scalar("SELECT CONNECTION_ID()").fetch_one(&mut only).await?;
        let user = user(&system.accounts.persister);
        sql(system, &format!("ALTER USER '{user}'@'127.0.0.1' WITH MAX_USER_CONNECTIONS 1"))?;
        kill(system, own)?;
        Ok(only)
    };
    hurt.endures("1226, the account has no connection left", "saturated", account_full, async |system, only| {
        let user = user(&system.accounts.persister);
        sql(system, &format!("ALTER USER '{user}'@'127.0.0.1' WITH MAX_USER_CONNECTIONS 0"))?;
        only.close().await?;
        Ok(())
    })
    .await?;
    let server_full = async |system: &System| {
        // Of root's own: one more may not be had then.
        let mut root = connection(&system.accounts.root).await?;
        let before: u64 = sqlx::query_scalar("SELECT @@GLOBAL.max_connections").fetch_one(&mut root).await?;
        root.execute("SET GLOBAL max_connections = 10").await?;
        let of_persister = "SELECT CAST(id AS SIGNED) FROM information_schema.processlist WHERE user = ?";
        let mut all = Vec::new();
        // Until there is no room, also not what a killed connection leaves a moment later.
        for _ in 0..40 {
            let ids = sqlx::query_scalar::<_, i64>(of_persister).bind(user(&system.accounts.persister));
            for id in ids.fetch_all(&mut root).await? {
                // One that has gone meanwhile is no error.
                drop(root.execute(AssertSqlSafe(format!("KILL {id}"))).await);
            }
            match connection(&system.accounts.reader).await {
                Ok(one) => all.push(one),
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
        Ok((root, all, before))
    };
    hurt.endures(
        "1040, the server has no connection left",
        "saturated",
        server_full,
        async |_, (mut root, all, before)| {
            root.execute(AssertSqlSafe(format!("SET GLOBAL max_connections = {before}"))).await?;
            for one in all {
                one.close().await?;
            }
            Ok(())
        },
    )
    .await?;
    hurt.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g8_what_a_person_must_mend_is_fatal_dead_letters_nothing_and_goes_on_when_it_is_mended() -> Result<()> {
    let hurt = Hurt::begin().await?;
    let right = |system: &System, verb: &str, whom: &str| {
        let (schema, user) = (schema(system).replace('_', "\\_"), user(&system.accounts.persister));
        sql(system, &format!("{verb} INSERT, UPDATE ON `{schema}`.* {whom} '{user}'@'127.0.0.1'"))
    };
    let revoked = async |system: &System| {
        right(system, "REVOKE", "FROM")?;
        // A connection keeps the rights to its database that it came with.
        kill(system, 0)
    };
    hurt.endures("1142, a right is gone", "fatal", revoked, async |system, ()| right(system, "GRANT", "TO")).await?;
    let altered = async |system: &System, change: &str| -> Result<()> {
        let mut root = connection(&system.accounts.root).await?;
        root.execute(AssertSqlSafe(change)).await?;
        Ok(())
    };
    for (what, away, back) in [
        ("1146, the table is gone", "RENAME TABLE users TO elsewhere", "RENAME TABLE elsewhere TO users"),
        (
            "1054, a column is gone",
            "ALTER TABLE users RENAME COLUMN age TO age_of_old",
            "ALTER TABLE users RENAME COLUMN age_of_old TO age",
        ),
    ] {
        let away = async |system: &System| altered(system, away).await;
        hurt.endures(what, "fatal", away, async |system, ()| altered(system, back).await).await?;
    }
    hurt.end().await
}
