//! The rules of `docs/PROTOCOL.md` that live in Redis, each on a real Redis: one module per rule, then the connection
//! and the queue in front of it, and last a model of all rules that random sequences are compared with.

// `cfg(test)` tells clippy that helper functions in here belong to tests too.
#[cfg(test)]
mod acknowledgements;
#[cfg(test)]
mod clocks;
#[cfg(test)]
mod connector;
#[cfg(test)]
mod dead;
#[cfg(test)]
mod deletes;
#[cfg(test)]
mod doubts;
#[cfg(test)]
mod failovers;
#[cfg(test)]
mod inspect;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod lives;
#[cfg(test)]
mod model;
#[cfg(test)]
mod newest;
#[cfg(test)]
mod preconditions;
#[cfg(test)]
mod queue;
#[cfg(test)]
mod reads;
#[cfg(test)]
mod relay;
#[cfg(test)]
mod room;
#[cfg(test)]
mod settles;
#[cfg(test)]
mod slots;
#[cfg(test)]
mod support;
#[cfg(test)]
mod unsettled;
#[cfg(test)]
mod versions;
#[cfg(test)]
mod writes;
