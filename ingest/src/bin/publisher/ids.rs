//! Under which id a line is written: its own, else one that the same line of the same file always gets.

use record::RecordId;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use uuid::Builder;

/// Gives ids to the lines of one file.
#[derive(Debug)]
pub(crate) struct Ids {
    entity: String,
    /// Of the file's content; `None` where it cannot be known before the first line is sent.
    sha256: Option<[u8; 32]>,
}

/// What a line says of its id.
#[derive(Debug, PartialEq, Eq)]
enum Own {
    Id(RecordId),
    Missing,
    /// It is no id, or the line no record: ingest will say so.
    Unreadable,
}

impl Ids {
    /// For the lines of a file with this content; `None` for a stream.
    pub(crate) fn new(entity: &str, sha256: Option<[u8; 32]>) -> Self {
        Self { entity: entity.to_owned(), sha256 }
    }

    /// The id for the path.
    ///
    /// # Errors
    /// The line has none, and none can be made that a second run gives again.
    pub(crate) fn of(&self, line: u64, body: &[u8]) -> Result<RecordId, String> {
        match (own(body), self.sha256) {
            (Own::Id(id), _) => Ok(id),
            (Own::Missing, None) => {
                Err("the line has no id, and of standard input a second run could not give the same one again: add an \
                     id, or send a file"
                    .to_owned())
            }
            (Own::Missing | Own::Unreadable, sha256) => self.derived(line, &sha256.unwrap_or_default()),
        }
    }

    /// A UUID (version 8) of the entity, the file's content and the line's number. Not of the line's content alone: two
    /// equal lines, or the first lines of two files, are different records.
    fn derived(&self, line: u64, sha256: &[u8; 32]) -> Result<RecordId, String> {
        let digest =
            Sha256::new().chain_update(sha256).chain_update(line.to_be_bytes()).chain_update(&self.entity).finalize();
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        let id = Builder::from_custom_bytes(bytes).into_uuid().to_string();
        RecordId::parse(&id).map_err(|fault| fault.to_string())
    }
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
}

fn own(body: &[u8]) -> Own {
    let Ok(head) = serde_json::from_slice::<Head<'_>>(body) else { return Own::Unreadable };
    let Some(raw) = head.id else { return Own::Missing };
    let text: Option<String> = serde_json::from_str(raw.get()).ok();
    text.and_then(|text| RecordId::parse(&text).ok()).map_or(Own::Unreadable, Own::Id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_own_id_or_none_or_one_that_ingest_must_judge() {
        let id = |text: &str| Own::Id(RecordId::parse(text).unwrap());
        assert_eq!(own(br#"{"n":1e999,"id":"a-1"}"#), id("a-1"));
        assert_eq!(own(br#"{"id":"\u0061"}"#), id("a"));
        assert_eq!(own(br#"{"n":1}"#), Own::Missing);
        for unreadable in [r#"{"id":7}"#, r#"{"id":"a/b"}"#, r#"{"id":"a","id":"b"}"#, "{", "\u{0}"] {
            assert_eq!(own(unreadable.as_bytes()), Own::Unreadable, "{unreadable}");
        }
    }

    #[test]
    fn the_same_line_of_the_same_file_gets_the_same_id_and_no_other_line_does() {
        let of = |entity: &str, sha256: u8, line| Ids::new(entity, Some([sha256; 32])).of(line, b"{}").unwrap();
        assert_eq!(of("users", 1, 1), of("users", 1, 1));
        let others = [of("users", 1, 2), of("users", 2, 1), of("orders", 1, 1)];
        assert!(others.iter().all(|other| *other != of("users", 1, 1)), "{others:?}");
        assert_eq!(of("users", 1, 1).as_str().as_bytes()[14], b'8', "a UUID of version 8");
    }

    #[test]
    fn a_stream_needs_ids() {
        let stream = Ids::new("users", None);
        assert!(stream.of(1, b"{}").unwrap_err().contains("standard input"));
        assert_eq!(stream.of(1, br#"{"id":"a"}"#).unwrap().as_str(), "a");
        assert!(stream.of(1, b"{").is_ok(), "ingest says what is wrong with it");
    }
}
