//! The specification of `record`, as tests: one binary, a module per subject.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod bodies;
mod events;
mod generate;
mod house;
mod oracle;
mod published;
mod schemas;
mod stored;
mod versions;
