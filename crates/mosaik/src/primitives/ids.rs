//! Names for the identifiers of all subsystems.
//!
//! All but [`PeerId`] are the same 32-byte [`Digest`] and convert freely; the aliases say what is
//! being named.

use crate::primitives::Digest;

/// A 32-byte identifier of anything.
pub type UniqueId = Digest;
/// A label that a node puts on its catalog entry.
pub type Tag = UniqueId;
/// Identifies a network; nodes of different networks never exchange anything.
pub type NetworkId = Digest;
/// A node's public key, globally unique across all networks.
pub type PeerId = iroh::EndpointId;
/// Identifies a stream.
pub type StreamId = Digest;
/// Identifies a function.
pub type FunctionId = UniqueId;
/// Identifies a group.
pub type GroupId = Digest;
/// Identifies a collection.
pub type StoreId = UniqueId;
/// Names the format and the authorisation scheme of a ticket.
pub type TicketClass = UniqueId;
