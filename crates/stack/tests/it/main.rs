//! The stack's own tests, on real servers.

// `cfg(test)` tells clippy that helper functions in here belong to tests too.
#[cfg(test)]
mod lifetimes;
#[cfg(test)]
mod rights;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod up;
