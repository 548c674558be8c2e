//! The rules of the market: a limit order book with price-time priority.
//!
//! An arriving order trades with the best-priced resting orders of the other side, the oldest
//! first among equals, at their prices, as long as its limit allows; what is left of it rests. The
//! book is a pure function of the sequence of submitted orders. It knows no clock and no chance,
//! so replicas that are fed the same sequence are equal at every step, and [`Book::digest`] shows
//! whether they are.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;

use mosaik::Digest;
use serde::{Deserialize, Serialize};

use crate::order::{Cents, Fill, Order, OrderId, Side};
use crate::seen::Seen;

/// One market.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Book {
    bids: BTreeMap<Cents, Level>,
    asks: BTreeMap<Cents, Level>,
    /// Numbers of the accepted orders, by trader.
    seen: BTreeMap<u32, Seen>,
    totals: Totals,
    /// Hash over all fills so far, each hashed onto those before it.
    tape: Digest,
}

/// Totals of a book since it opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// Orders that entered the book, each once.
    pub(crate) accepted: u64,
    /// Submissions of orders that had entered before.
    pub(crate) duplicates: u64,
    pub(crate) fills: u64,
    /// Sum of the quantities of all fills.
    pub(crate) traded: u64,
}

/// The resting orders of one price, oldest first. Never empty while it's in the book.
type Level = VecDeque<Resting>;

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Resting {
    id: OrderId,
    open: NonZeroU32,
}

impl Default for Book {
    fn default() -> Self {
        Self {
            bids: BTreeMap::new(),
            asks: BTreeMap::new(),
            seen: BTreeMap::new(),
            totals: Totals::default(),
            tape: Digest::zero(),
        }
    }
}

impl Book {
    /// Matches an order and returns the fills, in the sequence in which they happened.
    ///
    /// An order whose id was submitted before is counted as a duplicate and changes nothing else,
    /// whatever it says. Orders of one trader may meet each other.
    pub(crate) fn submit(&mut self, order: &Order) -> Vec<Fill> {
        if !self
            .seen
            .entry(order.id.trader)
            .or_default()
            .insert(order.id.seq)
        {
            self.totals.duplicates += 1;
            return Vec::new();
        }
        self.totals.accepted += 1;

        let mut fills = Vec::new();
        let mut open = Some(order.quantity);
        while let Some(wanted) = open
            && let Some((price, quantity, maker)) = self.take(order.side, order.limit, wanted)
        {
            let fill = Fill {
                id: self.totals.fills,
                maker,
                taker: order.id,
                price,
                quantity,
            };
            self.record(&fill);
            fills.push(fill);
            open = NonZeroU32::new(wanted.get() - quantity.get());
        }
        if let Some(open) = open {
            let side = match order.side {
                Side::Buy => &mut self.bids,
                Side::Sell => &mut self.asks,
            };
            side.entry(order.limit)
                .or_default()
                .push_back(Resting { id: order.id, open });
        }
        fills
    }

    /// Takes up to `wanted` from the first order that a taker of `side` meets within `limit`.
    fn take(
        &mut self,
        side: Side,
        limit: Cents,
        wanted: NonZeroU32,
    ) -> Option<(Cents, NonZeroU32, OrderId)> {
        let mut best = match side {
            Side::Buy => self.asks.first_entry().filter(|ask| *ask.key() <= limit),
            Side::Sell => self.bids.last_entry().filter(|bid| *bid.key() >= limit),
        }?;
        let price = *best.key();
        let level = best.get_mut();
        let first = level.front_mut()?;
        let maker = first.id;
        let quantity = wanted.min(first.open);
        if let Some(rest) = NonZeroU32::new(first.open.get() - quantity.get()) {
            first.open = rest;
        } else {
            level.pop_front();
            if level.is_empty() {
                best.remove();
            }
        }
        Some((price, quantity, maker))
    }

    fn record(&mut self, fill: &Fill) {
        self.totals.fills += 1;
        self.totals.traded += u64::from(fill.quantity.get());
        let mut bytes = Canonical::default();
        bytes.number(fill.id);
        bytes.order_id(fill.maker);
        bytes.order_id(fill.taker);
        bytes.number(fill.price.get());
        bytes.number(fill.quantity.get().into());
        self.tape = self.tape.derive(bytes.0);
    }

    pub(crate) const fn totals(&self) -> Totals {
        self.totals
    }

    /// The highest price that a resting order pays.
    pub(crate) fn best_bid(&self) -> Option<Cents> {
        self.bids.last_key_value().map(|(price, _)| *price)
    }

    /// The lowest price that a resting order asks.
    pub(crate) fn best_ask(&self) -> Option<Cents> {
        self.asks.first_key_value().map(|(price, _)| *price)
    }

    /// The number of resting orders.
    pub(crate) fn open_orders(&self) -> usize {
        self.bids
            .values()
            .chain(self.asks.values())
            .map(VecDeque::len)
            .sum()
    }

    /// A hash of the whole market: resting orders in their priority, accepted order numbers, and
    /// all fills.
    ///
    /// Duplicates leave no trace in it, so a book that met every order once can be compared with
    /// one that met them by several ways.
    pub(crate) fn digest(&self) -> Digest {
        let mut bytes = Canonical::default();
        for side in [&self.bids, &self.asks] {
            bytes.length(side.len());
            for (price, level) in side {
                bytes.number(price.get());
                bytes.length(level.len());
                for resting in level {
                    bytes.order_id(resting.id);
                    bytes.number(resting.open.get().into());
                }
            }
        }
        bytes.length(self.seen.len());
        for (trader, seen) in &self.seen {
            bytes.number((*trader).into());
            bytes.number(seen.below());
            let ahead = seen.ahead();
            bytes.length(ahead.len());
            ahead.for_each(|number| bytes.number(number));
        }
        bytes.number(self.totals.accepted);
        bytes.number(self.totals.fills);
        bytes.number(self.totals.traded);
        self.tape.derive(bytes.0)
    }
}

/// Bytes that are the same on every machine: all numbers in eight bytes, lists behind their length.
#[derive(Default)]
struct Canonical(Vec<u8>);

impl Canonical {
    fn number(&mut self, number: u64) {
        self.0.extend(number.to_le_bytes());
    }

    fn length(&mut self, length: usize) {
        self.number(length as u64);
    }

    fn order_id(&mut self, id: OrderId) {
        self.number(id.trader.into());
        self.number(id.seq);
    }
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
