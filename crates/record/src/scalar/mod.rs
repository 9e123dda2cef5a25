//! Scalars: what a JSON scalar means as a field's value, and how a value shows as JSON.
//!
//! The one place that knows the plain notation of every type; parsing of bodies, stored texts, defaults and nested values
//! all end here. Must never know where a value stands (pointers are the callers') and never echo it.

mod accept;
mod decimal;
mod limits;
mod show;
mod time;

pub(crate) use accept::{Given, accept, without_sign};
pub(crate) use decimal::{big_from_avro, big_to_avro, canonical, canonical_big, from_unscaled, unscaled};
pub(crate) use limits::{length_within, text_within, within};
pub(crate) use show::{show, show_text};
pub(crate) use time::in_range;

use std::borrow::Cow;

use crate::fault::FaultCode;

/// Why a scalar is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: FaultCode,
    pub(crate) detail: Cow<'static, str>,
}

impl Refusal {
    pub(crate) fn new(code: FaultCode, detail: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { code, detail: detail.into() }
    }

    /// Of a member, where a parser that is less strict would take the last.
    pub(crate) fn twice() -> Refusal {
        Refusal::new(FaultCode::Duplicate, "stands here twice; give it once")
    }
}
