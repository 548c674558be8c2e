use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

fn order(trader: u32, seq: u64, side: Side, cents: u64, quantity: u32) -> Order {
    Order {
        id: OrderId { trader, seq },
        side,
        limit: Cents::new(cents).unwrap(),
        quantity: NonZeroU32::new(quantity).unwrap(),
    }
}

/// Orders of three traders around one price, so that most of them meet others.
fn random_orders(seed: u64, count: usize) -> Vec<Order> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut next = [0; 3];
    (0..count)
        .map(|_| {
            let trader = rng.random_range(0..3_u32);
            let seq = &mut next[trader as usize];
            *seq += 1;
            let side = if rng.random() { Side::Buy } else { Side::Sell };
            order(
                trader,
                *seq - 1,
                side,
                rng.random_range(95..=105),
                rng.random_range(1..=20),
            )
        })
        .collect()
}

fn filled(orders: &[Order]) -> Book {
    let mut book = Book::default();
    for order in orders {
        book.submit(order);
    }
    book
}

fn open_quantity(book: &Book) -> u64 {
    let levels = book.bids.values().chain(book.asks.values());
    levels
        .flatten()
        .map(|resting| u64::from(resting.open.get()))
        .sum()
}

/// The rules once more in the plainest way: a list of resting orders by age, searched from end to
/// end for the best match.
#[derive(Default)]
struct Plain {
    resting: Vec<Order>,
    fills: u64,
}

impl Plain {
    fn submit(&mut self, order: &Order) -> Vec<Fill> {
        let mut fills = Vec::new();
        let mut open = order.quantity.get();
        while open > 0 {
            let better = |a: Cents, b: Cents| match order.side {
                Side::Buy => a < b,
                Side::Sell => a > b,
            };
            let mut best: Option<usize> = None;
            for (at, maker) in self.resting.iter().enumerate() {
                let matches = maker.side != order.side && !better(order.limit, maker.limit);
                if matches && best.is_none_or(|best| better(maker.limit, self.resting[best].limit))
                {
                    best = Some(at);
                }
            }
            let Some(at) = best else { break };
            let maker = &mut self.resting[at];
            let quantity = maker.quantity.get().min(open);
            fills.push(Fill {
                id: self.fills,
                maker: maker.id,
                taker: order.id,
                price: maker.limit,
                quantity: NonZeroU32::new(quantity).unwrap(),
            });
            self.fills += 1;
            open -= quantity;
            match NonZeroU32::new(maker.quantity.get() - quantity) {
                Some(rest) => maker.quantity = rest,
                None => drop(self.resting.remove(at)),
            }
        }
        if let Some(quantity) = NonZeroU32::new(open) {
            self.resting.push(Order { quantity, ..*order });
        }
        fills
    }
}

#[test]
fn better_prices_go_first_then_older_orders_at_the_makers_price() {
    let mut book = Book::default();
    assert_eq!(book.submit(&order(1, 0, Side::Sell, 102, 5)), []);
    assert_eq!(book.submit(&order(1, 1, Side::Sell, 101, 5)), []);
    assert_eq!(book.submit(&order(2, 0, Side::Sell, 101, 5)), []);
    let taker = order(3, 0, Side::Buy, 102, 12);
    let fills: Vec<_> = book
        .submit(&taker)
        .iter()
        .map(|fill| {
            assert_eq!(fill.taker, taker.id);
            (
                fill.id,
                fill.maker.trader,
                fill.maker.seq,
                fill.price.get(),
                fill.quantity.get(),
            )
        })
        .collect();
    assert_eq!(
        fills,
        [(0, 1, 1, 101, 5), (1, 2, 0, 101, 5), (2, 1, 0, 102, 2)]
    );
    assert_eq!(book.best_ask(), Cents::new(102));
    assert_eq!(open_quantity(&book), 3);
}

#[test]
fn a_partly_filled_order_keeps_its_place() {
    let mut book = Book::default();
    book.submit(&order(1, 0, Side::Buy, 100, 10));
    book.submit(&order(2, 0, Side::Buy, 100, 10));
    book.submit(&order(3, 0, Side::Sell, 100, 4));
    let fills = book.submit(&order(3, 1, Side::Sell, 99, 8));
    let makers: Vec<_> = fills
        .iter()
        .map(|fill| (fill.maker.trader, fill.quantity.get()))
        .collect();
    assert_eq!(makers, [(1, 6), (2, 2)]);
}

#[test]
fn a_limit_is_a_limit() {
    let mut book = Book::default();
    book.submit(&order(1, 0, Side::Sell, 101, 5));
    assert_eq!(book.submit(&order(2, 0, Side::Buy, 100, 5)), []);
    assert_eq!(
        (book.best_bid(), book.best_ask()),
        (Cents::new(100), Cents::new(101))
    );
    assert_eq!(book.open_orders(), 2);
}

#[test]
fn fills_equal_those_of_the_plainest_implementation() {
    for seed in 0..20 {
        let (mut book, mut plain) = (Book::default(), Plain::default());
        for order in random_orders(seed, 600) {
            assert_eq!(
                book.submit(&order),
                plain.submit(&order),
                "seed {seed}, {order:?}"
            );
        }
        assert!(book.totals().fills > 200, "seed {seed} tests too little");
    }
}

#[test]
fn the_book_is_never_crossed_and_quantity_is_conserved() {
    for seed in 100..120 {
        let mut book = Book::default();
        let mut submitted = 0;
        for order in random_orders(seed, 600) {
            submitted += u64::from(order.quantity.get());
            let fills = book.submit(&order);
            assert!(fills.iter().all(|fill| match order.side {
                Side::Buy => fill.price <= order.limit,
                Side::Sell => fill.price >= order.limit,
            }));
            if let (Some(bid), Some(ask)) = (book.best_bid(), book.best_ask()) {
                assert!(bid < ask, "seed {seed}: {bid} meets {ask} after {order:?}");
            }
            // Each trade takes its quantity from two orders.
            assert_eq!(
                submitted,
                open_quantity(&book) + 2 * book.totals().traded,
                "seed {seed}"
            );
            assert!(
                book.bids
                    .values()
                    .chain(book.asks.values())
                    .all(|level| !level.is_empty())
            );
        }
    }
}

#[test]
fn orders_that_come_by_two_ways_enter_once() {
    for seed in 200..210 {
        let orders = random_orders(seed, 400);
        let once = filled(&orders);
        // The second copy of each order follows somewhere behind the first.
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut book = Book::default();
        let mut late = VecDeque::new();
        for order in &orders {
            book.submit(order);
            late.push_back(*order);
            while rng.random_ratio(1, 2)
                && let Some(copy) = late.pop_front()
            {
                assert_eq!(book.submit(&copy), []);
            }
        }
        for copy in late {
            assert_eq!(book.submit(&copy), []);
        }
        assert_eq!(book.digest(), once.digest(), "seed {seed}");
        assert_eq!(
            book.totals(),
            Totals {
                duplicates: 400,
                ..once.totals()
            }
        );
        assert!(book.seen.values().all(|seen| seen.ahead().len() == 0));
    }
}

#[test]
fn a_known_id_counts_whatever_the_copy_says() {
    let mut book = Book::default();
    book.submit(&order(1, 0, Side::Sell, 100, 5));
    let before = book.digest();
    assert_eq!(book.submit(&order(1, 0, Side::Buy, 200, 9)), []);
    assert_eq!(book.digest(), before);
    assert_eq!(book.totals().duplicates, 1);
}

#[test]
fn equal_sequences_give_equal_digests_at_every_step() {
    let orders = random_orders(7, 300);
    let (mut one, mut other) = (Book::default(), Book::default());
    let mut before = one.digest();
    for order in &orders {
        one.submit(order);
        other.submit(order);
        assert_eq!(one.digest(), other.digest());
        assert_ne!(one.digest(), before, "an accepted order changes the digest");
        before = one.digest();
    }
}

#[test]
fn the_digest_sees_time_priority() {
    let (a, b) = (
        order(1, 0, Side::Buy, 100, 5),
        order(2, 0, Side::Buy, 100, 5),
    );
    assert_ne!(filled(&[a, b]).digest(), filled(&[b, a]).digest());
}

#[test]
fn a_stored_book_goes_on_where_it_was() {
    let orders = random_orders(11, 400);
    let mut book = filled(&orders[..200]);
    let bytes = postcard::to_allocvec(&book).unwrap();
    let mut restored: Book = postcard::from_bytes(&bytes).unwrap();
    for order in &orders[150..] {
        assert_eq!(book.submit(order), restored.submit(order));
    }
    assert_eq!(book.digest(), restored.digest());
    assert_eq!(book.totals(), restored.totals());
}
