//! The service that brings the topic into the table: a consumer group with one lane per partition.
//!
//! `lane` is the table of contents: the whole journey of an event on one screen. Knows nothing of `ingest`.

mod batch;
mod bisect;
mod brake;
pub mod commands;
mod commit;
mod dead;
mod decode;
mod depth;
mod given_up;
mod hold;
mod intake;
mod lane;
mod lanes;
mod membership;
mod metrics;
mod obstacle;
mod purge;
mod queue;
mod reassert;
mod replay;
mod seat;
mod settings;
mod settle;
mod steadiness;
mod unknown;
mod verify;

pub use commands::{Arguments, Command};
