//! The whole system on real servers, as a user meets it.

mod journey;
