//! Confluent's frame around a datum: byte 0, the schema id in four big-endian bytes, the datum.
//!
//! Must never look into the datum.

use crate::version::SchemaId;

const MAGIC: u8 = 0;

/// Appends the framed datum to `out`.
pub fn encode(schema: SchemaId, datum: &[u8], out: &mut Vec<u8>) {
    out.reserve(datum.len() + 5);
    out.push(MAGIC);
    out.extend_from_slice(&schema.get().to_be_bytes());
    out.extend_from_slice(datum);
}

/// The schema id and the datum of a framed value.
///
/// # Errors
/// [`FrameFault`] when the value is not framed this way.
pub fn decode(value: &[u8]) -> Result<(SchemaId, &[u8]), FrameFault> {
    match value {
        [MAGIC, a, b, c, d, datum @ ..] => Ok((SchemaId::new(u32::from_be_bytes([*a, *b, *c, *d])), datum)),
        [] | [MAGIC, ..] => Err(FrameFault::Short),
        _ => Err(FrameFault::Magic),
    }
}

/// Why a value is not framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    /// Less than five bytes.
    #[error("the value has less than the five bytes of a frame")]
    Short,
    /// The first byte is not 0.
    #[error("the value does not begin with byte 0")]
    Magic,
}
