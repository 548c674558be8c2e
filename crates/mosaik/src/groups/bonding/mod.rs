//! Formation of bonds: choice of the peers to dial, the handshake, and the reader of a member's
//! messages.

pub(crate) mod acceptor;
pub(crate) mod dial;
pub(crate) mod handshake;
pub(crate) mod reader;
