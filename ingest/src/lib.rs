//! The service that takes records over HTTP: cache first, then the topic, and an answer that says what it rests on.
//!
//! `write` is the table of contents: the whole journey of a write on one screen. Knows nothing of `persister`.

mod acknowledge;
pub mod aliases;
pub mod app;
mod away;
pub mod callers;
pub mod clock;
mod current;
mod doubt;
mod fate;
mod files;
pub mod http;
pub mod in_order;
mod intent;
mod lag;
mod metrics;
mod parts;
mod publish;
mod read;
mod read_many;
mod refused;
mod relay;
mod rounds;
pub mod settings;
mod slot;
mod sweep;
pub mod tls;
mod turns;
mod wait;
mod write;

pub use app::App;
pub use settings::{Arguments, Settings};
