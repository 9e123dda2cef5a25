//! The way of a bulk: lines in, writes at work, results out, each only as fast as the others let it.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::web::BytesMut;
use cache::Content;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use record::RecordId;
use service::fail_points;
use table::EntityTable;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tokio_util::codec::FramedRead;

use super::super::conditions::{Conditions, Sent};
use super::super::room::Place;
use super::super::writes::posted_id;
use super::super::{Front, Problem};
use super::exchange::Told;
use super::lines::{Broken, Line, Lines};
use super::window::Window;
use super::{NDJSON, results, wanted};
use crate::callers::Caller;
use crate::intent::{Intent, Wish};

/// Bytes of results that may wait for the client before no more lines are taken; one result more may come to it.
const RESULTS_BYTES_MOST: usize = 256 * 1024;
/// Bytes of results that are handed over at once.
const RESULTS_AT_ONCE: usize = 64 * 1024;
/// Bytes that are read at once.
pub(super) const READ_AT_ONCE: usize = 32 * 1024;

/// What a bulk is about.
pub(super) struct Bulk {
    pub(super) front: Arc<Front>,
    pub(super) table: EntityTable,
    /// Each line is asked for as often as a request is.
    pub(super) caller: Arc<Caller>,
    /// Those of every line; its key is still without the line's number.
    pub(super) conditions: Conditions,
    pub(super) trace: Option<String>,
    /// Whether all that came is answered.
    pub(super) idle: Arc<AtomicBool>,
}

/// A line that can be written, and the room that it has taken.
struct Job {
    intent: Intent,
    conditions: Conditions,
    places: [Place; 2],
}

/// A line that has come to its end.
struct Ended {
    number: u64,
    id: RecordId,
    result: String,
}

type AtWork<'b> = FuturesUnordered<Pin<Box<dyn Future<Output = Ended> + Send + 'b>>>;

/// A bulk in progress.
struct Run<'b> {
    bulk: &'b Bulk,
    window: Window<Job>,
    at_work: AtWork<'b>,
    /// Found no room; nothing more is read until it has.
    held: Option<(u64, BytesMut)>,
    /// Whether more lines are to be read.
    open: bool,
}

impl Bulk {
    /// Until every line is answered, or written where nobody is there any more to be answered.
    ///
    /// # Cancellation
    /// As that of each write: what is in the cache gets to the topic.
    pub(super) async fn run<R: AsyncRead + Unpin>(self, mut lines: FramedRead<R, Lines>, answer: mpsc::Sender<Told>) {
        let window = Window::new(self.front.bulks.settings.bulk_lines_most, RESULTS_BYTES_MOST);
        let mut run = Run { bulk: &self, window, at_work: FuturesUnordered::new(), held: None, open: true };
        let mut stopping = pin!(self.front.bulks.until_stopping());
        while run.open || !run.window.is_empty() {
            self.idle.store(run.window.is_empty(), Ordering::Relaxed);
            tokio::select! {
                () = answer.closed(), if run.open => run.abandon(),
                () = &mut stopping, if run.open => run.stop(),
                permit = answer.reserve(), if run.window.has_results() => {
                    let results = run.window.results(RESULTS_AT_ONCE);
                    // Nobody reads them any more.
                    let Ok(permit) = permit else { continue };
                    permit.send(Told::Results(results));
                },
                Some(ended) = run.at_work.next() => run.end(ended),
                line = lines.next(), if run.takes() => run.take(line),
                else => return,
            }
        }
        // To nobody, where the client is gone.
        answer.send(Told::End).await.ok();
    }

    fn refused(&self, number: u64, problem: Problem) -> String {
        let entity = self.table.entity().name();
        let done = self.front.counted(entity, Err(problem));
        results::line(number, "", &done)
    }

    /// What is to be done for a line, in the room that it has found.
    fn job(&self, number: u64, line: &[u8], place: Place) -> Result<Job, Problem> {
        let entity = self.table.entity();
        if line.trim_ascii().is_empty() {
            return Err(Problem::empty_line());
        }
        let mut conditions = self.conditions.clone();
        conditions.key = self.conditions.key.as_ref().map(|key| format!("{key}/{number}"));
        let (id, wish) = match wanted::deletion(line).map_err(Problem::record)? {
            Some(id) => (id, Wish { content: Content::Tombstone, change: entity.change(None) }),
            None => {
                let (named, wish) = self.front.wish(entity, line)?;
                (posted_id(named, &mut conditions, entity.name())?, wish)
            }
        };
        let [media, ..] = NDJSON;
        let sent = Sent { method: "POST", media: media.as_bytes(), body: line, trace: self.trace.as_deref() };
        let intent = self.front.intent(&self.table, &id, wish, &conditions, sent);
        Ok(Job { intent, conditions, places: [place, self.front.bulks.line()] })
    }

    /// A line waits for its caller's rate, but not longer than lines are written.
    async fn may_begin(&self) -> Result<(), Problem> {
        tokio::select! {
            biased;
            () = self.front.bulks.until_stopping() => Err(Problem::stopping()),
            () = self.caller.wait_for_one() => Ok(()),
        }
    }

    async fn written(&self, number: u64, Job { intent, conditions, places }: Job) -> Ended {
        let (id, op) = (intent.id.clone(), intent.wish.change.op());
        let done = async {
            self.may_begin().await?;
            self.front.carry_out(intent, conditions).await
        };
        let done = self.front.counted(self.table.entity().name(), done.await);
        drop(places);
        Ended { number, id, result: results::line(number, op, &done) }
    }
}

impl Run<'_> {
    fn takes(&self) -> bool {
        self.open && self.held.is_none() && self.window.has_room()
    }

    fn take(&mut self, line: Option<Result<Line, Broken>>) {
        let Some(line) = line else {
            self.open = false;
            return;
        };
        let number = self.window.take();
        let problem = match line {
            Ok(Line::Text(text)) => return self.admit(number, text),
            Ok(Line::TooLong) => Problem::too_large(self.bulk.front.body_bytes_most),
            Err(broken) => {
                self.open = false;
                problem(broken, self.bulk.front.bulks.settings.bulk_bytes_most)
            }
        };
        self.window.answer(number, self.bulk.refused(number, problem));
    }

    /// A line that finds no room waits while one of its own has some to give back.
    fn admit(&mut self, number: u64, line: BytesMut) {
        let mut place = self.bulk.front.bodies.place();
        if !place.grow(line.len()) {
            if self.at_work.is_empty() {
                self.window.answer(number, self.bulk.refused(number, Problem::bodies_full()));
            } else {
                self.held = Some((number, line));
            }
            return;
        }
        match self.bulk.job(number, &line, place) {
            Ok(job) => {
                let id = job.intent.id.clone();
                if let Some(job) = self.window.begin(number, &id, job) {
                    self.start(number, job);
                }
            }
            Err(problem) => self.window.answer(number, self.bulk.refused(number, problem)),
        }
    }

    fn start(&mut self, number: u64, job: Job) {
        self.at_work.push(Box::pin(self.bulk.written(number, job)));
    }

    fn end(&mut self, Ended { number, id, result }: Ended) {
        fail_points::reached(fail_points::BULK_LINE);
        if let Some((next, job)) = self.window.end(number, &id, result) {
            self.start(next, job);
        }
        if let Some((number, line)) = self.held.take() {
            self.admit(number, line);
        }
    }

    /// The process stops: what has begun comes to its end, and nothing more is read.
    fn stop(&mut self) {
        self.open = false;
        let number = self.window.take();
        self.window.answer(number, self.bulk.refused(number, Problem::stopping()));
    }

    /// The client is gone: what was read is written, and nothing more.
    fn abandon(&mut self) {
        self.open = false;
        if let Some((number, _)) = self.held.take() {
            self.window.answer(number, String::new());
        }
    }
}

/// What the last line says when there is no reading on.
pub(super) fn problem(broken: Broken, bytes_most: u64) -> Problem {
    match broken {
        Broken::TooMuch => Problem::bulk_too_large(bytes_most),
        Broken::Unread(error) if error.kind() == io::ErrorKind::TimedOut => Problem::slow_body(),
        Broken::Unread(error) => {
            tracing::debug!(%error, "a bulk's body");
            Problem::broken_body()
        }
    }
}
