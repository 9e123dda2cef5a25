//! The bulk's parts that read what strangers send, as `fuzz/` feeds them.

use std::io;

use actix_web::web::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt, stream};
use record::RecordId;
use tokio_util::codec::{Decoder, FramedRead};
use tokio_util::io::StreamReader;

use super::super::Problem;
use super::super::fuzzing::headers;
use super::super::inflate::Coding;
use super::lines::{Broken, Line, Lines};
use super::run::{self, READ_AT_ONCE};
use super::{results, wanted};

/// What came of a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Cut {
    /// `None`: too long.
    pub lines: Vec<Option<Vec<u8>>>,
    /// The status of what broke off the reading.
    pub broken: Option<u16>,
    /// The most bytes that were kept of a line that had no end yet.
    pub kept: usize,
}

/// The lines of a body that comes in these chunks.
///
/// # Panics
/// The coding is none of ours, or there is something to wait for although all bytes are there.
#[must_use]
pub fn cut(coding: &'static str, chunks: &[&[u8]], line_most: usize, total_most: u64) -> Cut {
    let coding = Coding::of(&headers([("content-encoding", coding.as_bytes())])).expect("a known coding");
    let chunks: Vec<io::Result<Bytes>> = chunks.iter().map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    let inflated = coding.inflate(StreamReader::new(stream::iter(chunks)));
    let watched = Watched { lines: Lines::new(line_most, total_most), kept: 0 };
    let mut reader = FramedRead::with_capacity(inflated, watched, READ_AT_ONCE);
    let (mut lines, mut broken) = (Vec::new(), None);
    while let Some(line) = reader.next().now_or_never().expect("all bytes are there") {
        match line {
            Ok(Line::Text(text)) => lines.push(Some(text.to_vec())),
            Ok(Line::TooLong) => lines.push(None),
            Err(error) => broken = Some(run::problem(error, total_most).kind().status().as_u16()),
        }
    }
    Cut { lines, broken, kept: reader.decoder().kept }
}

/// Sees what is kept.
struct Watched {
    lines: Lines,
    kept: usize,
}

impl Decoder for Watched {
    type Item = Line;
    type Error = Broken;

    fn decode(&mut self, read: &mut BytesMut) -> Result<Option<Line>, Broken> {
        let line = self.lines.decode(read)?;
        if line.is_none() {
            self.kept = self.kept.max(read.len());
        }
        Ok(line)
    }

    fn decode_eof(&mut self, read: &mut BytesMut) -> Result<Option<Line>, Broken> {
        self.lines.decode_eof(read)
    }
}

/// The record that a line deletes, if it is one that deletes.
///
/// # Errors
/// The status of its refusal.
pub fn deletion(line: &[u8]) -> Result<Option<RecordId>, u16> {
    wanted::deletion(line).map_err(|faults| Problem::record(faults).kind().status().as_u16())
}

/// The result of a line that holds no record and deletes none.
#[must_use]
pub fn refused_line(entity: &record::Entity, number: u64, line: &[u8]) -> Option<String> {
    let faults = match wanted::deletion(line) {
        Err(faults) => faults,
        Ok(Some(_)) => return None,
        Ok(None) => entity.parse_json(line).err()?,
    };
    Some(results::refused(number, &Problem::record(faults)))
}
