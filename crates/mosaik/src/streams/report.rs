//! Reports of a node's streams, for its status. They cross the network as
//! [records](crate::primitives::record).

use serde::{Deserialize, Serialize};

use crate::primitives::{
    PeerId, StreamId,
    record::{codes, list},
    text, wire,
};

/// Subscriptions of one producer or consumer that are reported; those that lag most come first.
pub(super) const MAX_REPORTED_SUBSCRIPTIONS: usize = 64;
/// Cuts of one producer that are reported, the latest.
pub(super) const MAX_REPORTED_CUTS: usize = 8;

/// One producer or consumer on a node.
///
/// All counts are totals since it was opened. A rate is the difference of two reports, divided by
/// that of their times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StreamReport {
    /// The stream.
    pub stream: StreamId,
    /// Name that the program gave it.
    #[serde(with = "text::optional")]
    pub label: Option<String>,
    /// Short name of the datum type.
    #[serde(with = "text::one")]
    pub datum: String,
    /// Side of the stream that this is.
    pub side: StreamSide,
    /// True if its `online_when` condition is met.
    pub online: bool,
    /// Datums: per consumer, handed to the transport; or taken by the application.
    pub datums: u64,
    /// Bytes of those datums.
    pub bytes: u64,
    /// Datums that were withheld from lagging consumers; or that are known to be missed.
    pub dropped: u64,
    /// Datums that arrived and could not be decoded, on a consumer.
    pub undecodable: u64,
    /// Subscriptions that were accepted, on a producer.
    pub accepted: u64,
    /// Subscriptions that were refused, on a producer.
    pub refused: u64,
    /// Of those, the ones whose entry or tickets did not suffice.
    pub not_allowed: u64,
    /// Subscriptions that this side ended, on a producer.
    pub cuts: u64,
    /// Peers in the node's catalog that produce the stream.
    pub producers_known: u64,
    /// Datums that may wait for one consumer, on a producer.
    pub buffer: u64,
    /// True if senders wait for room, on a producer.
    pub waiting: bool,
    /// Current subscriptions, those that lag most first.
    #[serde(with = "list")]
    pub subscriptions: Vec<SubscriptionReport>,
    /// Further subscriptions that are not listed.
    pub left_off: u64,
    /// The latest consumers that this side has cut off.
    #[serde(with = "list")]
    pub cut: Vec<CutReport>,
    /// Time since a subscription was last not allowed, on a producer.
    #[serde(default)]
    pub not_allowed_ago_ms: Option<u64>,
    /// Time since a datum could last not be decoded, on a consumer.
    #[serde(default)]
    pub undecodable_ago_ms: Option<u64>,
}

/// One subscription, as one of its two ends sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SubscriptionReport {
    /// The node at the other end.
    #[serde(with = "wire::peer_id")]
    pub peer: PeerId,
    /// State of the subscription.
    pub state: SubscriptionState,
    /// Datums that it has carried.
    pub datums: u64,
    /// Bytes that it has carried, without framing.
    pub bytes: u64,
    /// Datums that the consumer is known to have missed.
    pub dropped: u64,
    /// Time since it was connected.
    pub uptime_ms: Option<u64>,
    /// Datums accepted by the producer that this consumer has not taken, at the producer.
    pub lag: u64,
    /// Time for which it has held up others lately, at the producer; at a second it is cut off or
    /// misses datums.
    pub held_up_ms: u64,
}

/// A consumer that was cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CutReport {
    /// The consumer.
    #[serde(with = "wire::peer_id")]
    pub peer: PeerId,
    /// The reason, as the metric `mosaik.streams.producer.consumers.cut` has it.
    #[serde(with = "text::one")]
    pub reason: String,
    /// Time since then.
    pub ago_ms: u64,
}

codes! {
    /// Side of a stream.
    pub enum StreamSide {
        /// Another one.
        Unknown = "unknown",
        /// It produces.
        Producer = "producer",
        /// It consumes.
        Consumer = "consumer",
    }
}

codes! {
    /// State of a subscription.
    pub enum SubscriptionState {
        /// Another one.
        Unknown = "unknown",
        /// A connection is being made.
        Connecting = "connecting",
        /// Datums flow.
        Connected = "connected",
        /// It has ended.
        Terminated = "terminated",
    }
}
