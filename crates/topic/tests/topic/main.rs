//! What the topic promises, on a real Kafka: the settings that lose nothing (R17), publishing, consuming in a group, and
//! how far the group is behind.

// `cfg(test)` tells clippy that helper functions in here belong to tests too.
#[cfg(test)]
mod away;
#[cfg(test)]
mod consumer;
#[cfg(test)]
mod failed_producer;
#[cfg(test)]
mod group;
#[cfg(test)]
mod lag;
#[cfg(test)]
mod member;
#[cfg(test)]
mod partitioner;
#[cfg(test)]
mod publisher;
#[cfg(test)]
mod reader;
#[cfg(test)]
mod setup;
#[cfg(test)]
mod support;
#[cfg(test)]
mod watch;
