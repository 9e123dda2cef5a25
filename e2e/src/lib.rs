//! Whole systems for tests and benches: real servers, and our two services as the processes that they are in production.
//!
//! A [`System`] has a database, a Redis database, a topic prefix and a consumer group of its own, so that many can live on
//! the same servers. Dropping it kills its services. Nothing here knows an entity.

pub mod bench;
pub mod chaos;
pub mod dashboard;
pub mod journal;
pub mod system;
pub mod topic_reader;

pub use journal::Load;
pub use system::{Servers, System};
