//! Tickets that are good for a while.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mosaik::{
    Network, Ticket, UniqueId, id,
    tickets::{Expiration, InvalidTicket, PeerEntry, TicketClass, TicketValidator},
};

/// Takes tickets that name the moment until which they are valid.
#[derive(Debug, Clone, Copy)]
pub struct Until;

impl Until {
    pub fn ticket(in_ms: u64) -> Ticket {
        let until = chrono::Utc::now() + Duration::from_millis(in_ms);
        let until = until.timestamp_millis().to_string();
        Ticket::new(Self.class(), until.into())
    }

    /// Returns whether a node's own tickets are of no use, or no longer.
    pub fn rejects(self, node: &Network) -> bool {
        let verdict = node.discovery().me().validate_ticket(&self);
        verdict.map_or(true, |expiration| expiration.is_expired())
    }
}

impl TicketValidator for Until {
    fn class(&self) -> TicketClass {
        id!("test.until")
    }

    fn signature(&self) -> UniqueId {
        id!("test.until.validator")
    }

    fn validate(&self, ticket: &[u8], _: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        let until = std::str::from_utf8(ticket).map_err(|_| InvalidTicket)?;
        let until = until.parse().map_err(|_| InvalidTicket)?;
        let until = chrono::DateTime::from_timestamp_millis(until).ok_or(InvalidTicket)?;
        Ok(Expiration::At(until))
    }
}

/// Takes any ticket for as long as it likes, which nothing tells of.
#[derive(Debug, Clone)]
pub struct Moody(Arc<AtomicBool>);

impl Moody {
    pub fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    pub fn ticket() -> Ticket {
        Ticket::new(id!("test.moody"), "any".into())
    }

    pub fn accept(&self, accepts: bool) {
        self.0.store(accepts, Ordering::SeqCst);
    }
}

impl TicketValidator for Moody {
    fn class(&self) -> TicketClass {
        id!("test.moody")
    }

    fn signature(&self) -> UniqueId {
        id!("test.moody.validator")
    }

    fn validate(&self, _: &[u8], _: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        let accepts = self.0.load(Ordering::SeqCst);
        accepts.then_some(Expiration::Never).ok_or(InvalidTicket)
    }
}
