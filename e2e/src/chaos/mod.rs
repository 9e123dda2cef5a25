//! The chaos campaign: clients write and read while faults strike, everything is healed and drained, and an independent
//! judge compares what clients were told with what stands in the stores. `make chaos` runs it; docs/FAULTS.md explains it.

pub mod bug;
pub mod checker;
pub mod client;
mod collect;
pub mod evidence;
pub mod faults;
pub mod ground;
pub mod journal;
mod operator;
mod orchestrator;
pub mod proxy;
pub mod record;
pub mod round;
pub mod schedule;
pub mod stage;
mod strikes;
