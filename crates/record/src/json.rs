//! stub
use crate::entity::{Entity, Input}; use crate::fault::*; use crate::field::Field; use crate::value::*;
pub(crate) fn parse_body<'a>(_: &Entity, _: &'a [u8]) -> Result<Input<'a>, Vec<Fault>> { Err(Vec::new()) }
pub(crate) fn parse_stored<'a>(_: &Entity, _: &'a str) -> Result<Record<'a>, StoredFault> { Err(StoredFault(Vec::new())) }
pub(crate) fn write(_: &Entity, _: &[Value<'_>], _: &mut String) {}
pub(crate) fn assemble<'a>(_: &[Field], v: Vec<Value<'a>>) -> Result<Vec<Value<'a>>, Misfit> { Ok(v) }
