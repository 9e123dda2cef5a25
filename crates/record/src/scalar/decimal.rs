//! Decimals: plain notation to Avro's unscaled big-endian integers and back.
//!
//! Most fit into 128 bits and never see a big integer. Must never round, and never expand a hostile exponent.

use std::borrow::Cow;

use num_bigint::BigInt;

use super::Refusal;
use crate::fault::FaultCode;

/// The most digits that a decimal without bounds may have, before and behind the point together.
const BIG_DIGITS: usize = 1000;

struct Plain<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
}

/// `-12.30` taken apart; `None` when it is written in any other way.
fn split(text: &str) -> Option<Plain<'_>> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !plain(whole) || !plain(fraction) {
        return None;
    }
    let fraction = if digits.contains('.') { fraction } else { "" };
    Some(Plain { negative, whole, fraction })
}

fn only_zeros(digits: &str) -> bool {
    digits.bytes().all(|b| b == b'0')
}

/// The text with exactly `scale` digits behind the point, no superfluous zeros before it and no `-0`.
pub(crate) fn canonical(text: Cow<'_, str>, precision: u32, scale: u32) -> Result<Cow<'_, str>, Refusal> {
    let (precision, scale) = (precision as usize, scale as usize);
    let plain = split(&text).ok_or_else(|| {
        Refusal::new(FaultCode::Format, "expected a decimal in a string, in plain notation such as \"-12.30\"")
    })?;
    let whole = plain.whole.trim_start_matches('0');
    let (kept, excess) = plain.fraction.split_at_checked(scale).unwrap_or((plain.fraction, ""));
    if !only_zeros(excess) {
        return Err(Refusal::new(FaultCode::Range, format!("at most {scale} digits behind the point; round it")));
    }
    if whole.len() + scale > precision {
        let digits = precision - scale;
        return Err(Refusal::new(FaultCode::Range, format!("at most {digits} digits before the point")));
    }
    Ok(as_joined(&plain, whole, kept, scale).map_or(text, Cow::Owned))
}

/// The same without bounds: only zeros before the point and the sign of zero go.
pub(crate) fn canonical_big(text: Cow<'_, str>) -> Result<Cow<'_, str>, Refusal> {
    let plain = split(&text).ok_or_else(|| {
        Refusal::new(FaultCode::Format, "expected a decimal in a string, in plain notation such as \"-12.30\"")
    })?;
    let whole = plain.whole.trim_start_matches('0');
    if whole.len() + plain.fraction.len() > BIG_DIGITS {
        return Err(Refusal::new(FaultCode::Range, format!("at most {BIG_DIGITS} digits")));
    }
    let (kept, scale) = (plain.fraction, plain.fraction.len());
    Ok(as_joined(&plain, whole, kept, scale).map_or(text, Cow::Owned))
}

/// The canonical text of what was taken apart; `None` when that is how it is written already.
fn as_joined(plain: &Plain<'_>, whole: &str, kept: &str, scale: usize) -> Option<String> {
    let zeros = plain.whole.len() - whole.len();
    let written = zeros == usize::from(whole.is_empty()) && plain.fraction.len() == scale;
    let signed = plain.negative && only_zeros(whole) && only_zeros(kept);
    (!written || signed).then(|| join(plain.negative, whole, kept, scale))
}

fn join(negative: bool, whole: &str, fraction: &str, scale: usize) -> String {
    let mut out = String::with_capacity(whole.len() + scale + 3);
    if negative && !(only_zeros(whole) && only_zeros(fraction)) {
        out.push('-');
    }
    out.push_str(if whole.is_empty() { "0" } else { whole });
    if scale > 0 {
        out.push('.');
        out.push_str(fraction);
        out.extend(std::iter::repeat_n('0', scale - fraction.len()));
    }
    out
}

/// The unscaled number of a canonical text as minimal two's complement, big-endian.
pub(crate) fn unscaled(text: &str) -> Vec<u8> {
    match small(text) {
        Some(number) => minimal(&number.to_be_bytes()).to_vec(),
        None => {
            let digits: String = text.chars().filter(|c| *c != '.').collect();
            digits.parse::<BigInt>().unwrap_or_default().to_signed_bytes_be()
        }
    }
}

/// The same where 128 bits hold it.
fn small(text: &str) -> Option<i128> {
    let mut digits = text.bytes().filter(u8::is_ascii_digit).map(|digit| i128::from(digit - b'0'));
    // Towards the sign: the least number is one further from zero than the greatest.
    let sign = if text.starts_with('-') { -1 } else { 1 };
    digits.try_fold(0_i128, |number, digit| number.checked_mul(10)?.checked_add(sign * digit))
}

/// Without the leading bytes that only repeat the sign.
fn minimal(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let [first, second, ..] = rest {
        let repeats = (*first == 0 && *second < 0x80) || (*first == 0xFF && *second >= 0x80);
        if !repeats {
            break;
        }
        rest = rest.get(1..).unwrap_or_default();
    }
    rest
}

/// The canonical text of an unscaled number; `None` when it has more digits than `precision`.
pub(crate) fn from_unscaled(bytes: &[u8], precision: u32, scale: u32) -> Option<String> {
    let bytes = minimal(bytes);
    // 65 digits are 27 bytes: a longer one is refused before it is converted.
    if bytes.len() > 28 {
        return None;
    }
    let text = digits_of(bytes);
    let (negative, digits) = text.strip_prefix('-').map_or((false, text.as_str()), |rest| (true, rest));
    if digits != "0" && digits.len() > precision as usize {
        return None;
    }
    Some(place_point(negative, digits, scale as usize))
}

fn digits_of(bytes: &[u8]) -> String {
    let fill = if bytes.first().is_some_and(|first| *first >= 0x80) { 0xFF } else { 0 };
    let mut wide = [fill; 16];
    match 16_usize.checked_sub(bytes.len()).and_then(|start| wide.get_mut(start..)) {
        Some(tail) => {
            tail.copy_from_slice(bytes);
            i128::from_be_bytes(wide).to_string()
        }
        None => BigInt::from_signed_bytes_be(bytes).to_string(),
    }
}

fn place_point(negative: bool, digits: &str, scale: usize) -> String {
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at_checked(padded.len() - scale).unwrap_or((&padded, ""));
    join(negative, whole.trim_start_matches('0'), fraction, scale)
}

/// The unscaled number of a canonical text and its scale: what stands inside of a big-decimal's bytes.
pub(crate) fn big_to_avro(text: &str) -> (Vec<u8>, i64) {
    let scale = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    (unscaled(text), i64::try_from(scale).unwrap_or(0))
}

/// The canonical text of a big-decimal; `None` when it has more digits than we keep.
pub(crate) fn big_from_avro(bytes: &[u8], scale: i64) -> Option<String> {
    let bytes = minimal(bytes);
    let exponent = usize::try_from(scale.unsigned_abs()).ok()?;
    // 1000 digits are 416 bytes; both bounds hold before anything is converted or expanded.
    if bytes.len() > 417 || exponent > BIG_DIGITS {
        return None;
    }
    let text = digits_of(bytes);
    let (negative, digits) = text.strip_prefix('-').map_or((false, text.as_str()), |rest| (true, rest));
    let shown = if scale >= 0 {
        place_point(negative, digits, exponent)
    } else {
        join(negative, &format!("{digits}{}", "0".repeat(exponent)), "", 0)
    };
    canonical_big(Cow::Owned(shown)).ok().map(Cow::into_owned)
}
