//! The replicated order book: the state machine that all matchers of a fleet run.

use mosaik::{
    UniqueId,
    groups::{ApplyContext, LogReplaySync, StateMachine},
    unique_id,
};
use serde::{Deserialize, Serialize};

use crate::{
    book::{Book, Totals},
    order::{Fill, Order},
};

/// An order book with the fills it made, the same on every matcher.
#[derive(Debug, Default)]
pub(crate) struct Market {
    book: Book,
    fills: Vec<Fill>,
}

/// Queries of a market.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum MarketQuery {
    /// The fills from a number on, at most this many.
    Fills { from: u64, max: usize },
    /// Totals, and a digest of the whole book.
    Summary,
}

/// The answer to a [`MarketQuery`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum MarketAnswer {
    Fills(Vec<Fill>),
    Summary { totals: Totals, digest: UniqueId },
}

impl StateMachine for Market {
    type Command = Order;
    type Query = MarketQuery;
    type QueryResult = MarketAnswer;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        unique_id!("mosaik.examples.orderbook.market.v1")
    }

    fn apply(&mut self, order: Order, _: &dyn ApplyContext) {
        self.fills.extend(self.book.submit(&order));
    }

    fn query(&self, query: MarketQuery) -> MarketAnswer {
        match query {
            MarketQuery::Fills { from, max } => {
                let from = usize::try_from(from).unwrap_or(usize::MAX);
                MarketAnswer::Fills(self.fills.iter().skip(from).take(max).copied().collect())
            }
            MarketQuery::Summary => MarketAnswer::Summary {
                totals: self.book.totals(),
                digest: self.book.digest(),
            },
        }
    }

    fn state_sync(&self) -> LogReplaySync<Self> {
        LogReplaySync::default()
    }
}
