//! The lines of a file: what must hold before the first is sent, and what is said after the last.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::arguments::FileRequest;
use crate::book::{Book, Subject, beside};
use crate::lines::{Lines, Source};
use crate::report::Report;
use crate::rows::Place;
use crate::run::{End, run as send};
use crate::send::Ingest;
use crate::{Exit, digest, failed};

/// Sends what was asked for, and says what became of it.
pub(crate) fn run(request: FileRequest) -> anyhow::Result<Exit> {
    let source = Source::open(request.file.as_deref())?;
    let mut lines = Lines::of(&source, request.format, &request.entity)?;
    let mut book = open_book(&request, &source)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ingest = Ingest::new(&request)?;
    runtime.block_on(ingest.greet())?;
    book.begin()?;
    if book.done() != Place::START {
        lines.go_to(&source, request.format, book.done())?;
        eprintln!("going on at line {} ({} are done)", book.done().line, book.tally().lines);
    }
    let mut report = Report::new(request.show_progress, source.bytes(), &book);
    let sent = send(&ingest, lines.read_ahead()?, &mut book, request.concurrency, &mut report);
    let end = runtime.block_on(sent);
    report.end();
    println!("{}", report.summary(book.tally()));
    // A disk that is full says more than what it made of the failed lines.
    let end = end?;
    tell_failed(&book)?;
    let go_on = match request.file {
        Some(_) => format!("the same command goes on at line {}", book.done().line),
        None => format!("everything before line {} is written, but a stream cannot be gone on with", book.done().line),
    };
    match end {
        End::Complete => complete(&book, &source),
        End::Interrupted => {
            eprintln!("publisher: interrupted; {go_on}");
            Ok(Exit::Interrupted)
        }
        End::Away(why) => {
            let seconds = request.retry_for.as_secs();
            eprintln!("publisher: ingest took no write for {seconds} s (--retry-for-s), at last: {why}; {go_on}");
            Ok(Exit::Away)
        }
        End::Unreadable(error) => Err(anyhow::Error::from(error).context("reading the file")),
    }
}

fn open_book(request: &FileRequest, source: &Source) -> anyhow::Result<Book> {
    let file = request.file.as_deref().unwrap_or(Path::new("stdin"));
    let subject = source.sha256().zip(source.bytes()).map(|(sha256, bytes)| Subject {
        entity: request.entity.name().to_owned(),
        ingest_url: request.ingest_url.clone(),
        format: request.format,
        bytes,
        sha256: digest::text(&sha256),
    });
    let usual = subject.is_some().then(|| beside(file, ".progress"));
    let state_file: Option<PathBuf> = request.state_file.clone().or(usual);
    Book::open(state_file, beside(file, ".failed.ndjson"), subject, request.restart)
}

fn complete(book: &Book, source: &Source) -> anyhow::Result<Exit> {
    book.close()?;
    if source.has_changed()? {
        bail!("the file changed while it was sent, so that what is written may be a mixture; send it again");
    }
    Ok(if book.tally().failed == 0 { Exit::Written } else { Exit::Failed })
}

/// The first failed lines, and where all of them are.
fn tell_failed(book: &Book) -> anyhow::Result<()> {
    let failed = book.tally().failed;
    if failed == 0 {
        return Ok(());
    }
    let file = book.failed_file();
    let told = failed::tell(file).with_context(|| file.display().to_string())?;
    let lines = if failed == 1 { "line" } else { "lines" };
    eprintln!("publisher: {failed} {lines} failed; with their faults in {}", file.display());
    for line in &told {
        eprintln!("   {line}");
    }
    match failed - told.len() as u64 {
        0 => {}
        more => eprintln!("   … and {more} more"),
    }
    Ok(())
}
