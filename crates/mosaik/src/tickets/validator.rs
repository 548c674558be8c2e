//! Validators of tickets.

use std::sync::Arc;

use crate::{
    primitives::{TicketClass, UniqueId},
    tickets::{Expiration, PeerEntry},
};

/// A ticket was refused, or none was there. The reason is in the log, at debug level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("InvalidTicket")]
pub struct InvalidTicket;

/// Decides whether a ticket admits the peer that carries it.
///
/// Validation runs where peers are admitted: it must not block and must not do I/O. It may be
/// asked any number of times; verdicts are remembered as [`is_pure`](Self::is_pure) and
/// [`verdict_id`](Self::verdict_id) tell. A validator that panics refuses the peer.
///
/// # Verdicts over time
///
/// Streams, functions and groups ask again for as long as a relationship lasts, all by one rule:
///
/// - an accepting verdict when it expires, when the carrier's entry changes, and, unless the
///   validator [is pure](Self::is_pure), every second. A subscription, a stream of replies or a
///   bond ends with the first verdict that refuses, two seconds after a validator has changed its
///   mind at most;
/// - a refusal when the carrier's entry changes, and by itself: every second by callers about
///   handlers and by members of a group about each other, after 1 to 8 s by consumers about
///   producers. A node that is refused by the other side asks there again, as its protocol says.
///
/// A call with one reply is judged once, when it arrives.
///
/// # Examples
///
/// ```
/// use mosaik::{
///     UniqueId, id,
///     tickets::{Expiration, InvalidTicket, PeerEntry, TicketClass, TicketValidator},
/// };
///
/// struct Password(&'static str);
///
/// impl TicketValidator for Password {
///     fn class(&self) -> TicketClass {
///         id!("example.password")
///     }
///     fn signature(&self) -> UniqueId {
///         id!("example.password.validator").derive(self.0)
///     }
///     fn validate(&self, ticket: &[u8], _: &PeerEntry) -> Result<Expiration, InvalidTicket> {
///         if ticket == self.0.as_bytes() { Ok(Expiration::Never) } else { Err(InvalidTicket) }
///     }
/// }
/// ```
pub trait TicketValidator: Send + Sync + 'static {
    /// The only class of tickets that is handed to [`validate`](Self::validate).
    fn class(&self) -> TicketClass;

    /// The identity of this validator's type **and** configuration.
    ///
    /// Equal configurations must give equal signatures in every process, different ones different
    /// signatures: it is an input of the ids of groups, collections and functions.
    fn signature(&self) -> UniqueId;

    /// Stands for all that a verdict follows from: under this id verdicts are remembered.
    ///
    /// It must change with whatever makes [`validate`](Self::validate) decide differently, or a
    /// verdict of before is taken for one of now. By default it is the
    /// [`signature`](Self::signature), which is right if that covers everything. Where a signature
    /// leaves something out, so that ids stay the same, as [`Jwt::with_identity`] does with keys,
    /// it belongs here. Never leaves the node; asked for on every decision, so it should be cheap.
    ///
    /// [`Jwt::with_identity`]: crate::tickets::Jwt::with_identity
    fn verdict_id(&self) -> UniqueId {
        self.signature()
    }

    /// Looks at the raw data of a ticket and at the entry that carries it.
    ///
    /// # Errors
    ///
    /// When the ticket doesn't admit this peer. Malformed data is an error like any other.
    fn validate(&self, ticket: &[u8], peer: &PeerEntry) -> Result<Expiration, InvalidTicket>;

    /// Returns whether the verdict depends on nothing but the ticket, the id of its carrier and the
    /// time of expiry.
    ///
    /// If so, an accepting verdict is remembered until it expires. Otherwise, which is the
    /// default, it is asked for again after a second, and whenever the carrier's entry changed: so
    /// a validator may answer by something that changes, such as a list of who is revoked.
    /// Refusals are remembered for a second in both cases, or for a second per four tickets of the
    /// class where a peer carries more.
    fn is_pure(&self) -> bool {
        false
    }
}

impl<T: TicketValidator + ?Sized> TicketValidator for Box<T> {
    fn class(&self) -> TicketClass {
        (**self).class()
    }

    fn signature(&self) -> UniqueId {
        (**self).signature()
    }

    fn verdict_id(&self) -> UniqueId {
        (**self).verdict_id()
    }

    fn validate(&self, ticket: &[u8], peer: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        (**self).validate(ticket, peer)
    }

    fn is_pure(&self) -> bool {
        (**self).is_pure()
    }
}

impl<T: TicketValidator + ?Sized> TicketValidator for Arc<T> {
    fn class(&self) -> TicketClass {
        (**self).class()
    }

    fn signature(&self) -> UniqueId {
        (**self).signature()
    }

    fn verdict_id(&self) -> UniqueId {
        (**self).verdict_id()
    }

    fn validate(&self, ticket: &[u8], peer: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        (**self).validate(ticket, peer)
    }

    fn is_pure(&self) -> bool {
        (**self).is_pure()
    }
}
