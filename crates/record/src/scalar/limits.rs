//! Bounds that attributes set, and U+0000: what a client may not send although the type could hold it.
//!
//! Must never be applied to what is stored already: bounds may have been tighter or looser when it was written.

use super::Refusal;
use crate::fault::FaultCode;
use crate::field::{Bound, Limits};
use crate::value::Value;

/// Checks an accepted value against its field's bounds.
#[inline(always)]
pub(crate) fn within(limits: &Limits, value: &Value<'_>) -> Result<(), Refusal> {
    match value {
        Value::Text(text) => text_within(limits, text),
        Value::Integer(number) => number_within(limits, Bound::Integer(*number)),
        Value::Float(number) => number_within(limits, Bound::Double(f64::from(*number))),
        Value::Double(number) => number_within(limits, Bound::Double(*number)),
        _ => Ok(()),
    }
}

/// Checks a text against its field's bounds.
#[inline]
pub(crate) fn text_within(limits: &Limits, text: &str) -> Result<(), Refusal> {
    // Without an early end this is a few vector instructions, which `contains` is not.
    if text.bytes().fold(false, |found, byte| found | (byte == 0)) {
        return Err(Refusal::new(FaultCode::Nul, "U+0000 cannot be kept; leave it out"));
    }
    length_within(limits, text)
}

/// The same for a text that has no U+0000.
#[inline]
pub(crate) fn length_within(limits: &Limits, text: &str) -> Result<(), Refusal> {
    // A text has at most as many characters as bytes, so most need no counting.
    if let Some(most) = limits.max_length.filter(|most| text.len() > *most as usize)
        && text.chars().count() > most as usize
    {
        return Err(Refusal::new(FaultCode::Length, format!("at most {most} characters")));
    }
    match limits.min_length {
        Some(least) if text.chars().count() < least as usize => {
            Err(Refusal::new(FaultCode::Length, format!("at least {least} characters")))
        }
        _ => Ok(()),
    }
}

#[inline]
fn number_within(limits: &Limits, number: Bound) -> Result<(), Refusal> {
    match (limits.minimum, limits.maximum) {
        (Some(least), _) if number < least => Err(Refusal::new(FaultCode::Range, format!("at least {}", text(least)))),
        (_, Some(most)) if number > most => Err(Refusal::new(FaultCode::Range, format!("at most {}", text(most)))),
        _ => Ok(()),
    }
}

fn text(bound: Bound) -> String {
    match bound {
        Bound::Integer(number) => number.to_string(),
        Bound::Double(number) => number.to_string(),
    }
}
