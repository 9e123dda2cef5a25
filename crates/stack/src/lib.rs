//! Real servers as child processes on loopback: Kafka, Redis, MariaDB or MySQL, Prometheus.
//!
//! `make up` (the binary `stack`) and every test and bench start their servers here, so that all of them run the same
//! programs with the same settings. Nothing is mocked and nothing is skipped: a server that cannot start is an error
//! with the tail of its log. Standard library only, no async runtime; never linked into a service.
//!
//! A test usually wants [`shared`]: one server of each kind per test binary, gone with the process.

mod database;
pub mod folder;
pub mod http;
mod kafka;
pub mod note;
pub mod port;
pub mod private;
mod process;
mod prometheus;
mod random;
mod redis;
mod server;
pub mod shared;
mod spawner;
mod spec;
mod tools;

pub use database::{Accounts, Admin, Database, Kind};
pub use kafka::{Kafka, KafkaOptions, Speed};
pub use process::{Ended, Lifetime, Process, log_tail};
pub use prometheus::Prometheus;
pub use redis::{Fsync, Redis, RedisOptions};
pub use server::{Place, Server};
pub use spec::Spec;
pub use tools::{KafkaTools, Tools, workspace};
