//! The lines of a file on their way: so many at once, of one id one at a time, and settled in the file's order.

use std::collections::HashSet;
use std::future::{Future, pending};
use std::io;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use ingest::in_order::InOrder;
use record::RecordId;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::book::{Book, Settled};
use crate::failed::Refused;
use crate::lines::Line;
use crate::report::Report;
use crate::send::{Fate, Ingest};

/// How far a line may be ahead of the oldest that is under way, in lines and in bytes.
const AHEAD_LINES_MOST: usize = 4096;
const AHEAD_BYTES_MOST: usize = 64 * 1024 * 1024;
const SHOW_EVERY: Duration = Duration::from_millis(200);
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// Why no more lines are sent.
#[derive(Debug)]
pub(crate) enum End {
    /// There are no more.
    Complete,
    /// By a signal.
    Interrupted,
    /// Ingest takes none.
    Away(String),
    /// The file cannot be read any further.
    Unreadable(io::Error),
}

/// Sends lines until there is an end to it; what is settled then is in the book and on disk.
///
/// # Errors
/// The disk does not take the state.
pub(crate) async fn run(
    ingest: &Ingest,
    mut lines: Receiver<io::Result<Line>>,
    book: &mut Book,
    at_once: usize,
    report: &mut Report,
) -> anyhow::Result<End> {
    let mut flight = Flight::new(ingest, at_once);
    let mut signals = Signals::new()?;
    let mut show = interval(SHOW_EVERY);
    show.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut saving, mut saved_at) = (None, Instant::now());
    let mut end = None;
    while end.is_none() || !flight.is_over() {
        tokio::select! {
            line = lines.recv(), if end.is_none() && flight.has_room() && book.has_room() => match line {
                Some(Ok(line)) => flight.take(line),
                Some(Err(error)) => end = Some(End::Unreadable(error)),
                None => end = Some(End::Complete),
            },
            away = flight.next() => {
                if let Some(why) = away {
                    end = Some(End::Away(why));
                    ingest.stop();
                }
            },
            () = signals.next() => {
                if ingest.is_stopping() {
                    break;
                }
                eprintln!("stopping with the answers that are under way; once more to stop at once");
                end = Some(End::Interrupted);
                ingest.stop();
            },
            done = wait_for(&mut saving) => done?,
            _ = show.tick() => report.show(book, ingest.trouble()),
        }
        flight.settled().for_each(|settled| book.settle(settled));
        if saving.is_none() && (saved_at.elapsed() >= SAVE_EVERY || !book.has_room()) {
            saved_at = Instant::now();
            saving = book.save().map(|save| tokio::task::spawn_blocking(move || save.write()));
        }
    }
    if saving.is_some() {
        wait_for(&mut saving).await?;
    }
    book.save().map_or(Ok(()), |save| save.write())?;
    Ok(end.unwrap_or(End::Interrupted))
}

type Saving = Option<JoinHandle<anyhow::Result<()>>>;

async fn wait_for(saving: &mut Saving) -> anyhow::Result<()> {
    let Some(handle) = saving else { return pending().await };
    let done = handle.await;
    *saving = None;
    done?
}

/// What asks us to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {},
            _ = self.terminate.recv() => {},
        }
    }
}

type Sending<'i> = Pin<Box<dyn Future<Output = Sent> + 'i>>;

/// A request at its end.
struct Sent {
    number: u64,
    line: Line,
    fate: Fate,
    retries: u64,
}

/// Lines under way.
struct Flight<'i> {
    ingest: &'i Ingest,
    at_once: usize,
    sending: FuturesUnordered<Sending<'i>>,
    /// Of the lines under way: two writes of one record must not overtake each other.
    ids: HashSet<RecordId>,
    /// Waits until its id is free; nothing is read meanwhile.
    held: Option<(u64, RecordId, Line)>,
    order: InOrder<Settled>,
    bytes: usize,
}

impl<'i> Flight<'i> {
    fn new(ingest: &'i Ingest, at_once: usize) -> Self {
        let (sending, order) = (FuturesUnordered::new(), InOrder::new());
        Self { ingest, at_once, sending, ids: HashSet::new(), held: None, order, bytes: 0 }
    }

    fn has_room(&self) -> bool {
        let ahead = self.order.len() < AHEAD_LINES_MOST && self.bytes < AHEAD_BYTES_MOST;
        self.held.is_none() && self.sending.len() < self.at_once && ahead
    }

    /// Whether nothing is under way, nor will be.
    fn is_over(&self) -> bool {
        self.sending.is_empty() && (self.held.is_none() || self.ingest.is_stopping())
    }

    fn take(&mut self, line: Line) {
        let number = self.order.begin();
        self.bytes += line.body.len();
        match line.id.clone() {
            Ok(id) => self.held = Some((number, id, line)),
            Err(detail) => self.order.end(number, Settled { line, fate: Err(Refused::local(detail)), retries: 0 }),
        }
        self.launch();
    }

    fn launch(&mut self) {
        if let Some((number, id, line)) = self.held.take_if(|(_, id, _)| !self.ids.contains(id)) {
            let ingest = self.ingest;
            self.ids.insert(id.clone());
            self.sending.push(Box::pin(async move {
                let (fate, retries) = ingest.put(id.as_str(), &line.body).await;
                Sent { number, line, fate, retries }
            }));
        }
    }

    /// Waits until a line is at its end; why ingest is away, if it was found to be.
    async fn next(&mut self) -> Option<String> {
        let Some(Sent { number, line, fate, retries }) = self.sending.next().await else { return pending().await };
        if let Ok(id) = &line.id {
            self.ids.remove(id);
        }
        let fate = match fate {
            Fate::Written(state) => Ok(state),
            Fate::Refused(why) => Err(why),
            Fate::Away(why) => return Some(why),
            Fate::Stopped => return None,
        };
        self.order.end(number, Settled { line, fate, retries });
        if !self.ingest.is_stopping() {
            self.launch();
        }
        None
    }

    /// Those before which nothing is under way any more.
    fn settled(&mut self) -> impl Iterator<Item = Settled> {
        std::iter::from_fn(|| {
            let settled = self.order.pop()?;
            self.bytes -= settled.line.body.len();
            Some(settled)
        })
    }
}
