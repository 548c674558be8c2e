//! Typed credentials, and the signed catalog entry that carries them.
//!
//! A [`Ticket`] is an opaque byte string with a class. A node attaches tickets to its own
//! [`PeerEntry`]; they travel with the signed entry and are therefore **public to every node of
//! the network**. A node that decides about a peer runs one or more [`TicketValidator`]s over
//! the peer's tickets, and ends the relationship when the [`Expiration`] that they answer has
//! passed.
//!
//! Tickets work without any built-in validator, through [`PeerEntry::has_valid_ticket`] in a
//! `require` closure. Entries live here, and not in `discovery`, because validators are given one.

mod cache;
mod entry;
mod entry_limits;
mod entry_tickets;
mod expiration;
mod format;
#[cfg(any(test, feature = "unstable-fuzz"))]
pub(crate) mod fuzz;
mod identity;
mod info;
mod jwt;
mod keys;
mod limits;
mod signed;
mod ticket;
mod validator;
mod validity;
mod version;
pub(crate) mod wire;

pub(crate) use cache::TicketCache;
pub use entry::PeerEntry;
pub(crate) use expiration::CLOCK_LOOK;
pub use expiration::{ChronoDuration, Duration, Expiration};
pub use info::PeerInfo;
pub use jwt::{Jwt, JwtTicketBuilder};
pub use keys::{
    EdDsa, EdDsaSigningKey, Es256, Es256SigningKey, Es256k, Es256kSigningKey, Es384,
    Es384SigningKey, Es512, Es512SigningKey, Hs256, Hs384, Hs512, InvalidKey, SigningAlgorithm,
    SigningKey, VerifyingAlgorithm, VerifyingKey,
};
pub(crate) use limits::{
    LimitError, MAX_ADDRESSES, MAX_ENTRY_BYTES, MAX_FUNCTIONS, MAX_GROUPS, MAX_STREAMS, MAX_TAGS,
    MAX_TICKET_BYTES, MAX_TICKETS, listed,
};
pub use signed::SignedPeerEntry;
pub(crate) use signed::UnverifiedEntry;
pub use ticket::Ticket;
pub use validator::{InvalidTicket, TicketValidator};
pub(crate) use validity::Validity;
pub use version::PeerEntryVersion;
pub(crate) use version::system_now_ms;

pub use crate::primitives::TicketClass;
