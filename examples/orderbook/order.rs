//! Messages of traders and of the book: orders and fills.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};

use serde::{Deserialize, Serialize};

/// A limit order: trade up to `quantity` at `limit` or better.
///
/// An order that can't be meant, of nothing or for nothing, can't be expressed; bytes from a peer
/// that claim one don't decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) id: OrderId,
    pub(crate) side: Side,
    pub(crate) limit: Cents,
    pub(crate) quantity: NonZeroU32,
}

/// Unique among all orders: traders number theirs from zero, without gaps.
///
/// An order that arrives twice, or by two ways, is recognised by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct OrderId {
    pub(crate) trader: u32,
    pub(crate) seq: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Side {
    Buy,
    Sell,
}

/// A price above zero, in hundredths: money is counted, not measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Cents(NonZeroU64);

/// One trade between a resting order (the maker) and an arriving one (the taker).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fill {
    /// Numbered by the book from zero, without gaps. Replicas of a book give a fill the same
    /// number, so that a receiver knows one that it has seen.
    pub(crate) id: u64,
    pub(crate) maker: OrderId,
    pub(crate) taker: OrderId,
    /// The maker's limit: who waited sets the price.
    pub(crate) price: Cents,
    pub(crate) quantity: NonZeroU32,
}

impl Cents {
    /// `None` for zero.
    pub(crate) const fn new(cents: u64) -> Option<Self> {
        match NonZeroU64::new(cents) {
            Some(cents) => Some(Self(cents)),
            None => None,
        }
    }

    pub(crate) const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.get() / 100, self.get() % 100)
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.trader, self.seq)
    }
}

impl fmt::Display for Fill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "fill {}: {} at {}, order {} against {}",
            self.id, self.quantity, self.price, self.taker, self.maker
        )
    }
}

impl Side {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_show_two_decimals() {
        let shown = |cents| Cents::new(cents).unwrap().to_string();
        assert_eq!(shown(1), "0.01");
        assert_eq!(shown(10_050), "100.50");
        assert_eq!(shown(u64::MAX), "184467440737095516.15");
        assert_eq!(Cents::new(0), None);
    }

    #[test]
    fn a_fill_is_one_line() {
        let fill = Fill {
            id: 7,
            maker: OrderId { trader: 1, seq: 2 },
            taker: OrderId { trader: 2, seq: 3 },
            price: Cents::new(10_050).unwrap(),
            quantity: NonZeroU32::MIN,
        };
        assert_eq!(
            fill.to_string(),
            "fill 7: 1 at 100.50, order 2/3 against 1/2"
        );
    }

    #[test]
    fn orders_of_nothing_do_not_decode() {
        let order = Order {
            id: OrderId { trader: 1, seq: 2 },
            side: Side::Sell,
            limit: Cents::new(5).unwrap(),
            quantity: NonZeroU32::MIN,
        };
        let bytes = postcard::to_allocvec(&order).unwrap();
        assert_eq!(postcard::from_bytes::<Order>(&bytes).unwrap(), order);
        assert_eq!(bytes, [1, 2, 1, 5, 1]);
        postcard::from_bytes::<Order>(&[1, 2, 1, 0, 1]).unwrap_err();
        postcard::from_bytes::<Order>(&[1, 2, 1, 5, 0]).unwrap_err();
    }
}
