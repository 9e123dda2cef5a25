//! Reads a file on a thread of its own and hands over its lines, ready to be sent.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, ensure};
use bytes::Bytes;
use record::{Entity, RecordId};
use tokio::sync::mpsc;

use crate::columns::Columns;
use crate::digest;
use crate::ids::Ids;
use crate::rows::{Format, Place, ROW_BYTES_MOST, Row, Rows};

/// Lines that are read ahead: enough that reading is never waited for.
const AHEAD: usize = 16;

/// One record on its way.
#[derive(Debug)]
pub(crate) struct Line {
    /// Where it stands in the file.
    pub(crate) number: u64,
    /// Where the next one does.
    pub(crate) next: Place,
    /// Under which id it is written, or why it cannot be sent at all.
    pub(crate) id: Result<RecordId, String>,
    /// As it is sent: for NDJSON byte for byte as in the file.
    pub(crate) body: Bytes,
}

/// What lines are read from.
#[derive(Debug)]
pub(crate) enum Source {
    /// A file, locked, with what it held when it was opened.
    File { file: File, sha256: [u8; 32], bytes: u64, modified: SystemTime },
    /// Standard input.
    Stream,
}

impl Source {
    /// Opens and locks the file, and reads it once to know what it holds.
    ///
    /// # Errors
    /// It cannot be read, is no file, or another publisher is at work on it.
    pub(crate) fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self::Stream) };
        let reading = || format!("--file {}", path.display());
        let file = File::open(path).with_context(reading)?;
        let metadata = file.metadata().with_context(reading)?;
        ensure!(metadata.is_file(), "--file {}: not a file; for a stream: --file - < it", path.display());
        let alone = !matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock));
        ensure!(alone, "--file {}: another publisher is at work on it", path.display());
        let (sha256, bytes) = digest::of(&file).with_context(reading)?;
        Ok(Self::File { file, sha256, bytes, modified: metadata.modified().with_context(reading)? })
    }

    /// What the file holds, where that is known.
    pub(crate) fn sha256(&self) -> Option<[u8; 32]> {
        match self {
            Self::File { sha256, .. } => Some(*sha256),
            Self::Stream => None,
        }
    }

    /// How much there is, where that is known.
    pub(crate) fn bytes(&self) -> Option<u64> {
        match self {
            Self::File { bytes, .. } => Some(*bytes),
            Self::Stream => None,
        }
    }

    /// Whether it is not what it was when it was opened.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub(crate) fn has_changed(&self) -> io::Result<bool> {
        let Self::File { file, bytes, modified, .. } = self else { return Ok(false) };
        let now = file.metadata()?;
        Ok(now.len() != *bytes || now.modified()? != *modified)
    }

    /// Reads from there on, and no more than there was when it was opened.
    fn reader(&self, at: Place) -> io::Result<Box<dyn BufRead + Send>> {
        let Self::File { file, bytes, .. } = self else { return Ok(Box::new(BufReader::new(io::stdin()))) };
        let mut file = file.try_clone()?;
        file.seek(SeekFrom::Start(at.offset))?;
        Ok(Box::new(BufReader::with_capacity(1 << 16, file.take(bytes.saturating_sub(at.offset)))))
    }
}

/// Reads lines and makes them ready.
pub(crate) struct Lines {
    rows: Rows<Box<dyn BufRead + Send>>,
    columns: Option<Columns>,
    ids: Ids,
}

impl Lines {
    /// Stands before the first record: a CSV's header is read, and fits the entity.
    ///
    /// # Errors
    /// The source cannot be read, or the header is at fault.
    pub(crate) fn of(source: &Source, format: Format, entity: &Entity) -> anyhow::Result<Self> {
        let mut rows = Rows::new(source.reader(Place::START)?, format, Place::START);
        let columns = match format {
            Format::NdJson => None,
            Format::Csv => {
                let header = rows.next()?.context("the file is empty: the first row of a CSV names the fields")?;
                Some(Columns::of_header(entity, &header.bytes)?)
            }
        };
        Ok(Self { rows, columns, ids: Ids::new(entity.name(), source.sha256()) })
    }

    /// Goes on elsewhere.
    ///
    /// # Errors
    /// The source cannot be read.
    pub(crate) fn go_to(&mut self, source: &Source, format: Format, place: Place) -> io::Result<()> {
        self.rows = Rows::new(source.reader(place)?, format, place);
        Ok(())
    }

    /// Reads ahead on a thread until the end, an error, or the receiver is gone.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(crate) fn read_ahead(mut self) -> io::Result<mpsc::Receiver<io::Result<Line>>> {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let read = move || {
            while let Some(row) = self.rows.next().transpose() {
                let line = row.map(|row| self.line(row));
                let last = line.is_err();
                if sender.blocking_send(line).is_err() || last {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("reader".to_owned()).spawn(read)?;
        Ok(receiver)
    }

    fn line(&self, row: Row) -> Line {
        let Row { line: number, next, bytes, too_long } = row;
        let (id, body) = if too_long {
            let why = format!("longer than {ROW_BYTES_MOST} bytes{}", self.columns.as_ref().map_or("", |_| UNCLOSED));
            (Err(why), bytes)
        } else {
            match self.columns.as_ref().map_or_else(|| Ok(None), |columns| columns.record(&bytes).map(Some)) {
                Ok(record) => {
                    let body = record.unwrap_or(bytes);
                    (self.ids.of(number, &body), body)
                }
                Err(why) => (Err(why), bytes),
            }
        };
        Line { number, next, id, body: body.into() }
    }
}

const UNCLOSED: &str = "; is a quote not closed?";
