//! Bulks while they run: a client that waits, pauses, reads nothing or goes away; and servers that do.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::system::FAIL_POINTS;
use e2e::{Servers, System};
use futures_util::future::join;
use reqwest::Method;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::answers::shown;
use crate::bulk::{NDJSON, line, packed, resident, told};

/// A bulk request whose client sends and reads when it likes.
pub(crate) struct Talk {
    write: OwnedWriteHalf,
    results: Results,
}

/// What a bulk answers, as it comes; and a line of which only the beginning has come.
struct Results(BufReader<OwnedReadHalf>, String);

impl Talk {
    /// Sends the head, and reads that of the answer, which comes before any line is sent.
    pub(crate) async fn open(system: &System, headers: &[&str]) -> Result<Self> {
        let (read, write) = TcpStream::connect(system.ingest_url.trim_start_matches("http://")).await?.into_split();
        let mut this = Self { write, results: Results(BufReader::new(read), String::new()) };
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let head = format!(
            "POST /users:bulk HTTP/1.1\r\nHost: ingest\r\n{}: {}\r\nTransfer-Encoding: chunked\r\n{headers}\r\n",
            NDJSON.0, NDJSON.1
        );
        this.write.write_all(head.as_bytes()).await?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            ensure!(this.results.0.read_line(&mut head).await? > 0, "no answer: {head}");
        }
        ensure!(head.starts_with("HTTP/1.1 207"), "{head}");
        Ok(this)
    }

    /// Sends some text as a chunk.
    pub(crate) async fn say(&mut self, text: impl AsRef<[u8]>) -> Result<()> {
        Ok(self.write.write_all(&chunk(text)).await?)
    }

    /// Never stops sending lines, and hears what comes until the answer's end.
    pub(crate) async fn without_end(self, pause: Duration) -> Result<Vec<Value>> {
        let Self { mut write, mut results } = self;
        let sending = async {
            for at in 0.. {
                write.write_all(&chunk(line(&format!("endless-{at}"), 7))).await.context("sending goes on")?;
                tokio::time::sleep(pause).await;
            }
            anyhow::Ok(())
        };
        tokio::select! {
            biased;
            rest = results.rest() => rest,
            sent = sending => anyhow::bail!("there was no end to the answer: {sent:?}"),
        }
    }

    /// Some results, at least one.
    pub(crate) async fn hear(&mut self) -> Result<Vec<Value>> {
        self.results.chunk().await?.context("the answer has ended")
    }

    /// Ends the request, and hears the rest.
    pub(crate) async fn end(mut self) -> Result<Vec<Value>> {
        self.write.write_all(b"0\r\n\r\n").await?;
        self.results.rest().await
    }
}

fn chunk(text: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = text.as_ref();
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

impl Results {
    /// The next chunk of results; `None` at their end.
    async fn chunk(&mut self) -> Result<Option<Vec<Value>>> {
        let mut length = String::new();
        let length = tokio::time::timeout(Duration::from_secs(20), self.0.read_line(&mut length)).await.map(|_| length);
        let length = usize::from_str_radix(length.context("no result came in time")?.trim(), 16)?;
        let mut text = vec![0; length + 2];
        self.0.read_exact(&mut text).await?;
        self.1 += std::str::from_utf8(&text)?.strip_suffix("\r\n").context("a chunk without its end")?;
        let (lines, begun) = self.1.rsplit_once('\n').unwrap_or(("", &self.1));
        let (lines, begun) = (lines.to_owned(), begun.to_owned());
        self.1 = begun;
        if length == 0 {
            Ok(None)
        } else {
            Ok(Some(lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?))
        }
    }

    /// What comes until the answer's end.
    async fn rest(&mut self) -> Result<Vec<Value>> {
        let mut rest = Vec::new();
        while let Some(results) = self.chunk().await? {
            rest.extend(results);
        }
        Ok(rest)
    }
}

fn is(status: u64, told: &str) -> (u64, String) {
    (status, told.to_owned())
}

async fn nothing_is_left(system: &System) -> Result<()> {
    let series = ["write_behind_bulks", "write_behind_bulk_lines", "write_behind_bodies_bytes"];
    let none = async || {
        for series in series {
            if shown(system, series).await? != 0.0 {
                return Ok(false);
            }
        }
        Ok(true)
    };
    system.eventually("every place and all room are given back", none).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_comes_while_the_request_goes_on_and_a_silent_client_is_told_so_at_the_end() -> Result<()> {
    let system = System::prepare(Servers::shared())?.with("BODY_DEADLINE_MS", "1000").up().await?;
    let mut talk = Talk::open(&system, &[]).await?;
    for at in 0..5 {
        talk.say(&line("1", at)).await?;
        let results = talk.hear().await?;
        assert_eq!((results.len(), told(&results[0])), (1, is(202, "logged")), "{results:?}");
        assert_eq!(results[0]["line"], at + 1);
    }
    // Half a line, and then nothing more.
    talk.say("{\"id\":\"2\",").await?;
    let begun = Instant::now();
    let rest = talk.results.rest().await?;
    assert_eq!(rest.iter().map(told).collect::<Vec<_>>(), [is(408, "slow-body")]);
    assert_eq!(rest[0]["line"], 6);
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_millis(950), "told after {waited:?}, before the time was over");
    nothing_is_left(&system).await?;

    // A body that breaks off in the middle: the connection's other half is still there to be told.
    let mut talk = Talk::open(&system, &[]).await?;
    talk.say(&(line("3", 3) + "{\"id\":\"4\"}")).await?;
    talk.write.shutdown().await?;
    let rest = talk.results.rest().await?;
    assert_eq!(rest.iter().map(told).collect::<Vec<_>>(), [is(202, "logged"), is(400, "broken-body")], "{rest:?}");
    nothing_is_left(&system).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_kafka_paused_lines_are_cached_and_no_client_that_waits_for_us_is_taken_for_silent() -> Result<()> {
    let system = crate::faults::prepared(Servers::own()?)?.with("BODY_DEADLINE_MS", "300").up().await?;
    let mut talk = Talk::open(&system, &[]).await?;
    talk.say(&line("0", 0)).await?;
    assert_eq!(told(&talk.hear().await?[0]), is(202, "logged"));
    system.servers.kafka.pause()?;
    let begun = Instant::now();
    talk.say(&(1..=300).map(|at| line(&format!("{at}"), 7)).collect::<String>()).await?;
    let mut results = Vec::new();
    while results.len() < 300 {
        results.extend(talk.hear().await?);
    }
    assert!(begun.elapsed() > Duration::from_millis(600), "it was not waited for Kafka: {:?}", begun.elapsed());
    assert!(results.iter().all(|result| told(result) == is(202, "cached")), "{results:?}");
    assert_eq!(talk.end().await?.len(), 0, "the client was taken for silent");
    let headers = [("Prefer", "state=logged")];
    let insisted =
        crate::bulk::results(crate::bulk::bulk(&system, &headers, line("x", 1) + &line("y", 2)).await?).await?;
    for result in insisted {
        ensure!(result["status"] == 503 || result["status"] == 504, "`logged` cannot be met for any line: {result}");
    }
    system.servers.kafka.resume()?;
    system
        .eventually("the table has all of them", async || {
            let ids = (1..=300).map(|id| id.to_string()).collect::<Vec<_>>();
            Ok(rows(&system, &ids).await? == 300)
        })
        .await
}

/// How many of these the table has with age 7.
async fn rows(system: &System, ids: &[String]) -> Result<usize> {
    let found: Vec<String> = sqlx::query_scalar("SELECT id FROM users WHERE age = 7 AND deleted = 0")
        .fetch_all(&system.table().await?)
        .await?;
    let found: std::collections::HashSet<_> = found.into_iter().collect();
    Ok(ids.iter().filter(|id| found.contains(*id)).count())
}

/// Each line says what happened to it: what was acknowledged is in the table in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g1_with_redis_killed_in_the_middle_every_line_has_a_result_and_nothing_acknowledged_is_lost() -> Result<()> {
    const LINES: usize = 3_000;
    let system = crate::faults::prepared(Servers::own()?)?.up().await?;
    let Talk { mut write, mut results } = Talk::open(&system, &[]).await?;
    let writing = async {
        for at in 0..LINES / 50 {
            let text: String = (at * 50..at * 50 + 50).map(|at| line(&format!("{at}"), 7)).collect();
            write.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).await?;
            if at == 20 {
                system.servers.redis.kill()?;
            } else if at == 40 {
                system.servers.redis.restart()?;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        write.write_all(b"0\r\n\r\n").await?;
        anyhow::Ok(())
    };
    let (written, results) = join(writing, results.rest()).await;
    written?;
    let results = results?;
    assert_eq!(results.len(), LINES, "a result for each line");
    let accepted = |result: &&Value| result["status"] == 202;
    let acknowledged: Vec<_> =
        results.iter().filter(accepted).filter_map(|result| Some(result["id"].as_str()?.to_owned())).collect();
    let mut tally = BTreeMap::<_, usize>::new();
    results.iter().for_each(|result| *tally.entry(told(result)).or_default() += 1);
    assert!(acknowledged.len() > 300, "{tally:?}");
    for result in results.iter().filter(|result| result["status"] != 202) {
        ensure!(result["status"] == 503 || result["status"] == 504, "neither 503 nor 504: {result}");
    }
    system
        .eventually("all that was acknowledged is in the table", async || {
            Ok(rows(&system, &acknowledged).await? == acknowledged.len())
        })
        .await?;
    nothing_is_left(&system).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_that_goes_away_had_sent_is_written_and_everything_is_given_back() -> Result<()> {
    let system = System::start().await?;
    let mut talk = Talk::open(&system, &[]).await?;
    talk.say(&(0..200).map(|at| line(&format!("{at}"), 7)).collect::<String>()).await?;
    talk.hear().await?;
    drop(talk);
    nothing_is_left(&system).await?;
    let accepted = shown(&system, r#"write_behind_accepted_total{entity="users",op="upsert",state="logged"}"#).await?;
    assert!(accepted >= 1.0);
    let ids: Vec<_> = (0..200).map(|at| at.to_string()).collect();
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let written = async || Ok(rows(&system, &ids).await? as f64 == accepted);
    system.eventually("what was accepted, and nothing else, is in the table", written).await
}

/// The window goes on by itself: what was read is written and answered, and then waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_a_client_that_reads_nothing_holds_neither_writes_nor_room() -> Result<()> {
    let system = System::prepare(Servers::shared())?.with("BULK_LINES_MOST", "16").up().await?;
    let mut talk = Talk::open(&system, &[]).await?;
    // Faults are answered at once, at some length.
    let lines = "{\"name\":1,\"age\":\"x\",\"a\":1,\"b\":2,\"c\":3}\n".repeat(500);
    let mut sent = 0_u64;
    // Until nothing more is taken off the connection.
    while tokio::time::timeout(Duration::from_secs(2), talk.say(&lines)).await.is_ok() {
        sent += 500;
        ensure!(sent < 10_000_000, "what nobody reads is kept without a bound");
    }
    let refused = r#"write_behind_rejected_total{entity="users",reason="invalid-record"}"#;
    let answered = shown(&system, refused).await?;
    assert!(answered > 100.0, "{answered} lines answered of {sent} that were sent");
    for series in ["write_behind_bulk_lines", "write_behind_bodies_bytes"] {
        assert_eq!(shown(&system, series).await?, 0.0, "{series}, held for a client that does not read");
    }
    assert_eq!(shown(&system, refused).await?, answered, "lines are read whose results nobody takes");
    assert_eq!(shown(&system, "write_behind_bulks").await?, 1.0);
    let other = system.call(Method::GET, "/users/1", None).await?;
    assert_eq!(other.status(), 404, "another client waits for that one");
    drop(talk);
    nothing_is_left(&system).await?;

    // A million of them in a few packed bytes, which are all taken at once.
    let mut talk = Talk::open(&system, &["Content-Encoding: gzip"]).await?;
    let (before, begun) = (resident(&system)?, shown(&system, refused).await?);
    talk.say(packed("gzip", lines.repeat(2_000).as_bytes()).await?).await?;
    let mut answered = begun;
    let stopped = async || {
        let before = std::mem::replace(&mut answered, shown(&system, refused).await?);
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(answered > begun && answered == before)
    };
    system.eventually("no more lines are answered", stopped).await?;
    let grown = resident(&system)? - before;
    assert!(grown < 20.0, "{grown:.0} MiB for {} results that nobody reads", answered - begun);
    drop(talk);
    nothing_is_left(&system).await
}

/// It is connected, and says nothing: TCP_USER_TIMEOUT sees that it takes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_a_client_that_does_not_read_its_results_is_cut_after_its_time_and_no_other_is() -> Result<()> {
    let system = System::prepare(Servers::shared())?.with("CLIENT_STALL_MS", "1500").up().await?;
    let (mut reading, mut stalled) = (Talk::open(&system, &[]).await?, Talk::open(&system, &[]).await?);
    let lines = "{\"name\":1,\"age\":\"x\",\"a\":1,\"b\":2,\"c\":3}\n".repeat(500);
    while tokio::time::timeout(Duration::from_millis(500), stalled.say(&lines)).await.is_ok_and(|said| said.is_ok()) {}
    let begun = Instant::now();
    let cut = async || {
        reading.say(&line("1", 7)).await?;
        ensure!(told(&reading.hear().await?[0]) == is(202, "logged"), "another client is held up");
        Ok(shown(&system, "write_behind_bulks").await? == 1.0)
    };
    system.eventually("the bulk that nobody reads has ended", cut).await?;
    ensure!(begun.elapsed() < Duration::from_secs(10), "it was cut only after {:?}", begun.elapsed());
    ensure!(reading.end().await?.is_empty());
    drop(stalled);
    nothing_is_left(&system).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_lines_wait_for_room_of_their_own_and_are_503_where_others_have_it() -> Result<()> {
    let bytes = line("00", 7).len() - 1;
    let system = System::prepare(Servers::shared())?.with("BODY_BYTES_MOST", &bytes.to_string());
    let system = system.with("BODIES_BYTES_MOST", &bytes.to_string()).up().await?;
    let lines: String = (0..50).map(|at| line(&format!("{at:02}"), 7)).collect();
    let all = crate::bulk::results(crate::bulk::bulk(&system, &[], lines).await?).await?;
    assert!(all.iter().all(|result| result["status"] == 202), "a line did not wait for its own room: {all:?}");

    // Another request has a byte of it.
    let mut other = TcpStream::connect(system.ingest_url.trim_start_matches("http://")).await?;
    let head = "PUT /users/1 HTTP/1.1\r\nHost: i\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{";
    other.write_all(head.as_bytes()).await?;
    let held = async || Ok(shown(&system, "write_behind_bodies_bytes").await? == 1.0);
    system.eventually("the other body has its room", held).await?;
    let mut talk = Talk::open(&system, &[]).await?;
    talk.say(&line("00", 7)).await?;
    assert_eq!(told(&talk.hear().await?[0]), is(503, "bodies-full"));
    drop(other);
    let free = async || Ok(shown(&system, "write_behind_bodies_bytes").await? == 0.0);
    system.eventually("the other body has given it back", free).await?;
    talk.say(&line("00", 7)).await?;
    assert_eq!(told(&talk.hear().await?[0]), is(202, "logged"), "the next line finds room again");
    assert!(talk.end().await?.is_empty());
    nothing_is_left(&system).await
}

/// The task that writes a bulk is gone, and the process stops. No client may take what it has for all that there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_broken_off_says_behind_which_line_and_its_lines_can_be_sent_again() -> Result<()> {
    let mut system =
        System::prepare(Servers::shared())?.with(FAIL_POINTS, "bulk.line=3*off->panic").with("STOP_DELAY_MS", "1");
    system.migrate()?;
    system.start_ingest().await?;
    let key = ["Idempotency-Key: broken-off"];
    let mut talk = Talk::open(&system, &key).await?;
    let mut versions = Vec::new();
    for at in 0..3 {
        talk.say(&line(&format!("{at}"), at)).await?;
        versions.extend(talk.hear().await?.into_iter().map(|result| result["version"].clone()));
    }
    talk.say(&line("3", 3)).await?;
    let rest = talk.end().await?;
    assert_eq!(rest.iter().map(told).collect::<Vec<_>>(), [is(500, "internal-error")], "{rest:?}");
    assert_eq!(rest[0]["line"], 4);
    let detail = rest[0]["detail"].as_str().context("a detail")?;
    assert!(detail.contains("behind line 3:") && detail.contains("same Idempotency-Key"), "{detail}");
    let ended = async || Ok(!system.ingest.as_ref().is_some_and(|ingest| ingest.is_running()));
    system.eventually("the process has stopped", ended).await?;

    system.settings.clear();
    system.start_ingest().await?;
    let mut talk = Talk::open(&system, &key).await?;
    for at in 0..4 {
        talk.say(&line(&format!("{at}"), at)).await?;
    }
    let again = talk.end().await?;
    assert_eq!(again.len(), 4, "{again:?}");
    let first: Vec<_> = again.iter().take(3).map(|result| result["version"].clone()).collect();
    assert_eq!(first, versions, "a line was written twice");
    assert!(again.iter().all(|result| result["replayed"] == true), "the fourth was written, too: {again:?}");
    Ok(())
}
