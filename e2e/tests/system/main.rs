//! The whole system on real servers, as a user meets it.

mod bad_input;
mod faults;
mod journey;
mod observability;
mod order;
