//! stub
use crate::fault::DatumFault; use crate::field::Field; use crate::value::Value;
#[derive(Debug)] pub(crate) struct ReadPlan {}
pub(crate) fn write(_: &[Field], _: &[Value<'_>], _: &mut Vec<u8>) {}
pub(crate) fn read<'a>(_: &ReadPlan, _: &[Field], _: &'a [u8]) -> Result<Vec<Value<'a>>, DatumFault> { Ok(Vec::new()) }
