//! Everything that speaks Kafka: publishing an event and awaiting the broker's acknowledgement, consuming with rebalances
//! in our own hands, the topic's required settings (PROTOCOL R17), and how far the group is behind.
//!
//! What must not happen here: a decision about an event (the persister's), or a client built anywhere else.

mod client;
pub mod consumer;
pub mod dead;
pub mod drained;
mod envelope;
pub mod failure;
pub mod lag;
pub mod publisher;
pub mod reader;
pub mod settings;
pub mod setup;
pub mod watch;

pub use consumer::{Assignment, CommitFailed, Consumer, Partition};
pub use dead::{Kept, Letter};
pub use drained::{Drained, Moment};
pub use envelope::Envelope;
pub use failure::TopicError;
pub use lag::{GroupLag, LagMetrics};
pub use publisher::{Outgoing, Published, Publisher};
pub use reader::{Bounds, Reader, Stretch};
pub use settings::{GroupProtocol, KafkaAccess, KafkaSettings, MemberSettings};
