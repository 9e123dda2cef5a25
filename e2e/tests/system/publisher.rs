//! `publisher users --file …`: every line of a file becomes a write, whatever happens on the way, and none is written twice.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::system::{binary, metric};
use e2e::{Servers, System};
use serde_json::{Value, json};
use sqlx::Row;
use stack::{Ended, Lifetime, Place, Process, Redis, Spec, Tools, shared};

/// A publisher of one file.
struct Publisher {
    spec: Spec,
    file: PathBuf,
}

/// How one ended: its exit code, and all that it printed.
struct Ran {
    code: i32,
    said: String,
}

impl Publisher {
    fn of(system: &System, name: &str, text: &str) -> Result<Self> {
        let file = shared::scratch("publisher").join(name);
        std::fs::write(&file, text)?;
        let spec = system.spec("publisher", "publisher", "").env("INGEST_URL", &system.ingest_url);
        Ok(Self { spec: spec.args(["users", "--file"]).arg(&file), file })
    }

    fn with(&self, more: &[&str]) -> Self {
        Self { spec: self.spec.clone().args(more), file: self.file.clone() }
    }

    fn start(&self) -> Result<Process> {
        Process::spawn(&self.spec, Lifetime::Attached)
    }

    fn run(&self) -> Result<Ran> {
        ended(&self.start()?)
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        PathBuf::from(format!("{}{suffix}", self.file.display()))
    }

    /// Waits until the state on disk names a line beyond `line`.
    fn until_beyond(&self, line: u64) -> Result<u64> {
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if let Ok(text) = std::fs::read(self.beside(".progress"))
                && let Some(done) = serde_json::from_slice::<Value>(&text)?["done"]["line"].as_u64()
                && done > line
            {
                return Ok(done);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("no line beyond {line} is done")
    }

    fn failed(&self) -> Result<Vec<Value>> {
        let text = std::fs::read_to_string(self.beside(".failed.ndjson"))?;
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }
}

fn ended(process: &Process) -> Result<Ran> {
    let Ended::Yes(Some(status)) = process.wait(Duration::from_secs(60))? else {
        bail!("the publisher does not end: {}", process.log_tail(20))
    };
    Ok(Ran { code: status.code().context("it was killed")?, said: process.log_tail(100) })
}

/// Whose line it is: each of these files has several lines a record.
fn far_apart(line: u64) -> u64 {
    line % 1500
}

/// As [`far_apart`], one right behind the other.
fn together(line: u64) -> u64 {
    line / 4
}

/// Users whose name is the line's number.
fn lines(count: u64, of: fn(u64) -> u64) -> String {
    (1..=count).map(|n| format!("{{\"id\":\"u{}\",\"name\":\"line {n}\",\"age\":7}}\n", of(n))).collect()
}

/// The last line of each of them.
fn newest(count: u64, of: fn(u64) -> u64) -> HashMap<String, String> {
    (1..=count).map(|n| (format!("u{}", of(n)), format!("line {n}"))).collect()
}

async fn names(system: &System) -> Result<HashMap<String, String>> {
    let rows = sqlx::query("SELECT id, name FROM users_live").fetch_all(&system.table().await?).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

async fn table_holds(system: &System, expected: &HashMap<String, String>) -> Result<()> {
    system
        .eventually("the table holds the newest line of every record", async || Ok(names(system).await? == *expected))
        .await
}

async fn accepted(system: &System) -> Result<f64> {
    let text = system.metrics(&system.ingest_admin_url).await?;
    Ok(metric(&text, "write_behind_accepted_total{entity=\"users\",op=\"upsert\",state=\"logged\"}").unwrap_or(0.0))
}

#[tokio::test]
async fn of_two_thousand_lines_the_bad_ones_are_named_and_all_others_are_in_the_table() -> Result<()> {
    let system = System::start().await?;
    let mut all: Vec<String> = lines(2000, |n| n).lines().map(str::to_owned).collect();
    all[16] = r#"{"id":"u17","name":"line 17","age":"old"}"#.to_owned();
    all[499] = r#"{"id":"u500","name":"#.to_owned();
    all[1998] = r#"{"id":"u1999","nmae":"line 1999"}"#.to_owned();
    let publisher = Publisher::of(&system, "people.ndjson", &all.join("\n\n"))?;
    let ran = publisher.run()?;
    assert_eq!(ran.code, 1, "{}", ran.said);
    // Blank lines count, so that the number is the editor's.
    for word in ["lines=2000 written=1997 failed=3", "line 33: 422 /age expected", "line 999: 400 ", "line 3997: 422 /"]
    {
        assert!(ran.said.contains(word), "no {word:?} in {}", ran.said);
    }
    let mut expected = newest(2000, |n| n);
    expected.retain(|id, _| !["u17", "u500", "u1999"].contains(&id.as_str()));
    table_holds(&system, &expected).await?;
    assert!(!publisher.beside(".progress").exists(), "nothing is left to go on with");

    let failed = publisher.failed()?;
    assert_eq!(failed.iter().map(|line| line["line"].as_u64()).collect::<Vec<_>>(), [Some(33), Some(999), Some(3997)]);
    assert_eq!(failed[0]["errors"][0]["pointer"], "/age");
    assert_eq!(failed[1]["text"], r#"{"id":"u500","name":"#);
    let mut mended = failed[0]["record"].clone();
    mended["age"] = json!(17);
    let mended = Publisher::of(&system, "mended.ndjson", &mended.to_string())?;
    assert_eq!(mended.run()?.code, 0);
    expected.insert("u17".to_owned(), "line 17".to_owned());
    table_holds(&system, &expected).await
}

#[tokio::test]
async fn rows_of_a_csv_become_what_their_fields_hold_and_the_same_file_again_writes_nothing_new() -> Result<()> {
    let system = System::start().await?;
    let mut text = "\u{feff}name,age,occupation,id\r\n".to_owned();
    for n in 1..=2000 {
        text.push_str(&format!("\"line {n},\nof \"\"two\"\"\",{},,\r\n", n % 100));
    }
    text.push_str("no age,,baker,\r\nold,old,baker,\r\nmore,1,baker,7,8\r\nkept,1,\"a,b\",7\r\n");
    let publisher = Publisher::of(&system, "people.csv", &text)?;
    let ran = publisher.run()?;
    assert_eq!(ran.code, 1, "{}", ran.said);
    // A row of two lines is where it begins; the header is the first.
    for word in
        ["written=2001 failed=3", "line 4002: 422 /age is required", "line 4003: 422 /age", "line 4004: the row has 5"]
    {
        assert!(ran.said.contains(word), "no {word:?} in {}", ran.said);
    }
    let all = async || names(&system).await;
    system.eventually("every row is in the table", async || Ok(all().await?.len() == 2001)).await?;
    let before = all().await?;
    assert_eq!(before["7"], "kept");
    assert!((1..=2000).all(|n| before.values().any(|name| *name == format!("line {n},\nof \"two\""))));
    let sql = "SELECT COUNT(*) FROM users_live WHERE occupation IS NULL AND name LIKE 'line%'";
    let empty: i64 = sqlx::query_scalar(sql).fetch_one(&system.table().await?).await?;
    assert_eq!(empty, 2000, "an empty cell is no text");

    let accepted_before = accepted(&system).await?;
    let again = publisher.run()?;
    assert_eq!(again.code, 1, "{}", again.said);
    assert_eq!(accepted(&system).await?, accepted_before + 2001.0);
    system.put("users", "last", &json!({"name": "after all of them", "age": 1})).await?;
    system.eventually("all is applied", async || Ok(all().await?.contains_key("last"))).await?;
    assert_eq!(all().await?.len(), 2002, "the second run wrote other records than the first");

    let accepted_before = accepted(&system).await?;
    let ran = Publisher::of(&system, "wrong.csv", "name,aeg\nx,1\n")?.run()?;
    assert_eq!(ran.code, 2, "{}", ran.said);
    assert!(ran.said.contains("\"aeg\"") && ran.said.contains("known are id, name, age"), "{}", ran.said);
    assert_eq!(accepted(&system).await?, accepted_before, "nothing is sent of a file whose header is wrong");
    Ok(())
}

#[tokio::test]
async fn a_killed_publisher_goes_on_where_it_was_and_loses_no_line() -> Result<()> {
    let count = 4000;
    let system = System::start().await?;
    let publisher = Publisher::of(&system, "people.ndjson", &lines(count, far_apart))?.with(&["--concurrency", "2"]);
    let first = publisher.start()?;
    publisher.until_beyond(1)?;
    first.kill()?;
    let done = publisher.until_beyond(1)?;
    ensure!(done <= count, "it was killed too late to show anything");

    let before = accepted(&system).await?;
    let ran = publisher.run()?;
    assert_eq!(ran.code, 0, "{}", ran.said);
    assert!(ran.said.contains(&format!("going on at line {done}")), "{}", ran.said);
    assert!(ran.said.contains(&format!("lines={count} written={count} failed=0")), "{}", ran.said);
    table_holds(&system, &newest(count, far_apart)).await?;
    // What was under way when it was killed may be accepted after we looked.
    let sent = accepted(&system).await? - before;
    assert!(sent <= (count - done + 1 + 2) as f64, "{sent} lines were sent, it went on at {done} of {count}");
    Ok(())
}

#[tokio::test]
async fn an_ingest_that_is_away_for_a_while_costs_no_line_and_one_that_stays_away_ends_the_run() -> Result<()> {
    let count = 4000;
    let mut system = System::start().await?;
    let publisher = Publisher::of(&system, "people.ndjson", &lines(count, far_apart))?.with(&["--concurrency", "2"]);
    let running = publisher.with(&["--retry-for-s", "1"]).start()?;
    publisher.until_beyond(1)?;
    system.ingest.take().context("ingest")?.kill()?;
    let ran = ended(&running)?;
    assert_eq!(ran.code, 3, "{}", ran.said);
    assert!(ran.said.contains("took no write for 1 s") && ran.said.contains("goes on at line"), "{}", ran.said);
    let ran = publisher.run()?;
    assert_eq!(ran.code, 2, "{}", ran.said);
    assert!(ran.said.contains("does not answer") && ran.said.contains("--ingest-url"), "{}", ran.said);

    system.start_ingest().await?;
    let at = publisher.until_beyond(1)?;
    let running = publisher.start()?;
    publisher.until_beyond(at)?;
    system.ingest.take().context("ingest")?.kill()?;
    std::thread::sleep(Duration::from_secs(2));
    system.start_ingest().await?;
    let ran = ended(&running)?;
    assert_eq!(ran.code, 0, "{}", ran.said);
    assert!(ran.said.contains(&format!("lines={count} written={count} failed=0")), "{}", ran.said);
    assert!(!ran.said.contains("retries=0 "), "{}", ran.said);
    table_holds(&system, &newest(count, far_apart)).await
}

#[tokio::test]
async fn a_redis_that_stands_still_is_waited_for() -> Result<()> {
    let place = Place::attached(shared::scratch("redis"));
    let redis = Box::leak(Box::new(Redis::start(&Tools::find(), &place)?));
    let system = System::prepare(Servers { redis, ..Servers::shared() })?.with("CACHE_AWAY", "refuse").up().await?;
    let publisher = Publisher::of(&system, "people.ndjson", &lines(2000, far_apart))?.with(&["--concurrency", "8"]);
    let running = publisher.start()?;
    let until = Instant::now() + Duration::from_secs(20);
    while accepted(&system).await? < 100.0 {
        ensure!(Instant::now() < until, "nothing is accepted");
    }
    redis.pause()?;
    // Until ingest has said 504 or 503 to some.
    system
        .eventually("ingest refuses writes", async || {
            let text = system.metrics(&system.ingest_admin_url).await?;
            let refused =
                |line: &str| line.starts_with("write_behind_rejected_total{entity=\"users\"") && !line.ends_with(" 0");
            Ok(text.lines().any(refused))
        })
        .await?;
    redis.resume()?;
    let ran = ended(&running)?;
    assert_eq!(ran.code, 0, "{}", ran.said);
    assert!(ran.said.contains("written=2000 failed=0") && !ran.said.contains("retries=0 "), "{}", ran.said);
    table_holds(&system, &newest(2000, far_apart)).await
}

#[tokio::test]
async fn lines_with_the_same_id_are_written_in_the_files_order() -> Result<()> {
    let system = System::start().await?;
    let ran = Publisher::of(&system, "people.ndjson", &lines(4000, together))?.run()?;
    assert_eq!(ran.code, 0, "{}", ran.said);
    table_holds(&system, &newest(4000, together)).await
}

#[tokio::test]
async fn an_interrupted_publisher_says_how_to_go_on_and_takes_no_other_file_for_its_own() -> Result<()> {
    let count = 4000;
    let system = System::start().await?;
    let publisher = Publisher::of(&system, "people.ndjson", &lines(count, far_apart))?.with(&["--concurrency", "2"]);
    let running = publisher.start()?;
    publisher.until_beyond(1)?;
    assert!(publisher.run()?.said.contains("another publisher is at work"), "two on one file");
    running.signal(nix::sys::signal::Signal::SIGINT)?;
    let ran = ended(&running)?;
    assert_eq!(ran.code, 130, "{}", ran.said);
    let done = publisher.until_beyond(1)?;
    assert!(ran.said.contains(&format!("interrupted; the same command goes on at line {done}")), "{}", ran.said);

    std::fs::write(&publisher.file, lines(count + 1, far_apart))?;
    let changed = publisher.run()?;
    assert_eq!(changed.code, 2, "{}", changed.said);
    assert!(changed.said.contains("has changed") && changed.said.contains("--restart"), "{}", changed.said);

    std::fs::write(&publisher.file, lines(count, far_apart))?;
    let ran = publisher.run()?;
    assert_eq!(ran.code, 0, "{}", ran.said);
    table_holds(&system, &newest(count, far_apart)).await
}

#[tokio::test]
async fn standard_input_is_taken_where_lines_have_ids() -> Result<()> {
    let system = System::start().await?;
    let folder = shared::scratch("publisher");
    let stream = |text: &str| stream(&system, &folder, text);
    let ran = stream(&lines(100, |n| n))?;
    assert_eq!(ran.code, 0, "{}", ran.said);
    table_holds(&system, &newest(100, |n| n)).await?;
    let ran = stream("{\"name\":\"x\",\"age\":1}\n")?;
    assert_eq!(ran.code, 1, "{}", ran.said);
    assert!(ran.said.contains("line 1: the line has no id"), "{}", ran.said);
    assert!(folder.join("stdin.failed.ndjson").exists());
    Ok(())
}

fn stream(system: &System, folder: &Path, text: &str) -> Result<Ran> {
    let mut child = Command::new(binary("publisher"))
        .args(["users", "--file", "-"])
        .env("INGEST_URL", &system.ingest_url)
        .env("SCHEMAS_DIR", &system.schemas)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("its input")?.write_all(text.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
    Ok(Ran { code: output.status.code().context("it was killed")?, said })
}
