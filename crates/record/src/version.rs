//! Version numbers and schema ids: the pure half of PROTOCOL R1, R4 and R18.
//!
//! A version is its birth in microseconds with the low four bits replaced by a slot. The script in Redis does the same
//! arithmetic in Lua; this file is what it is tested against. Must never read a clock: every reading is an argument.

use std::fmt;
use std::str::FromStr;

/// The number of a write: strictly growing per record, newest wins everywhere. Below 2^53, so that Lua holds it exactly.
///
/// The low four bits are the slot that issued it: 0 is Redis (R1), 1 to 14 a process while Redis was away (R4),
/// 15 nobody's: only purge marks and their tombstones have it (R18). [`Version::ZERO`] is that of an adopted row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

const SLOTS: u64 = 16;

impl Version {
    /// What a row has that was in the table before us; no event ever has it.
    pub const ZERO: Version = Version(0);
    /// The highest version there can be (in the year 2255).
    pub const MAX: Version = Version((1 << 53) - 1);

    /// The version with this number.
    ///
    /// # Errors
    /// [`VersionFault::TooLarge`] from 2^53 on.
    pub fn new(number: u64) -> Result<Version, VersionFault> {
        if number > Version::MAX.0 { Err(VersionFault::TooLarge) } else { Ok(Version(number)) }
    }

    /// The number itself.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }

    /// When the write was made: microseconds since 1970, exact to 16.
    #[must_use]
    pub fn birth_micros(self) -> u64 {
        self.0 & !(SLOTS - 1)
    }

    /// Who issued it: 0 Redis, 1 to 14 a process without Redis, 15 a purge mark.
    #[must_use]
    pub fn slot(self) -> u8 {
        u8::try_from(self.0 % SLOTS).unwrap_or(0)
    }

    /// Whether only a purge mark (and the tombstone that answers for it) can have this version.
    #[must_use]
    pub fn is_mark(self) -> bool {
        self.0 % SLOTS == SLOTS - 1
    }

    /// The highest purge mark strictly below this version (R18); `None` when there is none.
    #[must_use]
    pub fn mark_below(self) -> Option<Version> {
        self.birth_micros().checked_sub(1).map(Version)
    }
}

/// R1's rule: `roundup16(max(now, last + 1, seen + 1, mine))`.
///
/// `now` is Redis' clock and `mine` the process' clock, in microseconds since 1970; `last` is the highest version that
/// the shard ever issued, `seen` the highest that the process ever saw. Stops growing only at the end of 2255.
#[must_use]
pub fn issue(now: u64, last: Version, seen: Version, mine: u64) -> Version {
    let floor = now.max(mine).max(last.0 + 1).max(seen.0 + 1);
    let last_of_all = Version::MAX.birth_micros();
    Version(floor.checked_next_multiple_of(SLOTS).map_or(last_of_all, |v| v.min(last_of_all)))
}

/// R4's rule while Redis is away: `rounddown16(max(ahead, seen + 1)) + slot`, lifted by 16 where that is not above `seen`.
///
/// `ahead` is the extrapolated Redis clock plus D, in microseconds. The caller answers no sooner than 2D later.
#[must_use]
pub fn issue_away(ahead: u64, seen: Version, slot: Slot) -> Version {
    let base = ahead.max(seen.0 + 1).min(Version::MAX.birth_micros() - SLOTS) & !(SLOTS - 1);
    let version = base + u64::from(slot.0);
    Version(if version > seen.0 { version } else { version + SLOTS })
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Version {
    type Err = VersionFault;

    fn from_str(text: &str) -> Result<Version, VersionFault> {
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(VersionFault::NotDecimal);
        }
        // Only digits stand here, so the one thing parse can still complain about is size.
        Version::new(text.parse().map_err(|_| VersionFault::TooLarge)?)
    }
}

/// Why a text is no version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VersionFault {
    /// Something else than decimal digits.
    #[error("a version is a decimal number without sign, spaces or separators, as `version` in an answer")]
    NotDecimal,
    /// 2^53 or more.
    #[error("a version is below 9007199254740992 (2^53)")]
    TooLarge,
}

/// The low bits of a process that may issue versions while Redis is away: 1 to 14.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u8);

impl Slot {
    /// The slot with this number.
    ///
    /// # Errors
    /// [`SlotFault`] outside of 1 to 14 (0 is Redis', 15 is nobody's).
    pub fn new(number: u8) -> Result<Slot, SlotFault> {
        if (1..=14).contains(&number) { Ok(Slot(number)) } else { Err(SlotFault) }
    }

    /// The number itself.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }
}

/// A slot outside of 1 to 14.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an instance slot is 1 to 14 (0 is Redis', 15 belongs to nobody); give each process its own")]
pub struct SlotFault;

/// The id of a published schema: pinned in `schemas/ids.json`, unique over all entities, from 1 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaId(u32);

impl SchemaId {
    /// The id with this number.
    #[must_use]
    pub fn new(number: u32) -> SchemaId {
        SchemaId(number)
    }

    /// The number itself.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
