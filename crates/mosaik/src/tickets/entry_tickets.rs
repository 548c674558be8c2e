//! Tickets of an entry, and what validators say of them.

use crate::{
    primitives::UniqueId,
    tickets::{Expiration, InvalidTicket, PeerEntry, Ticket, TicketValidator},
};

impl PeerEntry {
    /// The tickets of this class.
    pub fn tickets_of(&self, class: UniqueId) -> impl Iterator<Item = &Ticket> {
        self.tickets
            .values()
            .filter(move |ticket| ticket.class == class)
    }

    /// The tickets of this class that the closure accepts. It sees data that the peer chose and
    /// must tolerate anything.
    pub fn valid_tickets(
        &self,
        class: UniqueId,
        validator: impl Fn(&[u8]) -> bool,
    ) -> impl Iterator<Item = &Ticket> {
        self.tickets_of(class)
            .filter(move |ticket| validator(ticket.data()))
    }

    /// Returns whether the closure accepts one of the tickets of this class; it is asked until it
    /// does.
    pub fn has_valid_ticket(&self, class: UniqueId, validator: impl Fn(&[u8]) -> bool) -> bool {
        self.valid_tickets(class, validator).next().is_some()
    }

    /// Asks a validator about every ticket of its class.
    ///
    /// The answer is the **latest** expiration among the tickets that are valid; invalid ones
    /// beside a valid one do no harm.
    ///
    /// # Errors
    ///
    /// When no ticket is valid.
    pub fn validate_ticket(
        &self,
        validator: &dyn TicketValidator,
    ) -> Result<Expiration, InvalidTicket> {
        self.tickets_of(validator.class())
            .filter_map(|ticket| validator.validate(ticket.data(), self).ok())
            .max()
            .ok_or(InvalidTicket)
    }

    /// Asks all validators; every one must accept.
    ///
    /// The answer is the **earliest** of their expirations, or `None` if there are no validators.
    ///
    /// # Errors
    ///
    /// When one of the validators accepts no ticket.
    pub fn validate_tickets(
        &self,
        validators: &[impl AsRef<dyn TicketValidator>],
    ) -> Result<Option<Expiration>, InvalidTicket> {
        let mut earliest = None;
        for validator in validators {
            let expiration = self.validate_ticket(validator.as_ref())?;
            earliest = Some(earliest.map_or(expiration, |other| expiration.min(other)));
        }
        Ok(earliest)
    }
}
