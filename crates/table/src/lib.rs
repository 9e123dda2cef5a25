//! Everything that speaks SQL: the table of an entity, the guarded upsert with its read-back (PROTOCOL R13), reading a
//! row, and what a failure of the database means.
//!
//! What must not happen here: deciding what to do about a failure (the persister's), or a statement that could put an
//! older version over a newer one.

mod apply;
mod bind;
mod capacity;
pub mod database;
mod ddl;
mod existing;
pub mod failure;
mod fate;
mod held;
mod letters;
pub mod migrate;
mod notes;
mod plan;
mod purge;
mod replays;
mod rival;
mod row;
mod scan;
pub mod settings;
mod statements;

pub use apply::{Held, Incoming};
pub use database::Database;
pub use failure::TableError;
pub use fate::{InTable, StandingRow};
pub use letters::{Letter, Letters};
pub use migrate::Migrated;
pub use notes::{Accepted, Note};
pub use purge::PurgedChunk;
pub use replays::ReplayNote;
pub use row::StoredRow;
pub use scan::ScannedRow;
pub use settings::{DatabaseAccess, DatabaseSettings};
pub use statements::EntityTable;
