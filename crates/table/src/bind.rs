//! From a record's values to parameters and from columns back to values. `Kind` says what an integer means.

use std::borrow::Cow;

use chrono::{DateTime, Duration, NaiveDate, NaiveDateTime, NaiveTime};
use record::{Kind, Value};
use sqlx::mysql::{MySqlArguments, MySqlRow};
use sqlx::query::Query;
use sqlx::{MySql, Row, ValueRef};

use crate::TableError;

pub(crate) type Bound<'q> = Query<'q, MySql, MySqlArguments>;

/// Appends one value. What the column cannot hold is refused by the database with a number of its own.
pub(crate) fn bind<'q>(query: Bound<'q>, kind: &Kind, value: &Value<'_>) -> Bound<'q> {
    match value {
        Value::Null => null(query),
        Value::Boolean(truth) => query.bind(*truth),
        Value::Float(number) => query.bind(*number),
        Value::Double(number) => query.bind(*number),
        Value::Text(text) | Value::Json(text) => query.bind(text.as_ref().to_owned()),
        Value::Bytes(bytes) => query.bind(bytes.as_ref().to_vec()),
        Value::Integer(number) => bind_integer(query, kind, *number),
    }
}

pub(crate) fn null(query: Bound<'_>) -> Bound<'_> {
    query.bind(None::<String>)
}

fn bind_integer<'q>(query: Bound<'q>, kind: &Kind, number: i64) -> Bound<'q> {
    match kind {
        Kind::Date => query.bind(EPOCH_DAY.checked_add_signed(Duration::days(number))),
        Kind::TimeMillis => query.bind(time(number.saturating_mul(1000))),
        Kind::TimeMicros => query.bind(time(number)),
        Kind::TimestampMillis | Kind::LocalTimestampMillis => {
            query.bind(DateTime::from_timestamp_millis(number).map(|stamp| stamp.naive_utc()))
        }
        Kind::TimestampMicros | Kind::LocalTimestampMicros => query.bind(stamp(number)),
        _ => query.bind(number),
    }
}

const EPOCH_DAY: NaiveDate = NaiveDate::from_ymd_opt(1970, 1, 1).expect("a day of the calendar");

fn time(micros: i64) -> Option<NaiveTime> {
    let (seconds, rest) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    NaiveTime::from_num_seconds_from_midnight_opt(u32::try_from(seconds).ok()?, u32::try_from(rest * 1000).ok()?)
}

/// Microseconds since 1970 of what a column says in UTC.
pub(crate) fn micros(stamp: NaiveDateTime) -> u64 {
    u64::try_from(stamp.and_utc().timestamp_micros()).unwrap_or(0)
}

pub(crate) fn stamp(micros: i64) -> Option<NaiveDateTime> {
    DateTime::from_timestamp_micros(micros).map(|stamp| stamp.naive_utc())
}

/// Reads one column back.
pub(crate) fn read(row: &MySqlRow, index: usize, kind: &Kind) -> Result<Value<'static>, TableError> {
    if row.try_get_raw(index)?.is_null() {
        return Ok(Value::Null);
    }
    Ok(match kind {
        Kind::Boolean => Value::Boolean(row.try_get_unchecked(index)?),
        // Numbers are read by the column's type: an unchecked one would take a float's bits for an integer.
        Kind::Int | Kind::Long | Kind::TimestampNanos | Kind::LocalTimestampNanos => {
            Value::Integer(row.try_get(index)?)
        }
        Kind::Float => Value::Float(row.try_get(index)?),
        Kind::Double => Value::Double(row.try_get(index)?),
        Kind::Bytes | Kind::Fixed { .. } => Value::Bytes(Cow::Owned(row.try_get_unchecked(index)?)),
        Kind::String | Kind::Enum { .. } | Kind::Uuid { .. } | Kind::Decimal { .. } | Kind::BigDecimal => {
            Value::Text(Cow::Owned(row.try_get_unchecked(index)?))
        }
        Kind::Json(_) => Value::Json(Cow::Owned(row.try_get_unchecked(index)?)),
        Kind::Date => {
            Value::Integer(row.try_get_unchecked::<NaiveDate, _>(index)?.signed_duration_since(EPOCH_DAY).num_days())
        }
        Kind::TimeMillis => Value::Integer(micros_of(row.try_get_unchecked(index)?) / 1000),
        Kind::TimeMicros => Value::Integer(micros_of(row.try_get_unchecked(index)?)),
        Kind::TimestampMillis | Kind::LocalTimestampMillis => {
            Value::Integer(row.try_get_unchecked::<NaiveDateTime, _>(index)?.and_utc().timestamp_millis())
        }
        Kind::TimestampMicros | Kind::LocalTimestampMicros => {
            Value::Integer(row.try_get_unchecked::<NaiveDateTime, _>(index)?.and_utc().timestamp_micros())
        }
    })
}

fn micros_of(time: NaiveTime) -> i64 {
    (time - NaiveTime::MIN).num_microseconds().unwrap_or_default()
}
