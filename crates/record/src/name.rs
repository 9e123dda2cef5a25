//! Names of entities and their fields: what serves as a path, a topic, a table and a column at once.
//!
//! Must never accept a name that one of these reserves for something else.

use std::fmt;
use std::str::FromStr;

/// Names of the house: routes beside the entities, tables beside theirs.
const RESERVED: [&str; 4] = ["docs", "metrics", "openapi", "dead_letters"];
/// Columns that every table has.
const CONTROL_COLUMNS: [&str; 5] = ["id", "version", "deleted", "log_offset", "updated_at"];
/// MySQL's bound for a column name.
const MAX_FIELD_NAME: usize = 64;

/// The name of an entity: `[a-z][a-z0-9_]{0,47}` and not one of the house's own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityName(Box<str>);

impl EntityName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`NameFault`] with the rule that it breaks.
    pub fn parse(text: &str) -> Result<EntityName, NameFault> {
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(|b| b.is_ascii_lowercase());
        let rest = bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !first || !rest || text.len() > 48 {
            Err(NameFault::Entity)
        } else if RESERVED.contains(&text) || text.starts_with("write_behind") || text.ends_with("_live") {
            Err(NameFault::ReservedEntity)
        } else {
            Ok(EntityName(text.into()))
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EntityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for EntityName {
    type Err = NameFault;

    fn from_str(text: &str) -> Result<EntityName, NameFault> {
        EntityName::parse(text)
    }
}

/// Checks the name of a field that becomes a column.
pub(crate) fn check_field(name: &str) -> Result<(), NameFault> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if !first || !bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') || name.len() > MAX_FIELD_NAME {
        Err(NameFault::Field)
    } else if CONTROL_COLUMNS.iter().any(|column| column.eq_ignore_ascii_case(name)) {
        Err(NameFault::ReservedField)
    } else {
        Ok(())
    }
}

/// Why a name is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// Not `[a-z][a-z0-9_]{0,47}`.
    #[error("an entity's name is [a-z][a-z0-9_]{{0,47}}: lower case, at most 48 characters")]
    Entity,
    /// A name that routes, tables or views of the house have.
    #[error(
        "docs, metrics, openapi, dead_letters, write_behind... and ..._live are the house's own names; take another"
    )]
    ReservedEntity,
    /// Not `[A-Za-z_][A-Za-z0-9_]{0,63}`.
    #[error("a field's name is [A-Za-z_][A-Za-z0-9_]{{0,63}}")]
    Field,
    /// A control column.
    #[error("id, version, deleted, log_offset and updated_at are the table's own columns; take another name")]
    ReservedField,
}
