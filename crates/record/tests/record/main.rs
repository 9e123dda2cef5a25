//! The specification of `record`, as tests: one binary, a module per subject.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
// Tables are long and wide on purpose: a row is a sentence of the specification.
#![allow(clippy::too_many_lines, clippy::type_complexity)]

mod bodies;
mod cost;
mod events;
mod gate;
mod generate;
mod house;
mod json_schema;
mod oracle;
mod published;
mod schemas;
mod stored;
mod versions;
