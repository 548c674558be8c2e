//! An in-memory network: every packet of every node passes through it.
//!
//! iroh sends and receives through custom transports beside UDP and relays. Ours hands each packet
//! to the hub, which decides its fate (lost, cut off, held, late) and puts it into the inbox of the
//! receiver, from where iroh takes it once it is due. Nodes find each other by bare id through the
//! hub's address lookup: custom addresses never appear in an endpoint's own address.
//!
//! Nodes of other processes take part over UDP: each has a bridge here, which carries its packets to
//! and from the hub, so that they meet the same.

mod bridge;
mod conditions;
mod faults;
mod handle;
mod inbox;
mod port;
mod remote;
mod transport;

pub use bridge::Bridge;
pub use conditions::Conditions;
pub use handle::Hub;
pub use port::Traffic;
pub use remote::attach_remote;
