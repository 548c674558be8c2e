//! How bonds come about: whom to dial, the handshake, and reading what the other member says.

pub(crate) mod dial;
pub(crate) mod handshake;
pub(crate) mod reader;
