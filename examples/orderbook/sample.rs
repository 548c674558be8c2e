//! Random orders that look like those of a market.
//!
//! The middle of the market wanders; most orders rest a little away from it, some reach across and
//! trade; small quantities are common, large ones rare. All arithmetic is on integers, so a seed
//! gives the same file on every machine.

use std::num::NonZeroU32;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::order::{Cents, Order, OrderId, Side};

pub(crate) const DEFAULT_SEED: u64 = 1602;
pub(crate) const DEFAULT_COUNT: u32 = 12_000;

const TRADERS: u32 = 2;
const START_CENTS: u64 = 10_000;
const MIN_MIDDLE_CENTS: u64 = 1_000;
const MAX_MIDDLE_CENTS: u64 = 1_000_000;
/// The nearest resting orders stand this far from the middle.
const HALF_SPREAD_CENTS: u64 = 2;
/// Farther than this from its nearest place no order is put.
const MAX_DEPTH_CENTS: u32 = 60;
const LOT: u32 = 10;
const MAX_LOTS: u32 = 100;

/// `count` orders of two traders; equal arguments give equal orders.
pub(crate) fn orders(seed: u64, count: u32) -> Vec<Order> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut middle = START_CENTS;
    let mut next_seq = [0; TRADERS as usize];
    (0..count)
        .map(|_| {
            middle = wander(&mut rng, middle);
            let trader = rng.random_range(0..TRADERS);
            let side = if rng.random_ratio(1, 2) {
                Side::Buy
            } else {
                Side::Sell
            };
            let limit = limit(&mut rng, middle, side);
            let lots = 1 + geometric(&mut rng, (7, 8), MAX_LOTS - 1);
            let seq = &mut next_seq[trader as usize];
            let id = OrderId {
                trader: trader + 1,
                seq: *seq,
            };
            *seq += 1;
            Order {
                id,
                side,
                limit: Cents::new(limit).expect("the middle keeps clear of zero"),
                quantity: NonZeroU32::new(lots * LOT).expect("at least one lot"),
            }
        })
        .collect()
}

/// One step of the middle: every fourth order moves it by a few cents.
fn wander(rng: &mut ChaCha8Rng, middle: u64) -> u64 {
    if !rng.random_ratio(1, 4) {
        return middle;
    }
    let step = u64::from(1 + geometric(rng, (1, 2), 9));
    let moved = if rng.random_ratio(1, 2) {
        middle + step
    } else {
        middle - step
    };
    moved.clamp(MIN_MIDDLE_CENTS, MAX_MIDDLE_CENTS)
}

fn limit(rng: &mut ChaCha8Rng, middle: u64, side: Side) -> u64 {
    let crosses = rng.random_ratio(1, 4);
    let depth = if crosses { (1, 2) } else { (6, 7) };
    let distance = HALF_SPREAD_CENTS + u64::from(geometric(rng, depth, MAX_DEPTH_CENTS));
    // A resting buyer stands below the middle; one who wants to trade now reaches above it.
    match (side, crosses) {
        (Side::Buy, false) | (Side::Sell, true) => middle - distance,
        (Side::Sell, false) | (Side::Buy, true) => middle + distance,
    }
}

/// The number of successes before the first failure, each with the chance `part / whole`.
fn geometric(rng: &mut ChaCha8Rng, (part, whole): (u32, u32), max: u32) -> u32 {
    let mut successes = 0;
    while successes < max && rng.random_ratio(part, whole) {
        successes += 1;
    }
    successes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::Book;
    use crate::csv;

    const SHIPPED: &[u8] = include_bytes!("orders.csv");

    #[test]
    fn the_shipped_file_is_the_default_sample() {
        let mut text = Vec::new();
        csv::write(&orders(DEFAULT_SEED, DEFAULT_COUNT), &mut text).unwrap();
        assert!(
            text == SHIPPED,
            "write it anew: `orderbook sample examples/orderbook/orders.csv`"
        );
    }

    #[test]
    fn a_longer_sample_begins_like_a_shorter_one() {
        assert_eq!(orders(5, 100)[..50], orders(5, 50));
        assert_ne!(orders(5, 50), orders(6, 50));
    }

    #[test]
    fn the_default_sample_is_a_lively_market() {
        let orders = orders(DEFAULT_SEED, DEFAULT_COUNT);
        let mut book = Book::default();
        let mut deepest = 0;
        for order in &orders {
            deepest = deepest.max(book.submit(order).len());
        }
        let totals = book.totals();
        assert_eq!((totals.accepted, totals.duplicates), (12_000, 0));
        assert!((4_000..12_000).contains(&totals.fills), "{totals:?}");
        assert!(deepest > 3, "no order met several others");
        assert!(
            (100..9_000).contains(&book.open_orders()),
            "{}",
            book.open_orders()
        );
        for trader in 1..=TRADERS {
            let share = orders
                .iter()
                .filter(|order| order.id.trader == trader)
                .count();
            assert!(
                (5_500..6_500).contains(&share),
                "trader {trader} has {share} orders"
            );
        }
    }
}
