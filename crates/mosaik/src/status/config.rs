//! Settings of status.

use core::fmt;
use std::sync::Arc;

use crate::tickets::TicketValidator;

/// Settings of what a node tells others about itself; see
/// [`NetworkBuilder::with_status`](crate::network::NetworkBuilder::with_status).
///
/// Default: every member of the network may ask.
///
/// # Examples
///
/// ```
/// use mosaik::{status, tickets::{Hs256, Jwt}};
///
/// // Only for operators, who have a ticket.
/// let operators = Jwt::with_key(Hs256::new([7; 32])).allow_issuer("operations");
/// let gated = status::Config::builder().require_ticket(operators);
/// // For nobody.
/// let silent = status::Config::builder().disabled();
/// # drop((gated, silent));
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Config {
    /// True if nobody is answered. Default `false`.
    pub is_disabled: bool,
    /// An asker needs a valid ticket for each of these. Default none.
    pub ticket_validators: Vec<Arc<dyn TicketValidator>>,
}

impl Config {
    /// Starts with the defaults.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::default()
    }
}

/// Builds a [`Config`].
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct ConfigBuilder(Config);

impl ConfigBuilder {
    /// Answers nobody.
    pub const fn disabled(mut self) -> Self {
        self.0.is_disabled = true;
        self
    }

    /// Answers only peers with a ticket that this validator accepts; adds to those required before.
    pub fn require_ticket(mut self, validator: impl TicketValidator) -> Self {
        self.0.ticket_validators.push(Arc::new(validator));
        self
    }

    /// The configuration.
    pub fn build(self) -> Config {
        self.0
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("is_disabled", &self.is_disabled)
            .field("ticket_validators", &self.ticket_validators.len())
            .finish()
    }
}
