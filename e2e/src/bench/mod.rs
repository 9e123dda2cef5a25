//! What things cost, measured on servers of its own: contenders alternate in one run, results are checked before a rate is
//! quoted, and what is told is medians, spreads and ratios.
//!
//! The entity measured is `users`; nothing outside of `ingest`, `bulk`, `backlog`, `idle` and `open_loop` knows it. The programs
//! are in `e2e/src/bin`: `bench`, `bench-memory` and `bench-seed`, and the references that ours are compared with.

pub mod backlog;
pub mod bulk;
pub mod cpu;
pub mod idle;
pub mod ingest;
pub mod lag;
pub mod machine;
pub mod memory;
pub mod open_loop;
pub mod outage;
pub mod overload;
pub mod persist;
pub mod reference;
pub mod report;
pub mod rows;
pub mod stand;
pub mod statistics;
pub mod wrk;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Measured rounds; one more goes before them to warm up.
    pub rounds: usize,
    /// For a look rather than for figures: short runs, a small backlog.
    pub quick: bool,
}
