//! How far a file is written: what is counted, and what is on disk so that a later run goes on there.
//!
//! The state on disk never names a place before which something is missing, also after a kill: failed lines are on disk
//! before the place that is behind them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::failed::{self, Refused};
use crate::lines::Line;
use crate::rows::{Format, Place};

/// Failed lines that wait for the disk, at most; then reading waits.
const WAITING_BYTES_MOST: usize = 4 * 1024 * 1024;

/// What is sent where: a state is for this and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Subject {
    pub(crate) entity: String,
    pub(crate) ingest_url: String,
    pub(crate) format: Format,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// What became of the lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) lines: u64,
    pub(crate) written: u64,
    pub(crate) failed: u64,
    /// Attempts beyond the first.
    pub(crate) retries: u64,
    /// Of the written ones, by what ingest answered.
    pub(crate) states: BTreeMap<String, u64>,
}

/// What a state file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Progress {
    subject: Option<Subject>,
    /// Everything before it is written or has failed.
    done: Place,
    tally: Tally,
    /// How much of the file of failed lines belongs to it.
    failed_bytes: u64,
}

/// A line at its end.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) line: Line,
    /// The state that ingest answered, or why it failed.
    pub(crate) fate: Result<String, Refused>,
    pub(crate) retries: u64,
}

/// Counts, and what the disk does not have yet.
#[derive(Debug)]
pub(crate) struct Book {
    progress: Progress,
    state_file: Option<PathBuf>,
    failed_file: PathBuf,
    waiting: Vec<u8>,
    changed: bool,
}

impl Book {
    /// A new one, or the one that an earlier run left. Changes nothing on disk.
    ///
    /// # Errors
    /// The state is of something else; the error says what to do.
    pub(crate) fn open(
        state_file: Option<PathBuf>,
        failed_file: PathBuf,
        subject: Option<Subject>,
        restart: bool,
    ) -> anyhow::Result<Self> {
        let mut book = Self {
            progress: Progress { subject, done: Place::START, tally: Tally::default(), failed_bytes: 0 },
            state_file,
            failed_file,
            waiting: Vec::new(),
            changed: false,
        };
        if let Some(earlier) = book.state_file.as_deref().filter(|_| !restart).map(read).transpose()?.flatten() {
            book.check(&earlier)?;
            book.progress = earlier;
        }
        Ok(book)
    }

    fn check(&self, earlier: &Progress) -> anyhow::Result<()> {
        let state = self.state_file.as_deref().unwrap_or(Path::new("")).display();
        let remedy = format!(
            "{state} says how far it came (line {}). Bring that back, or begin anew with --restart (where lines have no id \
             of their own, a changed file is a new one and writes new records)",
            earlier.done.line
        );
        let (Some(was), Some(is)) = (&earlier.subject, &self.progress.subject) else { bail!("{remedy}") };
        ensure!(
            (was.bytes, &was.sha256) == (is.bytes, &is.sha256),
            "the file has changed since it was stopped: it had {} bytes, it has {}; {remedy}",
            was.bytes,
            is.bytes
        );
        ensure!(was == is, "it was {} to {} as {:?}; {remedy}", was.entity, was.ingest_url, was.format);
        let kept = fs::metadata(&self.failed_file).map_or(0, |metadata| metadata.len());
        ensure!(kept >= earlier.failed_bytes, "{} is gone or was cut; {remedy}", self.failed_file.display());
        Ok(())
    }

    /// Forgets on disk what is not of this book: the failed lines of an earlier one, or those behind its place. What the
    /// disk would refuse later it refuses now, before anything is sent.
    ///
    /// # Errors
    /// Names the file that the disk refuses.
    pub(crate) fn begin(&mut self) -> anyhow::Result<()> {
        let writing = || format!("writing {}", self.failed_file.display());
        let failed = File::options().create(true).append(true).open(&self.failed_file).with_context(writing)?;
        match self.progress.failed_bytes {
            0 => remove(&self.failed_file).with_context(writing)?,
            bytes => failed.set_len(bytes).with_context(writing)?,
        }
        self.changed = true;
        self.save().map_or(Ok(()), |save| save.write())
    }

    /// The line before which everything is done.
    pub(crate) fn done(&self) -> Place {
        self.progress.done
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.progress.tally
    }

    /// Where failed lines are.
    pub(crate) fn failed_file(&self) -> &Path {
        &self.failed_file
    }

    /// Whether more lines may be settled before the next save.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.len() < WAITING_BYTES_MOST
    }

    /// Counts a line. Lines come in the file's order, without a gap.
    pub(crate) fn settle(&mut self, settled: Settled) {
        let Settled { line, fate, retries } = settled;
        let tally = &mut self.progress.tally;
        tally.lines += 1;
        tally.retries += retries;
        match fate {
            Ok(state) => {
                tally.written += 1;
                *tally.states.entry(state).or_default() += 1;
            }
            Err(why) => {
                tally.failed += 1;
                failed::note(&line, why, &mut self.waiting);
            }
        }
        self.progress.done = line.next;
        self.changed = true;
    }

    /// What is to be written to disk now, if anything is.
    pub(crate) fn save(&mut self) -> Option<Save> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let failed = std::mem::take(&mut self.waiting);
        let from = self.progress.failed_bytes;
        self.progress.failed_bytes += failed.len() as u64;
        let (state_file, failed_file) = (self.state_file.clone(), self.failed_file.clone());
        Some(Save { progress: self.progress.clone(), state_file, failed_file, failed, from })
    }

    /// Nothing is left to go on with.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn close(&self) -> io::Result<()> {
        self.state_file.as_deref().map_or(Ok(()), remove)
    }
}

/// A state on its way to disk. One at a time, in order.
#[derive(Debug)]
pub(crate) struct Save {
    progress: Progress,
    state_file: Option<PathBuf>,
    failed_file: PathBuf,
    failed: Vec<u8>,
    from: u64,
}

impl Save {
    /// Writes it; when this returns it survives a power failure.
    ///
    /// # Errors
    /// Names the file that the disk refuses.
    pub(crate) fn write(&self) -> anyhow::Result<()> {
        if !self.failed.is_empty() {
            self.append().with_context(|| format!("writing {}", self.failed_file.display()))?;
        }
        let Some(file) = &self.state_file else { return Ok(()) };
        self.replace(file).with_context(|| format!("writing {} (--state-file puts it elsewhere)", file.display()))
    }

    fn append(&self) -> io::Result<()> {
        let mut file = File::options().create(true).truncate(false).write(true).open(&self.failed_file)?;
        file.set_len(self.from)?;
        file.seek(SeekFrom::Start(self.from))?;
        file.write_all(&self.failed)?;
        file.sync_data()
    }

    /// Whole or not at all.
    fn replace(&self, state_file: &Path) -> io::Result<()> {
        let fresh = beside(state_file, ".new");
        let mut file = File::create(&fresh)?;
        serde_json::to_writer(&mut file, &self.progress)?;
        file.sync_data()?;
        fs::rename(&fresh, state_file)?;
        // The rename itself must be on disk before anything that relies on it.
        let folder = state_file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

/// `people.csv` and `.progress` is `people.csv.progress`.
pub(crate) fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn read(state_file: &Path) -> anyhow::Result<Option<Progress>> {
    let text = match fs::read(state_file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.with_context(|| format!("reading {}", state_file.display()))?,
    };
    let broken = || format!("{} is no state of a publisher; begin anew with --restart", state_file.display());
    serde_json::from_slice(&text).with_context(broken).map(Some)
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use record::RecordId;

    use super::*;

    fn subject(sha256: &str) -> Option<Subject> {
        Some(Subject {
            entity: "users".to_owned(),
            ingest_url: "http://x".to_owned(),
            format: Format::NdJson,
            bytes: 100,
            sha256: sha256.to_owned(),
        })
    }

    fn open(folder: &Path, subject: Option<Subject>, restart: bool) -> anyhow::Result<Book> {
        let file = folder.join("f");
        Book::open(Some(beside(&file, ".progress")), beside(&file, ".failed.ndjson"), subject, restart)
    }

    fn settle(book: &mut Book, number: u64, fails: bool) {
        let next = Place { line: number + 1, offset: number * 10 };
        let line = Line { number, next, id: Ok(RecordId::parse("a").unwrap()), body: "{}".into() };
        let fate = if fails { Err(Refused::default()) } else { Ok("logged".to_owned()) };
        book.settle(Settled { line, fate, retries: 1 });
    }

    fn failed_lines(book: &Book) -> Vec<String> {
        failed::tell(book.failed_file()).unwrap()
    }

    #[test]
    fn a_later_book_goes_on_at_the_last_save_and_forgets_what_came_after() {
        let folder = tempfile::tempdir().unwrap();
        let mut book = open(folder.path(), subject("a"), false).unwrap();
        assert_eq!(book.done(), Place::START);
        book.begin().unwrap();
        settle(&mut book, 1, true);
        settle(&mut book, 2, false);
        book.save().unwrap().write().unwrap();
        assert!(book.save().is_none(), "nothing is new");
        settle(&mut book, 3, true);
        // Killed between the failed lines and the state.
        book.save().unwrap().append().unwrap();
        assert_eq!(failed_lines(&book).len(), 2);

        let mut later = open(folder.path(), subject("a"), false).unwrap();
        later.begin().unwrap();
        assert_eq!(later.done(), Place { line: 3, offset: 20 });
        let tally = later.tally().clone();
        assert_eq!((tally.lines, tally.written, tally.failed, tally.retries), (2, 1, 1, 2));
        settle(&mut later, 3, true);
        later.save().unwrap().write().unwrap();
        assert_eq!(failed_lines(&later), ["line 1: ", "line 3: "], "each once");

        later.close().unwrap();
        let mut next = open(folder.path(), subject("a"), false).unwrap();
        assert_eq!(next.done(), Place::START);
        next.begin().unwrap();
        assert!(!next.failed_file().exists(), "the failed lines of another run are gone");
    }

    #[test]
    fn a_state_of_something_else_is_refused_and_a_restart_takes_no_notice() {
        let folder = tempfile::tempdir().unwrap();
        let mut book = open(folder.path(), subject("a"), false).unwrap();
        settle(&mut book, 1, true);
        book.save().unwrap().write().unwrap();
        let refused = |subject| open(folder.path(), subject, false).unwrap_err().to_string();
        let changed = refused(subject("b"));
        assert!(changed.contains("has changed") && changed.contains("--restart"), "{changed}");
        let elsewhere = subject("a").map(|subject| Subject { ingest_url: "http://y".to_owned(), ..subject });
        assert!(refused(elsewhere).contains("it was users to http://x"));
        assert_eq!(open(folder.path(), subject("b"), true).unwrap().done(), Place::START);
        fs::remove_file(book.failed_file()).unwrap();
        assert!(refused(subject("a")).contains("f.failed.ndjson is gone"));
        fs::write(folder.path().join("f.progress"), "{").unwrap();
        assert!(refused(subject("a")).contains("no state of a publisher"));
    }

    #[test]
    fn a_disk_that_would_refuse_later_refuses_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut book = open(&folder.path().join("not there"), subject("a"), false).unwrap();
        let why = format!("{:#}", book.begin().unwrap_err());
        assert!(why.contains("not there/f.failed.ndjson"), "{why}");
    }
}
