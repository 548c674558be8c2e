//! Observable state of a stream: its subscriptions, their traffic, and conditions to wait for.

mod channels;
mod conditions;
mod info;
mod stats;
mod when;

pub(super) use channels::Channels;
pub use conditions::ChannelConditions;
pub use info::{ChannelInfo, State};
pub use stats::Stats;
pub use when::When;
pub(super) use when::{Flag, Standing};

/// A persistent map of subscriptions.
pub type ActiveChannelsMap = rpds::HashTrieMapSync<crate::primitives::Digest, ChannelInfo>;
