//! What can be wrong with a body, a stored text, a datum, a row and a schema.
//!
//! Texts say what is expected and the remedy. They must never hold a value: they end up in answers, logs and metrics.

use std::fmt;

use crate::version::SchemaId;

/// One thing wrong with a client's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where, as an RFC 6901 pointer: `/age`, `/address/zip`, `` for the body as a whole.
    pub pointer: String,
    /// What kind of fault.
    pub code: FaultCode,
    /// What is expected, and the remedy.
    pub detail: String,
}

/// The closed set of faults of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::EnumIter)]
pub enum FaultCode {
    /// Not JSON.
    Syntax,
    /// Another JSON type is expected.
    Type,
    /// A member that must be there is not.
    Missing,
    /// A member that the schema does not have.
    Unknown,
    /// A member that stands there twice.
    Duplicate,
    /// A number, date or decimal outside of its bounds.
    Range,
    /// A string too short, too long, or a body too deep.
    Length,
    /// A string that is not written as its type asks for.
    Format,
    /// Not one of the enum's symbols.
    Symbol,
    /// U+0000 in a string.
    Nul,
    /// More faults than are listed.
    TooMany,
}

impl FaultCode {
    /// The text in an answer.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            FaultCode::Syntax => "syntax",
            FaultCode::Type => "type",
            FaultCode::Missing => "missing",
            FaultCode::Unknown => "unknown",
            FaultCode::Duplicate => "duplicate",
            FaultCode::Range => "range",
            FaultCode::Length => "length",
            FaultCode::Format => "format",
            FaultCode::Symbol => "symbol",
            FaultCode::Nul => "nul",
            FaultCode::TooMany => "too-many",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.pointer, self.code.as_str(), self.detail)
    }
}

/// Why a text that should be one of our own cached records is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored record is not readable: {}", .0.first().map_or_else(String::new, ToString::to_string))]
pub struct StoredFault(pub Vec<Fault>);

/// Why a datum cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatumFault {
    /// No version of this entity has the id: hold, do not poison (G8).
    #[error("schema id {0} is none of this entity's")]
    UnknownSchema(SchemaId),
    /// The bytes are not a datum of the schema.
    #[error("field `{field}`: {what}")]
    Malformed {
        /// The field of the writer's schema where reading stopped; empty for what stands behind the last one.
        field: String,
        /// What is wrong, without the value.
        what: &'static str,
    },
}

/// Why values are no record of an entity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}`: {what}")]
pub struct Misfit {
    /// The field; empty when the number of values is wrong.
    pub field: String,
    /// What is wrong, without the value.
    pub what: String,
}

/// One thing wrong with the schemas.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("schemas/{file}{}{field}: {rule}: {detail}", if field.is_empty() { "" } else { " field " })]
pub struct SchemaFault {
    /// Path below `schemas/`.
    pub file: String,
    /// The field, dotted when nested; empty for the file as a whole.
    pub field: String,
    /// A short name of the broken rule, such as `maxLength` or `published`.
    pub rule: &'static str,
    /// What is expected, and the remedy.
    pub detail: String,
}
