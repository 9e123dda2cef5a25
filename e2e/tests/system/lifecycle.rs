//! How processes start, stop, stall and die: in order and within budgets where they are asked to, without a hand afterwards
//! where they are not.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::journal::Load;
use e2e::system::{FAIL_POINTS, Servers, System, metric};
use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::{Value, json};
use stack::{Ended, Lifetime, Process, port};

use crate::faults::{prepared, settled, while_acknowledging};
use crate::wire::{JANE, Wire, head};

const SEED: u64 = 11;
/// The least that `--stall-after-ms` may be with [`quick`]'s other timings.
const STALL: Duration = Duration::from_millis(12_000);

/// Timings that let a stall be seen soon.
fn quick(servers: Servers) -> Result<System> {
    let timings = [
        ("REDIS_TIMEOUT_MS", "100"),
        ("CLOCK_SKEW_MS", "25"),
        ("DATABASE_TIMEOUT_MS", "2000"),
        ("DRAIN_DEADLINE_MS", "2000"),
        ("STALL_AFTER_MS", "12000"),
    ];
    Ok(timings.into_iter().fold(prepared(servers)?, |system, (name, value)| system.with(name, value)))
}

/// How a process ended by itself, and after how long.
fn ended(process: &Process, within: Duration) -> Result<(ExitStatus, Duration)> {
    let since = Instant::now();
    match process.wait(within)? {
        Ended::Yes(status) => Ok((status.context("a status")?, since.elapsed())),
        Ended::No => anyhow::bail!("{} goes on for more than {within:?}\n{}", process.name(), process.log_tail(20)),
    }
}

fn log(process: &Process) -> Result<String> {
    Ok(std::fs::read_to_string(process.log())?)
}

/// Without fail points from now on.
fn without_fail_points(system: &mut System) {
    system.settings.retain(|(name, _)| name != FAIL_POINTS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_stands_still_ends_the_process_in_order_and_all_goes_on_after_a_restart() -> Result<()> {
    let mut system = quick(Servers::shared())?;
    system.migrate()?;
    system.start_persister().await?;
    system = system.with(FAIL_POINTS, "task.rounds=20*off->pause");
    system.start_ingest().await?;
    let begun = Instant::now();
    let load = Load::start(&system.ingest_url, 4, 50, SEED);
    let seen = async || {
        let answer = system.client.get(format!("{}/livez", system.ingest_admin_url)).send().await?;
        Ok(answer.status() == 503 && answer.text().await?.contains("rounds"))
    };
    system.eventually("/livez fails and names the task", seen).await?;
    ensure!(begun.elapsed() >= STALL - Duration::from_secs(1), "seen after {:?}, which is no stall", begun.elapsed());
    let text = system.metrics(&system.ingest_admin_url).await?;
    ensure!(metric(&text, r#"write_behind_tasks_stalled{task="rounds"}"#) == Some(1.0), "{text}");
    let ingest = system.ingest.take().context("ingest")?;
    let (status, _) = ended(&ingest, Duration::from_secs(40))?;
    ensure!(!status.success(), "a stall is a failure");
    let said = log(&ingest)?;
    ensure!(said.contains("nothing was heard of rounds"), "{said}");
    without_fail_points(&mut system);
    system.start_ingest().await?;
    while_acknowledging(&load, 100).await?;
    settled(&system, &*load.finish().await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_thread_that_stands_still_ends_the_persister_and_its_partitions_are_taken_up_again() -> Result<()> {
    let mut system =
        quick(Servers::shared())?.with("STOP_WITHIN_MS", "3000").with(FAIL_POINTS, "task.intake=40*off->pause");
    system.migrate()?;
    system.start_persister().await?;
    without_fail_points(&mut system);
    system.start_ingest().await?;
    let load = Load::start(&system.ingest_url, 4, 50, SEED);
    let persister = system.persister.take().context("persister")?;
    let (status, _) = ended(&persister, STALL + Duration::from_secs(15))?;
    let said = log(&persister)?;
    ensure!(!status.success() && said.contains("nothing was heard of intake"), "{status:?}\n{said}");
    system.start_persister().await?;
    settled(&system, &*load.finish().await?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_dies_ends_the_process_in_order_and_all_goes_on_after_a_restart() -> Result<()> {
    for (service, place) in [("ingest", "task.write=200*off->panic"), ("persister", "task.lane=20*off->panic")] {
        let mut system = prepared(Servers::shared())?.with("STOP_DELAY_MS", "100");
        system.migrate()?;
        let plain = system.settings.clone();
        let doomed = |system: &mut System, now: bool| {
            system.settings.clone_from(&plain);
            if now {
                system.settings.push((FAIL_POINTS.to_owned(), place.to_owned()));
            }
        };
        doomed(&mut system, service == "persister");
        system.start_persister().await?;
        doomed(&mut system, service == "ingest");
        system.start_ingest().await?;
        let load = Load::start(&system.ingest_url, 4, 50, SEED);
        let taken = if service == "ingest" { system.ingest.take() } else { system.persister.take() };
        let process = taken.context("a process")?;
        let (status, _) = ended(&process, Duration::from_secs(40))?;
        let said = log(&process)?;
        ensure!(!status.success() && said.contains("died, the process stops"), "{service}: {status:?}\n{said}");
        doomed(&mut system, false);
        match service {
            "ingest" => system.start_ingest().await?,
            _ => system.start_persister().await?,
        }
        while_acknowledging(&load, 100).await?;
        settled(&system, &*load.finish().await?).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g5_stores_that_do_not_answer_are_no_stall() -> Result<()> {
    let system = quick(Servers::own()?)?.up().await?;
    for id in 0..20 {
        system.put("users", &id.to_string(), &json!({ "name": "Jane", "age": 1 })).await?;
    }
    let Servers { kafka, redis, database } = system.servers;
    database.pause()?;
    redis.pause()?;
    kafka.pause()?;
    let until = Instant::now() + STALL + Duration::from_secs(4);
    while Instant::now() < until {
        for (process, url) in
            [(&system.ingest, &system.ingest_admin_url), (&system.persister, &system.persister_admin_url)]
        {
            let live = system.client.get(format!("{url}/livez")).send().await?.status();
            let process = process.as_ref().context("a process")?;
            ensure!(live == 200 && process.is_running(), "{} takes an outage for a stall", process.name());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    database.resume()?;
    redis.resume()?;
    kafka.resume()?;
    system
        .eventually("writes are accepted again", async || {
            let answer = system.call(Method::PUT, "/users/1", Some(&json!({ "name": "Jane", "age": 2 }))).await?;
            Ok(answer.status() == 202)
        })
        .await?;
    crate::every_type::until_persisted(&system, "/users/1").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_paused_itself_does_not_take_the_pause_for_a_stall() -> Result<()> {
    let system = quick(Servers::shared())?.up().await?;
    for process in [&system.ingest, &system.persister].into_iter().flatten() {
        process.pause()?;
    }
    tokio::time::sleep(STALL + Duration::from_secs(2)).await;
    for process in [&system.ingest, &system.persister].into_iter().flatten() {
        process.resume()?;
    }
    system
        .eventually("writes are accepted again", async || {
            let answer = system.call(Method::PUT, "/users/1", Some(&json!({ "name": "Jane", "age": 2 }))).await?;
            Ok(answer.status() == 202)
        })
        .await?;
    crate::every_type::until_persisted(&system, "/users/1").await?;
    for process in [&system.ingest, &system.persister].into_iter().flatten() {
        ensure!(process.is_running() && !log(process)?.contains("nothing was heard of"), "{}", process.log_tail(20));
    }
    Ok(())
}

/// A client with one connection that reads every answer to its end. Returns how many writes were accepted when it was told that
/// the connection ends, and when that was; an error if it ends without that.
fn write_until_farewell(url: &str, client: usize) -> Result<(u32, Instant)> {
    let mut wire = Wire::open(url)?;
    for count in 0_u32.. {
        wire.send(&(head("PUT", &format!("/users/{client}-{count}"), JANE.len()) + JANE))?;
        let answer = wire.answer().with_context(|| format!("request {count}"))?;
        ensure!(answer.status == 202, "{}", answer.head);
        if answer.ends {
            return Ok((count + 1, Instant::now()));
        }
    }
    bail!("it was never told")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ingest_told_to_stop_falls_in_readiness_first_answers_what_it_has_and_loses_nothing() -> Result<()> {
    let mut system = prepared(Servers::shared())?.with("STOP_DELAY_MS", "4000").up().await?;
    let clients: Vec<_> = (0..6)
        .map(|client| {
            let url = system.ingest_url.clone();
            std::thread::spawn(move || write_until_farewell(&url, client))
        })
        .collect();
    let ingest = system.ingest.take().context("ingest")?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    ingest.signal(Signal::SIGTERM)?;
    let begun = Instant::now();
    system
        .eventually("its readiness falls", async || {
            let answer = system.client.get(format!("{}/readyz", system.ingest_admin_url)).send().await?;
            Ok(answer.status() == 503)
        })
        .await?;
    let late = system.put("users", "late", &json!({ "name": "Jane", "age": 1 })).await;
    ensure!(begun.elapsed() < Duration::from_millis(3900), "too slow a machine to see it before it stops listening");
    late.context("with the readiness fallen it no longer takes what still comes")?;
    let (status, took) = ended(&ingest, Duration::from_secs(40))?;
    ensure!(status.success(), "{status:?}\n{}", ingest.log_tail(20));
    ensure!(took < Duration::from_secs(15), "a stop with nothing in the way took {took:?}");
    let mut accepted = 1;
    for client in clients {
        let (writes, told) = client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
        let after = told - begun;
        ensure!(
            after < Duration::from_secs(4),
            "told only {after:?} later, when connections are closed that stand idle"
        );
        accepted += writes;
    }
    system.start_ingest().await?;
    let table = system.table().await?;
    system
        .eventually("every accepted write is in the table", async || {
            let rows: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM users").fetch_one(&table).await?;
            Ok(rows == i64::from(accepted))
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_persister_told_to_stop_leaves_the_group_so_that_others_go_on_at_once() -> Result<()> {
    let mut system = prepared(Servers::shared())?.with("SESSION_TIMEOUT_MS", "45000").up().await?;
    let url = format!("http://127.0.0.1:{}", port::free()?);
    let second = Process::spawn(&system.persister_spec(&url), Lifetime::Attached)?;
    system.ready(&second, &url).await?;
    let load = Load::start(&system.ingest_url, 4, 200, SEED);
    while_acknowledging(&load, 200).await?;
    let first = system.persister.take().context("persister")?;
    first.signal(Signal::SIGTERM)?;
    let (status, took) = ended(&first, Duration::from_secs(30))?;
    ensure!(status.success(), "{status:?}\n{}", first.log_tail(20));
    ensure!(took < Duration::from_secs(20), "it took {took:?}");
    while_acknowledging(&load, 50).await?;
    let begun = Instant::now();
    settled(&system, &*load.finish().await?).await?;
    let waited = begun.elapsed();
    ensure!(waited < Duration::from_secs(30), "its partitions were taken up only {waited:?} later: it did not leave");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_stop_within_their_budgets_while_a_store_does_not_answer() -> Result<()> {
    let mut system = prepared(Servers::own()?)?.with("STOP_DELAY_MS", "100").with("DATABASE_TIMEOUT_MS", "2000");
    system.migrate()?;
    for store in ["redis", "kafka", "mysql"] {
        system.start_persister().await?;
        system.start_ingest().await?;
        let load = Load::start(&system.ingest_url, 4, 50, SEED);
        while_acknowledging(&load, 50).await?;
        let Servers { kafka, redis, database } = system.servers;
        let hold = |pause: bool| match (store, pause) {
            ("redis", true) => redis.pause(),
            ("redis", false) => redis.resume(),
            ("kafka", true) => kafka.pause(),
            ("kafka", false) => kafka.resume(),
            (_, true) => database.pause(),
            (_, false) => database.resume(),
        };
        hold(true)?;
        let processes = [system.ingest.take().context("ingest")?, system.persister.take().context("persister")?];
        for process in &processes {
            process.signal(Signal::SIGTERM)?;
        }
        for (process, most) in processes.iter().zip([36, 55]) {
            let (status, took) = ended(process, Duration::from_secs(most))?;
            let said = log(process)?;
            ensure!(!said.contains("ends as it is"), "{store} away: {} took {took:?}\n{said}", process.name());
            // A group that cannot be left is no clean end: its partitions are free only once the session has timed out.
            let unclean = store == "kafka" && process.name() == "persister";
            ensure!(
                status.success() || unclean,
                "{store} away: {} {status:?}\n{}",
                process.name(),
                process.log_tail(20)
            );
        }
        hold(false)?;
        let journal = load.finish().await?;
        system.start_persister().await?;
        system.start_ingest().await?;
        settled(&system, &journal).await.with_context(|| format!("{store} was away"))?;
        for process in [&system.ingest, &system.persister].into_iter().flatten() {
            process.kill()?;
        }
        // Each journal knows of no other records than its own.
        let root = Box::pin(sqlx::MySqlPool::connect(&system.accounts.root)).await?;
        sqlx::query("DELETE FROM users").execute(&root).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_that_takes_too_long_and_a_second_signal_end_the_process_as_it_is() -> Result<()> {
    let mut system = prepared(Servers::shared())?.with("STOP_WITHIN_MS", "2000").with(FAIL_POINTS, "stop.begun=pause");
    system.migrate()?;
    system.start_ingest().await?;
    system.start_persister().await?;
    let (ingest, persister) = (system.ingest.take().context("ingest")?, system.persister.take().context("persister")?);
    for process in [&ingest, &persister] {
        process.signal(Signal::SIGTERM)?;
    }
    for process in [&ingest, &persister] {
        let (status, took) = ended(process, Duration::from_secs(10))?;
        ensure!(status.code() == Some(1) && took < Duration::from_secs(6), "{status:?} after {took:?}");
        let said = log(process)?;
        ensure!(said.contains("not stopped in order within 2s"), "{said}");
    }
    system.settings.retain(|(name, _)| name != "STOP_WITHIN_MS");
    system.start_ingest().await?;
    let ingest = system.ingest.take().context("ingest")?;
    ingest.signal(Signal::SIGTERM)?;
    system.eventually("it has heard the first", async || Ok(log(&ingest)?.matches("SIGTERM").count() >= 2)).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    ensure!(ingest.is_running(), "nothing ends it before its budget is over");
    ingest.signal(Signal::SIGTERM)?;
    let (status, _) = ended(&ingest, Duration::from_secs(5))?;
    ensure!(status.code() == Some(1) && log(&ingest)?.contains("asked to stop a second time"), "{status:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g5_each_service_starts_with_any_one_or_two_stores_away_and_says_what_it_can_do() -> Result<()> {
    let mut system = prepared(Servers::shared())?;
    system.migrate()?;
    let nobody = format!("127.0.0.1:{}", port::free()?);
    let away = |spec: stack::Spec, stores: &[&str]| {
        stores.iter().fold(spec, |spec, store| match *store {
            "redis" => spec.env("REDIS_URL", format!("redis://{nobody}")),
            "kafka" => spec.env("KAFKA_BROKERS", &nobody),
            _ => spec.env("DATABASE_URL", format!("mysql://nobody@{nobody}/nothing")),
        })
    };
    let all = [&["redis"][..], &["kafka"], &["mysql"], &["redis", "kafka"], &["redis", "mysql"], &["kafka", "mysql"]];
    for stores in all {
        let ingest = Process::spawn(&away(system.ingest_spec(), stores), Lifetime::Attached)?;
        let persister =
            Process::spawn(&away(system.persister_spec(&system.persister_admin_url), stores), Lifetime::Attached)?;
        let said = async |url: &str| -> Result<Option<Value>> {
            let answer = system.client.get(format!("{url}/readyz?verbose")).send().await;
            Ok(match answer {
                Ok(answer) => Some(answer.json().await?),
                Err(_) => None,
            })
        };
        let ready = if stores == ["redis", "kafka"] { "not ready" } else { "degraded" };
        for (process, url, status) in [
            (&ingest, &system.ingest_admin_url, ready),
            // It consumes once it knows that tables and topics fit; without Redis alone it does.
            (&persister, &system.persister_admin_url, if stores == ["redis"] { "degraded" } else { "not ready" }),
        ] {
            let what = format!("{} says with {stores:?} away: {status}", process.name());
            let mut last = Value::Null;
            let seen = system
                .eventually(&what, async || {
                    ensure!(process.is_running(), "{what}: it has ended\n{}", process.log_tail(20));
                    last = said(url).await?.unwrap_or_default();
                    let up = |store: &str| last["dependencies"][store] == "up";
                    let as_is = ["redis", "kafka", "mysql"].iter().all(|store| up(store) != stores.contains(store));
                    Ok(as_is && last["status"] == status)
                })
                .await;
            seen.with_context(|| format!("it said {last}"))?;
        }
        for process in [ingest, persister] {
            process.signal(Signal::SIGTERM)?;
            let (status, _) = ended(&process, Duration::from_secs(40))?;
            ensure!(status.success(), "{} with {stores:?} away: {status:?}\n{}", process.name(), process.log_tail(20));
        }
    }
    // And with all there again.
    system.start_persister().await?;
    system.start_ingest().await?;
    system.put("users", "1", &json!({ "name": "Jane", "age": 1 })).await?;
    crate::every_type::until_persisted(&system, "/users/1").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_of_each_process_and_each_server_in_turn_needs_no_hand_afterwards() -> Result<()> {
    let mut system = prepared(Servers::own()?)?.up().await?;
    let Servers { kafka, redis, database } = system.servers;
    let load = Load::start(&system.ingest_url, 6, 100, SEED);
    for victim in ["ingest", "persister", "redis", "kafka", "mysql"] {
        while_acknowledging(&load, 150).await.with_context(|| format!("before {victim} is killed"))?;
        match victim {
            "ingest" => {
                system.ingest.take().context("ingest")?.kill()?;
                system.ingest = Some(Process::spawn(&system.ingest_spec(), Lifetime::Attached)?);
            }
            "persister" => {
                system.persister.take().context("persister")?.kill()?;
                system.persister =
                    Some(Process::spawn(&system.persister_spec(&system.persister_admin_url), Lifetime::Attached)?);
            }
            "redis" => redis.kill().and_then(|()| redis.restart())?,
            "kafka" => kafka.kill().and_then(|()| kafka.restart())?,
            _ => database.kill().and_then(|()| database.restart())?,
        }
        while_acknowledging(&load, 150).await.with_context(|| format!("{victim} was killed and started again"))?;
    }
    let journal = load.finish().await?;
    settled(&system, &journal).await?;
    for process in [&system.ingest, &system.persister].into_iter().flatten() {
        ensure!(
            process.is_running(),
            "{} has ended: somebody has to start it\n{}",
            process.name(),
            process.log_tail(20)
        );
    }
    Ok(())
}
