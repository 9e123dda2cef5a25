//! A field of an entity's newest schema: what it may hold, how it is called, what stands for it when it is not given.
//!
//! Plain data that `compile` fills in and every other crate reads (columns, OpenAPI, the publisher's flags).

use crate::nested::Nested;
use crate::value::Value;

/// One field of an entity, compiled.
#[derive(Debug, Clone)]
pub struct Field {
    /// Its name: member, column and Avro field at once.
    pub name: String,
    /// What it holds when it is not null.
    pub kind: Kind,
    /// Whether null is a value of it.
    pub nullable: bool,
    /// What stands for it when it is missing (in a body, in an older version's record).
    pub default: Option<Value<'static>>,
    /// Bounds beyond the type's own.
    pub limits: Limits,
    /// The publisher's flag.
    pub cli: Option<Cli>,
    /// How it is filled from other fields when it is not given.
    pub template: Option<Template>,
    /// The schema's description.
    pub doc: Option<String>,
    /// Which branch of the union is null. Meaningless when not nullable or when the kind is [`Kind::Json`].
    pub(crate) null_first: bool,
}

/// What a field holds.
#[derive(Debug, Clone)]
pub enum Kind {
    /// `boolean`: `Value::Boolean`.
    Boolean,
    /// 32-bit: `Value::Integer`.
    Int,
    /// 64-bit: `Value::Integer`.
    Long,
    /// `Value::Float`.
    Float,
    /// `Value::Double`.
    Double,
    /// `Value::Text`.
    String,
    /// `Value::Bytes`; base64 in JSON.
    Bytes,
    /// `Value::Bytes` of exactly this size; base64 in JSON.
    Fixed {
        /// Bytes.
        size: usize,
    },
    /// `Value::Text`, one of the symbols.
    Enum {
        /// In the schema's order.
        symbols: Vec<String>,
    },
    /// `Value::Text`, lower case with hyphens.
    Uuid {
        /// How Avro writes it.
        form: UuidForm,
    },
    /// `Value::Text` in plain notation with exactly `scale` fractional digits.
    Decimal {
        /// Digits in all, at most 65.
        precision: u32,
        /// Digits behind the point, at most 30.
        scale: u32,
        /// How Avro writes it.
        form: DecimalForm,
    },
    /// `Value::Text` in plain notation, any number of digits up to 1000.
    BigDecimal,
    /// Days since 1970: `Value::Integer`; `2026-11-24` in JSON.
    Date,
    /// Milliseconds since midnight: `Value::Integer`; `12:34:56.789` in JSON.
    TimeMillis,
    /// Microseconds since midnight: `Value::Integer`; six fractional digits in JSON.
    TimeMicros,
    /// Milliseconds since 1970, UTC: `Value::Integer`; `2026-11-24T12:34:56.789Z` in JSON.
    TimestampMillis,
    /// Microseconds since 1970, UTC: `Value::Integer`; six fractional digits in JSON.
    TimestampMicros,
    /// Nanoseconds since 1970, UTC: `Value::Integer`; nine fractional digits in JSON.
    TimestampNanos,
    /// As [`Kind::TimestampMillis`] without a zone: no `Z`.
    LocalTimestampMillis,
    /// As [`Kind::TimestampMicros`] without a zone: no `Z`.
    LocalTimestampMicros,
    /// As [`Kind::TimestampNanos`] without a zone: no `Z`.
    LocalTimestampNanos,
    /// Everything that is not flat: `Value::Json`, plain JSON text.
    Json(Nested),
}

/// How Avro writes a uuid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UuidForm {
    /// As a string of 36 characters.
    Text,
    /// As `fixed` of 16 bytes.
    Fixed,
}

/// How Avro writes a decimal's unscaled number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecimalForm {
    /// As few bytes as it needs.
    Bytes,
    /// So many bytes.
    Fixed(usize),
}

/// Bounds that a field's attributes set; they hold for what clients send, not for what is stored already.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    /// Least number of characters.
    pub min_length: Option<u32>,
    /// Greatest number of characters.
    pub max_length: Option<u32>,
    /// Least number.
    pub minimum: Option<Bound>,
    /// Greatest number.
    pub maximum: Option<Bound>,
}

/// A bound for a number, in the field's own type so that a 64-bit one stays exact.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub enum Bound {
    /// For `int` and `long`.
    Integer(i64),
    /// For `float` and `double`.
    Double(f64),
}

/// A flag of the publisher, from the attribute `"cli": {"long": "age", "short": "a"}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cli {
    /// Without the dashes.
    pub long: String,
    /// Without the dash.
    pub short: Option<char>,
}

/// How a field is filled from others, from the attribute `"template": "{first_name} {last_name}"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The attribute itself.
    pub text: String,
    /// The same, taken apart.
    pub parts: Vec<Part>,
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text as it stands.
    Literal(String),
    /// The text of the field with this index in the entity's fields.
    Field(usize),
}
