//! The specification of `table`, as tests against a real database: one binary, a module per subject.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod adopt;
mod batches;
mod failures;
mod fates;
mod guard;
mod house;
mod migrations;
mod order;
mod purge;
mod round_trip;
mod scan;
mod unique;
