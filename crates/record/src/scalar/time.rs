//! Dates, times and timestamps: RFC 3339 to Avro's numbers and back.
//!
//! Years are 1000 to 9999, because the column must hold them. Must never round: digits that the type does not have are
//! refused unless they are zero.

use chrono::{Datelike, NaiveDate};

use super::Refusal;
use crate::fault::FaultCode;
use crate::field::Kind;

/// Days from 0001-01-01 (day 1) to 1970-01-01.
const EPOCH: i32 = 719_163;
/// 1000-01-01 and 9999-12-31 in days since 1970.
const FIRST_DAY: i64 = -354_285;
const LAST_DAY: i64 = 2_932_896;
const DAY_SECONDS: i64 = 86_400;

/// How a kind of Avro number is written: the only difference between the ten types of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
    Date,
    /// Since midnight, with so many fractional digits.
    Time(u32),
    /// Since 1970, in UTC, with so many fractional digits.
    Instant(u32),
    /// Since 1970 without a zone.
    Local(u32),
}

pub(super) fn clock(kind: &Kind) -> Option<Clock> {
    Some(match kind {
        Kind::Date => Clock::Date,
        Kind::TimeMillis => Clock::Time(3),
        Kind::TimeMicros => Clock::Time(6),
        Kind::TimestampMillis => Clock::Instant(3),
        Kind::TimestampMicros => Clock::Instant(6),
        Kind::TimestampNanos => Clock::Instant(9),
        Kind::LocalTimestampMillis => Clock::Local(3),
        Kind::LocalTimestampMicros => Clock::Local(6),
        Kind::LocalTimestampNanos => Clock::Local(9),
        _ => return None,
    })
}

/// Whether an integer is one that a field of this kind can hold (and show, and keep in its column).
pub(crate) fn in_range(kind: &Kind, number: i64) -> bool {
    match (kind, clock(kind)) {
        (Kind::Int, _) => i32::try_from(number).is_ok(),
        (_, None) => true,
        (_, Some(Clock::Date)) => (FIRST_DAY..=LAST_DAY).contains(&number),
        (_, Some(Clock::Time(digits))) => (0..DAY_SECONDS * unit(digits)).contains(&number),
        (_, Some(Clock::Instant(digits) | Clock::Local(digits))) => {
            (FIRST_DAY..=LAST_DAY).contains(&number.div_euclid(DAY_SECONDS * unit(digits)))
        }
    }
}

fn unit(digits: u32) -> i64 {
    10_i64.pow(digits)
}

pub(super) fn parse(clock: Clock, text: &str) -> Result<i64, Refusal> {
    let mut scan = Scan(text.as_bytes());
    let number = match clock {
        Clock::Date => date(&mut scan).map(|days| Some(i64::from(days))),
        Clock::Time(digits) => time(&mut scan, digits).map(Some),
        Clock::Instant(digits) => timestamp(&mut scan, digits, true),
        Clock::Local(digits) => timestamp(&mut scan, digits, false),
    }
    .map_err(|fault| refusal(clock, fault))?;
    match number {
        _ if !scan.0.is_empty() => Err(refusal(clock, Fault::Format)),
        None => Err(refusal(clock, Fault::Range)),
        Some(number) => Ok(number),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Format,
    Precision,
    Range,
}

fn refusal(clock: Clock, fault: Fault) -> Refusal {
    let form = match clock {
        Clock::Date => "a date such as 2026-11-24",
        Clock::Time(_) => "a time such as 12:34:56.789",
        Clock::Instant(_) => "an RFC 3339 timestamp such as 2026-11-24T12:34:56.789Z, with Z or an offset",
        Clock::Local(_) => "a local timestamp such as 2026-11-24T12:34:56.789, without zone",
    };
    match (fault, clock) {
        (Fault::Format, _) => Refusal::new(FaultCode::Format, format!("expected {form}")),
        (Fault::Range, Clock::Instant(9) | Clock::Local(9)) => {
            Refusal::new(FaultCode::Range, "nanoseconds reach from the year 1678 to 2262")
        }
        (Fault::Range, _) => Refusal::new(FaultCode::Range, "the year is 1000 to 9999 (in UTC)"),
        (Fault::Precision, Clock::Date) => Refusal::new(FaultCode::Format, format!("expected {form}")),
        (Fault::Precision, Clock::Time(digits) | Clock::Instant(digits) | Clock::Local(digits)) => {
            Refusal::new(FaultCode::Format, format!("at most {digits} digits behind the point; round it"))
        }
    }
}

/// The rest of a text that is read from the front.
struct Scan<'a>(&'a [u8]);

impl Scan<'_> {
    fn eat(&mut self, wanted: u8) -> bool {
        match self.0 {
            [first, rest @ ..] if first.eq_ignore_ascii_case(&wanted) => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    fn digit(&mut self) -> Option<i64> {
        match self.0 {
            [first @ b'0'..=b'9', rest @ ..] => {
                self.0 = rest;
                Some(i64::from(first - b'0'))
            }
            _ => None,
        }
    }

    /// Exactly so many digits.
    fn number(&mut self, digits: usize) -> Result<i64, Fault> {
        let (head, rest) = self.0.split_at_checked(digits).ok_or(Fault::Format)?;
        self.0 = rest;
        let mut number = 0;
        for digit in head {
            if !digit.is_ascii_digit() {
                return Err(Fault::Format);
            }
            number = number * 10 + i64::from(digit - b'0');
        }
        Ok(number)
    }

    fn expect(&mut self, wanted: u8) -> Result<(), Fault> {
        if self.eat(wanted) { Ok(()) } else { Err(Fault::Format) }
    }

    /// `.789`, or nothing, in units of the given number of digits.
    fn fraction(&mut self, digits: u32) -> Result<i64, Fault> {
        if !self.eat(b'.') {
            return Ok(0);
        }
        let mut number = 0;
        let mut count = 0;
        while let Some(digit) = self.digit() {
            if count < digits {
                number = number * 10 + digit;
            } else if digit != 0 {
                return Err(Fault::Precision);
            }
            count += 1;
        }
        if count == 0 { Err(Fault::Format) } else { Ok(number * unit(digits.saturating_sub(count))) }
    }
}

/// Days since 1970.
fn date(scan: &mut Scan<'_>) -> Result<i32, Fault> {
    let year = scan.number(4)?;
    scan.expect(b'-')?;
    let month = scan.number(2)?;
    scan.expect(b'-')?;
    let day = scan.number(2)?;
    if year < 1000 {
        return Err(Fault::Range);
    }
    let part = |number: i64| u32::try_from(number).map_err(|_| Fault::Format);
    let year = i32::try_from(year).map_err(|_| Fault::Format)?;
    let date = NaiveDate::from_ymd_opt(year, part(month)?, part(day)?).ok_or(Fault::Format)?;
    Ok(date.num_days_from_ce() - EPOCH)
}

/// Units since midnight. A leap second is refused: no column and no other reader would keep it.
fn time(scan: &mut Scan<'_>, digits: u32) -> Result<i64, Fault> {
    let hour = scan.number(2)?;
    scan.expect(b':')?;
    let minute = scan.number(2)?;
    scan.expect(b':')?;
    let second = scan.number(2)?;
    if hour > 23 || minute > 59 || second > 59 {
        return Err(Fault::Format);
    }
    Ok((hour * 3600 + minute * 60 + second) * unit(digits) + scan.fraction(digits)?)
}

/// Units since 1970; `None` when they lie outside of what type or column hold.
fn timestamp(scan: &mut Scan<'_>, digits: u32, zoned: bool) -> Result<Option<i64>, Fault> {
    let days = i64::from(date(scan)?);
    scan.expect(b'T')?;
    let time = time(scan, digits)?;
    let offset = if zoned { offset(scan)? } else { 0 };
    let seconds = days * DAY_SECONDS - offset;
    // Whole seconds alone may lie below the first nanosecond that 64 bits hold.
    let Ok(units) = i64::try_from(i128::from(seconds) * i128::from(unit(digits)) + i128::from(time)) else {
        return Ok(None);
    };
    let day = units.div_euclid(DAY_SECONDS * unit(digits));
    Ok((FIRST_DAY..=LAST_DAY).contains(&day).then_some(units))
}

/// `Z` or `+01:00`, in seconds.
fn offset(scan: &mut Scan<'_>) -> Result<i64, Fault> {
    if scan.eat(b'Z') {
        return Ok(0);
    }
    let sign = if scan.eat(b'-') { -1 } else { 1 };
    if sign == 1 {
        scan.expect(b'+')?;
    }
    let hours = scan.number(2)?;
    scan.expect(b':')?;
    let minutes = scan.number(2)?;
    if hours > 23 || minutes > 59 { Err(Fault::Format) } else { Ok(sign * (hours * 3600 + minutes * 60)) }
}

/// Appends the number in plain notation. It is in range, or it would not be in a record.
pub(super) fn show(clock: Clock, number: i64, out: &mut String) {
    match clock {
        Clock::Date => show_date(number, out),
        Clock::Time(digits) => show_time(number, digits, out),
        Clock::Instant(digits) | Clock::Local(digits) => {
            let day = DAY_SECONDS * unit(digits);
            show_date(number.div_euclid(day), out);
            out.push('T');
            show_time(number.rem_euclid(day), digits, out);
            if matches!(clock, Clock::Instant(_)) {
                out.push('Z');
            }
        }
    }
}

fn show_date(days: i64, out: &mut String) {
    let day = i32::try_from(days).ok().and_then(|days| days.checked_add(EPOCH));
    if let Some(date) = day.and_then(NaiveDate::from_num_days_from_ce_opt) {
        padded(i64::from(date.year()), 4, out);
        out.push('-');
        padded(i64::from(date.month()), 2, out);
        out.push('-');
        padded(i64::from(date.day()), 2, out);
    }
}

fn show_time(units: i64, digits: u32, out: &mut String) {
    let seconds = units / unit(digits);
    padded(seconds / 3600, 2, out);
    out.push(':');
    padded(seconds / 60 % 60, 2, out);
    out.push(':');
    padded(seconds % 60, 2, out);
    out.push('.');
    padded(units % unit(digits), digits as usize, out);
}

fn padded(number: i64, width: usize, out: &mut String) {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(number);
    out.push_str("000000000".get(digits.len()..width).unwrap_or_default());
    out.push_str(digits);
}
