//! Cuts a file into lines of NDJSON or rows of CSV, and knows where each begins and ends.
//!
//! Must never hold more than one row, nor a row of more than [`ROW_BYTES_MOST`].

use std::io::{self, BufRead, Read};

/// The longest row that is sent: far above what ingest takes, so that its answer is the one that a client gets.
pub(crate) const ROW_BYTES_MOST: usize = 16 * 1024 * 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// What a file consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// A JSON object a line.
    NdJson,
    /// RFC 4180, with a header.
    Csv,
}

impl Format {
    /// By a file name's extension or by its own name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "ndjson" | "jsonl" => Some(Self::NdJson),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }
}

/// A place between two rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Place {
    /// The line that follows, counted from 1.
    pub(crate) line: u64,
    /// Bytes before it.
    pub(crate) offset: u64,
}

impl Place {
    /// Before the first row.
    pub(crate) const START: Self = Self { line: 1, offset: 0 };
}

/// A line, or a row of several lines where line ends are quoted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Its first line.
    pub(crate) line: u64,
    /// Where the next one begins.
    pub(crate) next: Place,
    /// Without its line end.
    pub(crate) bytes: Vec<u8>,
    /// Whether it was cut, since it is longer than the bound.
    pub(crate) too_long: bool,
}

/// The rows of a reader, one at a time.
#[derive(Debug)]
pub(crate) struct Rows<R> {
    reader: R,
    format: Format,
    place: Place,
    most: usize,
}

impl<R: BufRead> Rows<R> {
    /// `reader` stands at `place`.
    pub(crate) fn new(reader: R, format: Format, place: Place) -> Self {
        Self { reader, format, place, most: ROW_BYTES_MOST }
    }

    /// The next row that is not blank; `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Row>> {
        loop {
            let begin = self.place;
            let (mut bytes, too_long) = self.read()?;
            if self.place == begin {
                return Ok(None);
            }
            if begin == Place::START && bytes.starts_with(BYTE_ORDER_MARK) {
                bytes.drain(..BYTE_ORDER_MARK.len());
            }
            if too_long || !bytes.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some(Row { line: begin.line, next: self.place, bytes, too_long }));
            }
        }
    }

    fn read(&mut self) -> io::Result<(Vec<u8>, bool)> {
        let (mut bytes, mut cell) = (Vec::new(), Cell::Begins);
        loop {
            let from = bytes.len();
            // One byte more than may be, to know a row that is longer; and a line end.
            let most = self.most.saturating_add(2).saturating_sub(from);
            let read = self.reader.by_ref().take(most as u64).read_until(b'\n', &mut bytes)?;
            self.place.offset += read as u64;
            let ended = bytes.last() == Some(&b'\n') && read > 0;
            self.place.line += u64::from(ended);
            if trimmed(&bytes) > self.most {
                if !ended {
                    self.skip_line()?;
                }
                bytes.truncate(self.most);
                return Ok((bytes, true));
            }
            cell = bytes.iter().skip(from).fold(cell, |cell, byte| cell.after(*byte));
            if !ended || self.format == Format::NdJson || cell != Cell::Quoted {
                bytes.truncate(trimmed(&bytes));
                return Ok((bytes, false));
            }
        }
    }

    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let buffer = self.reader.fill_buf()?;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let read = end.map_or(buffer.len(), |end| end + 1);
            self.reader.consume(read);
            self.place.offset += read as u64;
            self.place.line += u64::from(end.is_some());
            if end.is_some() || read == 0 {
                return Ok(());
            }
        }
    }
}

/// The length without the line end.
fn trimmed(bytes: &[u8]) -> usize {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes).len()
}

/// Where in a cell a byte of CSV leads: a line end is a row's end only outside of quotes, which open a cell only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Begins,
    Plain,
    Quoted,
    /// A second quote here is one in the text.
    QuoteEnds,
}

impl Cell {
    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Begins | Self::QuoteEnds, b'"') => Self::Quoted,
            (Self::Quoted, b'"') => Self::QuoteEnds,
            (Self::Quoted, _) => Self::Quoted,
            (_, b',') => Self::Begins,
            _ => Self::Plain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &[u8], format: Format, most: usize) -> Vec<(u64, String, bool)> {
        let mut rows = Rows { most, ..Rows::new(text, format, Place::START) };
        let mut found = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            found.push((row.line, String::from_utf8(row.bytes).unwrap(), row.too_long));
        }
        assert_eq!(rows.place.offset, text.len() as u64);
        found
    }

    fn plain(text: &str, format: Format) -> Vec<(u64, String)> {
        rows(text.as_bytes(), format, 100).into_iter().map(|(line, text, _)| (line, text)).collect()
    }

    fn expected(rows: &[(u64, &str)]) -> Vec<(u64, String)> {
        rows.iter().map(|(line, text)| (*line, (*text).to_owned())).collect()
    }

    #[test]
    fn blank_lines_are_counted_and_left_out_and_the_last_line_needs_no_end() {
        let text = "\u{feff}{\"a\":1}\r\n\n  \t\n{\"a\":2}\n{\"a\":3}";
        assert_eq!(plain(text, Format::NdJson), expected(&[(1, "{\"a\":1}"), (4, "{\"a\":2}"), (5, "{\"a\":3}")]));
        assert!(plain("", Format::NdJson).is_empty());
    }

    #[test]
    fn a_quoted_line_end_is_in_its_row_and_a_quote_inside_of_a_cell_opens_nothing() {
        let text = "a,\"x\ny \"\"z\"\"\n\",b\n5\" nail,1\r\n\"q\",\"\"\nlast,\"open\nto the end";
        let rows =
            [(1, "a,\"x\ny \"\"z\"\"\n\",b"), (4, "5\" nail,1"), (5, "\"q\",\"\""), (6, "last,\"open\nto the end")];
        assert_eq!(plain(text, Format::Csv), expected(&rows));
    }

    #[test]
    fn a_row_that_is_too_long_is_cut_and_the_next_one_is_whole() {
        for text in ["123456789\nok\n", "1234\nok\n", "12345\r\nok"] {
            let found = rows(text.as_bytes(), Format::NdJson, 4);
            assert_eq!(found.last(), Some(&(2, "ok".to_owned(), false)), "{text:?}");
            assert_eq!(found[0].2, text.trim_end().lines().next().unwrap().len() > 4, "{text:?}");
        }
        let open = rows(b"\"12\n34\n56\n78\nok\n", Format::Csv, 7);
        assert_eq!(open.last(), Some(&(5, "ok".to_owned(), false)), "{open:?}");
        assert_eq!(open[0], (1, "\"12\n34\n".to_owned(), true));
    }

    #[test]
    fn reading_goes_on_at_the_end_of_any_row() {
        let text = b"a\n\"b\nb\"\n\nc\r\nd";
        let mut whole = Rows::new(&text[..], Format::Csv, Place::START);
        let mut all = Vec::new();
        while let Some(row) = whole.next().unwrap() {
            all.push(row);
        }
        assert_eq!(all.len(), 4);
        for (index, row) in all.iter().enumerate() {
            let rest = &text[usize::try_from(row.next.offset).unwrap()..];
            let next = Rows::new(rest, Format::Csv, row.next).next().unwrap();
            assert_eq!(next.as_ref(), all.get(index + 1));
        }
    }
}
