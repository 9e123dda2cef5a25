//! Cuts a stream of bytes into lines, in memory bounded by the longest line that is taken. Pure.

use std::io;

use actix_web::web::BytesMut;
use tokio_util::codec::Decoder;

/// What stands between two line ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Without its end, which is LF or CRLF.
    Text(BytesMut),
    /// Longer than is taken; its bytes are gone.
    TooLong,
}

/// Why there are no more lines.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the lines have together more bytes than are taken")]
    TooMuch,
    #[error(transparent)]
    Unread(#[from] io::Error),
}

/// The bounds, and how far we are. A line without an end at the end of the stream is one, too.
#[derive(Debug)]
pub(super) struct Lines {
    line_most: usize,
    left: u64,
    /// Where the search for an end goes on.
    searched: usize,
    /// Inside of a line that is too long.
    skipping: bool,
}

impl Lines {
    /// Takes lines of at most `line_most` bytes without their ends, and `total_most` with them.
    pub(super) fn new(line_most: usize, total_most: u64) -> Self {
        Self { line_most, left: total_most, searched: 0, skipping: false }
    }

    fn pass(&mut self, bytes: usize) -> Result<(), Broken> {
        self.searched = 0;
        self.left = self.left.checked_sub(bytes as u64).ok_or(Broken::TooMuch)?;
        Ok(())
    }

    fn line(&mut self, mut text: BytesMut) -> Line {
        if text.ends_with(b"\r") {
            text.truncate(text.len() - 1);
        }
        let skipped = std::mem::take(&mut self.skipping);
        if skipped || text.len() > self.line_most { Line::TooLong } else { Line::Text(text) }
    }
}

impl Decoder for Lines {
    type Item = Line;
    type Error = Broken;

    fn decode(&mut self, read: &mut BytesMut) -> Result<Option<Line>, Broken> {
        let unsearched = read.get(self.searched..).unwrap_or_default();
        if let Some(at) = unsearched.iter().position(|byte| *byte == b'\n') {
            let end = self.searched + at;
            let mut text = read.split_to(end + 1);
            self.pass(end + 1)?;
            text.truncate(end);
            return Ok(Some(self.line(text)));
        }
        self.searched = read.len();
        if read.len() as u64 > self.left {
            return Err(Broken::TooMuch);
        }
        // With a CR before the LF that is yet to come.
        if self.skipping || read.len() > self.line_most.saturating_add(1) {
            self.skipping = true;
            self.pass(read.len())?;
            read.clear();
        }
        Ok(None)
    }

    fn decode_eof(&mut self, read: &mut BytesMut) -> Result<Option<Line>, Broken> {
        if let Some(line) = self.decode(read)? {
            return Ok(Some(line));
        }
        if read.is_empty() && !self.skipping {
            return Ok(None);
        }
        let text = read.split();
        self.pass(text.len())?;
        Ok(Some(self.line(text)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What comes of a stream that arrives in chunks; the most that was kept; and whether it ended before its end.
    fn cut(lines: &mut Lines, chunks: &[&[u8]]) -> (Vec<Option<String>>, usize, bool) {
        let (mut read, mut cut, mut kept) = (BytesMut::new(), Vec::new(), 0);
        let text = |line| match line {
            Line::Text(text) => Some(String::from_utf8(text.to_vec()).unwrap()),
            Line::TooLong => None,
        };
        for chunk in chunks {
            read.extend_from_slice(chunk);
            loop {
                match lines.decode(&mut read) {
                    Ok(Some(line)) => cut.push(text(line)),
                    Ok(None) => break,
                    Err(_) => return (cut, kept, true),
                }
            }
            kept = kept.max(read.len());
        }
        loop {
            match lines.decode_eof(&mut read) {
                Ok(Some(line)) => cut.push(text(line)),
                Ok(None) => return (cut, kept, false),
                Err(_) => return (cut, kept, true),
            }
        }
    }

    fn some(lines: &[&str]) -> Vec<Option<String>> {
        lines.iter().map(|line| Some((*line).to_owned())).collect()
    }

    #[test]
    fn a_line_ends_with_lf_or_crlf_and_the_last_one_may_do_without() {
        let all = |text: &str| cut(&mut Lines::new(9, 99), &[text.as_bytes()]).0;
        assert_eq!(all(""), some(&[]));
        assert_eq!(all("a\nb\r\n"), some(&["a", "b"]), "the end of the last line begins no other");
        assert_eq!(all("a\n\r\n\nb"), some(&["a", "", "", "b"]));
        assert_eq!(all("a\rb"), some(&["a\rb"]));
    }

    #[test]
    fn exactly_the_longest_line_is_taken_and_what_is_longer_stops_no_other() {
        let all = |text: &str| cut(&mut Lines::new(3, 99), &[text.as_bytes()]).0;
        assert_eq!(all("123\n123\r\n123"), some(&["123", "123", "123"]));
        assert_eq!(
            all("1\n1234\n1234\r\n3\n1234"),
            [some(&["1"]), vec![None, None], some(&["3"]), vec![None]].concat()
        );
    }

    #[test]
    fn exactly_as_many_bytes_are_taken_as_may_be_and_the_line_that_passes_them_is_none() {
        let all = |text: &str| cut(&mut Lines::new(9, 6), &[text.as_bytes()]);
        assert_eq!(all("12\n45\n"), (some(&["12", "45"]), 0, false));
        assert_eq!(all("12\n456"), (some(&["12", "456"]), 3, false));
        assert!(all("12\n456\n").2 && all("12\n456\n").0 == some(&["12"]), "the seventh byte is the end of the line");
        assert!(all("1234567").2 && all("1234567").0.is_empty());
    }

    proptest! {
        #[test]
        fn lines_are_the_same_however_they_arrive_and_memory_is_bounded_by_the_longest(
            text in "[ab\r\n]{0,60}", cuts in prop::collection::vec(1_usize..9, 0..40), most in 0_usize..8,
        ) {
            let mut expected: Vec<_> = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
            if text.is_empty() || text.ends_with('\n') {
                expected.pop();
            }
            let expected: Vec<_> =
                expected.into_iter().map(|line| (line.len() <= most).then(|| line.to_owned())).collect();
            let (mut chunks, mut rest) = (Vec::new(), text.as_bytes());
            for at in cuts {
                let (chunk, behind) = rest.split_at(at.min(rest.len()));
                chunks.push(chunk);
                rest = behind;
            }
            chunks.push(rest);
            let (lines, kept, broken) = cut(&mut Lines::new(most, 60), &chunks);
            prop_assert_eq!(lines, expected);
            prop_assert!(!broken && kept <= most + 1, "kept {} bytes", kept);
        }
    }
}
