//! What is shown while lines are sent: a bar on a terminal, else a line every few seconds; and the line at the end.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::book::{Book, Tally};

const LINE_EVERY: Duration = Duration::from_secs(5);
const BAR: &str = "{bar:30} {percent:>3} %  {eta} left  {wide_msg}";
const SPINNER: &str = "{spinner} {wide_msg}";

/// How it is shown.
#[derive(Debug)]
enum How {
    Bar(ProgressBar),
    Lines { last: Instant },
    Not,
}

/// Shows how far it is.
#[derive(Debug)]
pub(crate) struct Report {
    how: How,
    bytes: Option<u64>,
    begun: Instant,
    /// Lines of earlier runs.
    earlier: u64,
}

impl Report {
    /// `bytes` is how much there is, where that is known.
    pub(crate) fn new(show: bool, bytes: Option<u64>, book: &Book) -> Self {
        let how = match (show, std::io::stderr().is_terminal()) {
            (false, _) => How::Not,
            (true, false) => How::Lines { last: Instant::now() },
            (true, true) => How::Bar(bar(bytes)),
        };
        Self { how, bytes, begun: Instant::now(), earlier: book.tally().lines }
    }

    /// How far it is now, and what it waits for.
    pub(crate) fn show(&mut self, book: &Book, trouble: Option<String>) {
        let mut words = in_words(book.tally(), self.rate(book.tally()));
        if let Some(trouble) = trouble {
            words.push_str("; ");
            words.push_str(&trouble);
        }
        match &mut self.how {
            How::Bar(bar) => {
                bar.set_position(book.done().offset);
                bar.set_message(words);
            }
            How::Lines { last } if last.elapsed() >= LINE_EVERY => {
                *last = Instant::now();
                let percent = self.bytes.map(|bytes| format!("{} %, ", 100 * book.done().offset / bytes.max(1)));
                eprintln!("{}{words}", percent.unwrap_or_default());
            }
            How::Lines { .. } | How::Not => {}
        }
    }

    /// Nothing more is shown.
    pub(crate) fn end(&self) {
        if let How::Bar(bar) = &self.how {
            bar.finish_and_clear();
        }
    }

    /// The counts of all runs; the time of this one.
    pub(crate) fn summary(&self, tally: &Tally) -> String {
        let Tally { lines, written, failed, retries, states } = tally;
        let mut text = format!("lines={lines} written={written} failed={failed} retries={retries}");
        for (state, count) in states {
            text.push_str(&format!(" {state}={count}"));
        }
        let seconds = self.begun.elapsed().as_secs_f64();
        format!("{text} seconds={seconds:.1} lines_per_second={:.0}", self.rate(tally))
    }

    #[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
    fn rate(&self, tally: &Tally) -> f64 {
        tally.lines.saturating_sub(self.earlier) as f64 / self.begun.elapsed().as_secs_f64().max(0.001)
    }
}

fn in_words(tally: &Tally, rate: f64) -> String {
    let Tally { lines, failed, retries, .. } = tally;
    format!("{lines} lines ({failed} failed, {retries} retries), {rate:.0}/s")
}

fn bar(bytes: Option<u64>) -> ProgressBar {
    let template = if bytes.is_some() { BAR } else { SPINNER };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(bytes, ProgressDrawTarget::stderr()).with_style(style)
}
