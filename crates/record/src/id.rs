//! The id of a record: what may stand in a path, in a Kafka key and in an ascii column.
//!
//! Must never let anything through that one of the three would read differently.

use std::fmt;
use std::str::FromStr;

/// 1 to 128 of `A-Z a-z 0-9 . _ ~ -`, and neither `.` nor `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(Box<str>);

impl RecordId {
    /// The longest id, in bytes.
    pub const MAX_LENGTH: usize = 128;

    /// Checks an id.
    ///
    /// # Errors
    /// [`IdFault`], whose text says the rule and never the id.
    pub fn parse(text: &str) -> Result<RecordId, IdFault> {
        match text.len() {
            0 => Err(IdFault::Empty),
            length if length > RecordId::MAX_LENGTH => Err(IdFault::TooLong),
            _ if !text.bytes().all(allowed) => Err(IdFault::Character),
            _ if text == "." || text == ".." => Err(IdFault::Dots),
            _ => Ok(RecordId(text.into())),
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b'-')
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for RecordId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for RecordId {
    type Err = IdFault;

    fn from_str(text: &str) -> Result<RecordId, IdFault> {
        RecordId::parse(text)
    }
}

/// Why a text is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdFault {
    /// No character at all.
    #[error("an id has 1 to 128 characters; leave it out to be given one")]
    Empty,
    /// More than [`RecordId::MAX_LENGTH`].
    #[error("an id has at most 128 characters")]
    TooLong,
    /// Something that a path, a key or an ascii column would not carry unchanged.
    #[error("an id consists of A-Z a-z 0-9 . _ ~ - only; encode anything else, for example as hex")]
    Character,
    /// `.` or `..`, which clients and proxies take out of a path.
    #[error("an id is neither `.` nor `..`: paths swallow them")]
    Dots,
}
