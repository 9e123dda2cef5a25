//! The whole system on real servers, as a user meets it.

mod bad_input;
mod every_type;
mod faults;
mod journey;
mod migrate;
mod observability;
mod order;
