//! Whether what was printed is what a page shows.

use std::collections::HashMap;

/// What the page has said so far.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Its commands and files.
    typed: String,
    /// What the system made up, as the page shows it and as it was here.
    made_up: HashMap<String, String>,
}

/// A piece of a line that is shown.
#[derive(Debug)]
enum Piece {
    Literal(String),
    /// `…`
    Anything,
    MadeUp(Shape, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Uuid,
    Version,
    Time,
    Seconds,
}

impl Shape {
    /// Digits are `9`, hexadecimal ones `f`.
    const ALL: [(Shape, &'static str); 3] = [
        (Shape::Uuid, "ffffffff-ffff-ffff-ffff-ffffffffffff"),
        (Shape::Time, "9999-99-99 99:99:99.999999"),
        (Shape::Version, "9999999999999999"),
    ];

    /// The shape that a text begins with, and its length.
    fn at(text: &str) -> Option<(Shape, usize)> {
        let fits = |(byte, like): (u8, u8)| match like {
            b'9' => byte.is_ascii_digit(),
            b'f' => byte.is_ascii_hexdigit(),
            b' ' => byte == b' ' || byte == b'T',
            _ => byte == like,
        };
        for (shape, like) in Self::ALL {
            let whole = text.len() >= like.len() && text.bytes().zip(like.bytes()).all(fits);
            if whole && !text[like.len()..].starts_with(|next: char| next.is_ascii_alphanumeric() && next != 'Z') {
                return Some((shape, like.len()));
            }
        }
        let (number, _) = text.split_once(" s")?;
        let (whole, tenths) = number.split_once('.')?;
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        (digits(whole) && digits(tenths)).then_some((Shape::Seconds, number.len() + 2))
    }
}

impl Known {
    /// The page has its reader type this.
    pub(crate) fn types(&mut self, text: &str) {
        self.typed.push_str(text);
    }

    /// Whether it fits. What the system made up is remembered then.
    pub(crate) fn fits(&mut self, shown: &[String], printed: &str) -> bool {
        let shown: Vec<Vec<Piece>> = shown.iter().map(|line| self.pieces(&one_space(line))).collect();
        let printed: Vec<String> = printed.trim_end().lines().map(one_space).collect();
        let found = lines_fit(&shown, &printed, &HashMap::new());
        let fits = found.is_some();
        self.made_up.extend(found.unwrap_or_default());
        fits
    }

    fn pieces(&self, line: &str) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = line;
        while let Some(next) = rest.chars().next() {
            let alone = !literal.ends_with(|last: char| last.is_ascii_alphanumeric());
            let (piece, length) = match Shape::at(rest).filter(|_| alone) {
                _ if next == '…' => (Some(Piece::Anything), next.len_utf8()),
                Some((shape, length)) if !self.typed.contains(&rest[..length]) => {
                    let text = rest[..length].to_owned();
                    let known = self.made_up.get(&text).cloned().map(Piece::Literal);
                    (Some(known.unwrap_or(Piece::MadeUp(shape, text))), length)
                }
                _ => (None, next.len_utf8()),
            };
            match piece {
                Some(piece) => pieces.extend([Piece::Literal(std::mem::take(&mut literal)), piece]),
                None => literal.push(next),
            }
            rest = &rest[length..];
        }
        pieces.push(Piece::Literal(literal));
        pieces
    }
}

fn one_space(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

type Found = HashMap<String, String>;

fn lines_fit(shown: &[Vec<Piece>], printed: &[String], found: &Found) -> Option<Found> {
    let Some((line, rest)) = shown.split_first() else { return printed.is_empty().then(|| found.clone()) };
    let is_any =
        |piece: &Piece| matches!(piece, Piece::Literal(text) if text.is_empty()) || matches!(piece, Piece::Anything);
    if line.iter().any(|piece| matches!(piece, Piece::Anything)) && line.iter().all(is_any) {
        return (0..=printed.len()).find_map(|skipped| lines_fit(rest, &printed[skipped..], found));
    }
    let (first, others) = printed.split_first()?;
    line_fits(line, first, found).and_then(|found| lines_fit(rest, others, &found))
}

fn line_fits(pieces: &[Piece], printed: &str, found: &Found) -> Option<Found> {
    let Some((piece, rest)) = pieces.split_first() else { return printed.is_empty().then(|| found.clone()) };
    match piece {
        Piece::Literal(text) => line_fits(rest, printed.strip_prefix(text.as_str())?, found),
        Piece::Anything => {
            let ends = printed.char_indices().map(|(at, _)| at).chain([printed.len()]);
            ends.into_iter().find_map(|at| line_fits(rest, &printed[at..], found))
        }
        Piece::MadeUp(shape, text) => {
            let (_, length) = Shape::at(printed).filter(|(is, _)| is == shape)?;
            let (here, others) = printed.split_at(length);
            // Seconds are another figure each time.
            if *shape == Shape::Seconds {
                return line_fits(rest, others, found);
            }
            let mut found = found.clone();
            let before = found.insert(text.clone(), here.to_owned());
            if before.is_some_and(|before| before != here) { None } else { line_fits(rest, others, &found) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(known: &mut Known, shown: &str, printed: &str) -> bool {
        let shown: Vec<String> = shown.lines().map(str::to_owned).collect();
        known.fits(&shown, printed)
    }

    #[test]
    fn only_dots_stand_for_anything() {
        let known = &mut Known::default();
        assert!(fits(known, "a  b\n…\nz … z", "a b\nwhatever\n\nz x z\n"));
        assert!(fits(known, "…\nlast", "last"));
        assert!(fits(known, "", ""));
        for (shown, printed) in
            [("a", "b"), ("a", "a\nb"), ("a\nb", "a"), ("", "a"), ("a…b", "a x"), ("…\nlast", "last\nmore")]
        {
            assert!(!fits(known, shown, printed), "{shown:?} {printed:?}");
        }
    }

    #[test]
    fn what_the_system_makes_up_may_differ_once_and_is_the_same_from_then_on() {
        let known = &mut Known::default();
        let (shown, here) = ("1795534722374816", "1795000000000001");
        let both = |version: &str| format!("{{\"version\":{version},\"etag\":\"{version}\"}}");
        assert!(!fits(known, &both(shown), &format!("{{\"version\":{here},\"etag\":\"1795000000000002\"}}")));
        assert!(fits(known, &both(shown), &both(here)));
        assert!(fits(known, shown, here));
        assert!(!fits(known, shown, "1795000000000002"), "it was another one before");
        assert!(fits(known, "up (4.6 s)", "up (14.6 s)") && fits(known, "up (4.6 s)", "up (1.0 s)"));
        let (uuid, other) = ("01a20e35-9546-72fc-825b-a3de67d7a9b7", "01a20e35-9546-72fc-825b-000000000000");
        assert!(fits(known, &format!("id={uuid}"), &format!("id={other}")));
        assert!(!fits(known, &format!("id={uuid}"), "id=7"));
        assert!(fits(known, "2026-11-24 15:38:42.422535", "2027-01-01 00:00:00.000000"));
        assert!(!fits(known, "2026-11-24T15:38:42.422Z", "2027-11-24T15:38:42.422Z"), "milliseconds are a client's");
    }

    #[test]
    fn what_the_page_typed_is_not_made_up() {
        let known = &mut Known::default();
        known.types("curl …/1795534722374816");
        assert!(!fits(known, "1795534722374816", "1795534722374817"));
        assert!(fits(known, "1795534722374816", "1795534722374816"));
    }
}
