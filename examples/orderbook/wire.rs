//! The streams between the roles.

use mosaik::stream;
use serde::{Deserialize, Serialize};

use crate::order::{Fill, Order};

stream!(
    /// Traders to matchers.
    pub(crate) Orders = Order, "mosaik.examples.orderbook.orders"
);

stream!(
    /// Matchers to reporters.
    pub(crate) Fills = Fill, "mosaik.examples.orderbook.fills"
);

stream!(
    /// Reporters to matchers.
    pub(crate) Resends = Resend, "mosaik.examples.orderbook.resends"
);

/// Asks for fills again: streams don't replay what was sent before a subscription.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Resend {
    /// The first fill that is missing.
    pub(crate) from: u64,
}
