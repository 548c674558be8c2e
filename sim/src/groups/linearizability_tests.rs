//! Histories that the checker accepts and refuses.

use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::*;
use crate::groups::{
    Counter, CounterDeed,
    CounterDeed::Add,
    Register, RegisterDeed,
    RegisterDeed::{Read, Write},
};

fn op<D>(deed: D, called: u64, returned: impl Into<Option<u64>>) -> Operation<D> {
    Operation {
        deed,
        called,
        returned: returned.into(),
    }
}

fn register(history: &[Operation<RegisterDeed>]) -> Verdict {
    check::<Register>(history)
}

fn counter(history: &[Operation<CounterDeed>]) -> Verdict {
    check::<Counter>(history)
}

fn refused(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Violation(_))
}

#[test]
fn sequences_that_follow_the_rules_are_accepted() {
    assert_eq!(register(&[]), Verdict::Linearizable);
    let history = [op(Read(0), 0, 1), op(Write(1), 2, 3), op(Read(1), 4, 5)];
    assert_eq!(register(&history), Verdict::Linearizable);
    let history = [
        op(Add(1), 0, 1),
        op(Add(2), 2, 3),
        op(CounterDeed::Read(3), 4, 5),
    ];
    assert_eq!(counter(&history), Verdict::Linearizable);
}

#[test]
fn concurrent_operations_may_take_effect_in_any_order() {
    // Both writes span both reads.
    let history = [
        op(Write(1), 0, 9),
        op(Write(2), 0, 9),
        op(Read(2), 1, 3),
        op(Read(1), 4, 6),
    ];
    assert_eq!(register(&history), Verdict::Linearizable);
    // As in the literature: a read that overlaps a write may see it or not.
    let history = [op(Write(1), 0, 5), op(Read(1), 1, 2), op(Read(1), 6, 7)];
    assert_eq!(register(&history), Verdict::Linearizable);
    let history = [op(Write(1), 0, 5), op(Read(0), 1, 2), op(Read(1), 6, 7)];
    assert_eq!(register(&history), Verdict::Linearizable);
}

#[test]
fn a_stale_read_is_refused() {
    let history = [op(Write(1), 0, 1), op(Read(0), 2, 3)];
    assert_eq!(register(&history), Verdict::Violation(vec![1]));
    // Once somebody has seen the new value, nobody sees the old one, also while the write runs.
    let history = [op(Write(1), 0, 9), op(Read(1), 1, 2), op(Read(0), 3, 4)];
    assert!(refused(&register(&history)));
}

#[test]
fn a_value_from_nowhere_is_refused() {
    let history = [op(Write(1), 0, 9), op(Read(2), 1, 2)];
    assert!(refused(&register(&history)));
}

#[test]
fn a_lost_update_is_refused() {
    let history = [op(Write(1), 0, 1), op(Write(2), 2, 3), op(Read(1), 4, 5)];
    assert!(refused(&register(&history)));
    let history = [
        op(Add(1), 0, 5),
        op(Add(2), 0, 5),
        op(CounterDeed::Read(2), 6, 7),
    ];
    assert!(refused(&counter(&history)));
}

#[test]
fn a_double_apply_is_refused() {
    let history = [op(Add(3), 0, 1), op(CounterDeed::Read(6), 2, 3)];
    assert!(refused(&counter(&history)));
}

#[test]
fn an_unknown_outcome_stays_open() {
    // It may not have happened, may happen later, or have happened at once.
    let maybe = op(Write(7), 0, None);
    for reads in [[0, 0], [0, 7], [7, 7]] {
        let [first, second] = reads;
        let history = [maybe.clone(), op(Read(first), 1, 2), op(Read(second), 3, 4)];
        assert_eq!(register(&history), Verdict::Linearizable, "{reads:?}");
    }
    // But it can't be undone, nor happen before its call or twice.
    let history = [maybe.clone(), op(Read(7), 1, 2), op(Read(0), 3, 4)];
    assert!(refused(&register(&history)));
    let history = [op(Read(7), 0, 1), op(Write(7), 2, None)];
    assert!(refused(&register(&history)));
    let history = [op(Add(3), 0, None), op(CounterDeed::Read(6), 1, 2)];
    assert!(refused(&counter(&history)));
}

#[test]
fn the_same_instant_counts_as_concurrent() {
    let history = [op(Write(1), 0, 5), op(Read(0), 5, 6)];
    assert_eq!(register(&history), Verdict::Linearizable);
    let history = [op(Write(1), 0, 5), op(Read(0), 6, 7)];
    assert!(refused(&register(&history)));
}

/// Histories of clients that use a true register, each operation taking effect somewhere between
/// its call and its return, are accepted; with one read changed they are refused.
#[test]
fn random_histories_are_told_apart() {
    for seed in 0..200 {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut history = random_history(&mut random);
        assert_eq!(register(&history), Verdict::Linearizable, "seed {seed}");
        let reads: Vec<_> = history
            .iter()
            .enumerate()
            .filter(|(_, o)| matches!(o.deed, Read(value) if value != 0))
            .map(|(n, _)| n)
            .collect();
        if reads.is_empty() {
            continue;
        }
        let changed = reads[random.random_range(0..reads.len())];
        history[changed].deed = Read(1_000_000);
        assert!(refused(&register(&history)), "seed {seed}");
    }
}

/// Every order of the effects of few operations is tried by brute force, and compared.
#[test]
fn brute_force_agrees() {
    let mut verdicts = [0, 0];
    for seed in 0..2000 {
        let mut random = SmallRng::seed_from_u64(seed);
        let history: Vec<_> = (0..5)
            .map(|_| {
                let called = random.random_range(0..12);
                let deed = match random.random_range(0..2) {
                    0 => Write(random.random_range(1..3)),
                    _ => Read(random.random_range(0..3)),
                };
                let returned = called + random.random_range(1..6);
                let unknown = matches!(deed, Write(_)) && random.random_bool(0.2);
                op(deed, called, (!unknown).then_some(returned))
            })
            .collect();
        let expected = exists_order(&history, &mut Vec::new(), 0);
        let found = register(&history) == Verdict::Linearizable;
        assert_eq!(found, expected, "seed {seed}: {history:?}");
        verdicts[usize::from(found)] += 1;
    }
    assert!(verdicts.iter().all(|count| *count > 100), "{verdicts:?}");
}

fn exists_order(history: &[Operation<RegisterDeed>], order: &mut Vec<usize>, state: u64) -> bool {
    let rest: Vec<_> = (0..history.len()).filter(|n| !order.contains(n)).collect();
    if rest.iter().all(|n| history[*n].returned.is_none()) {
        return true;
    }
    rest.iter().any(|n| {
        let in_time = rest.iter().all(|other| {
            history[*other]
                .returned
                .is_none_or(|end| end >= history[*n].called)
        });
        let Some(next) = Register::step(&state, &history[*n].deed) else {
            return false;
        };
        order.push(*n);
        let found = in_time && exists_order(history, order, next);
        order.pop();
        found
    })
}

fn random_history(random: &mut SmallRng) -> Vec<Operation<RegisterDeed>> {
    // Operations take effect at instants 10, 20, …, in this order.
    let mut value = 0;
    let mut history: Vec<_> = (1..=60u64)
        .map(|n| {
            let deed = if random.random_bool(0.5) {
                value = n;
                Write(n)
            } else {
                Read(value)
            };
            let effect = 1000 + 10 * n;
            let called = effect - random.random_range(0..60);
            let returned = effect + random.random_range(0..60);
            let unknown = matches!(deed, Write(_)) && random.random_bool(0.1);
            op(deed, called, (!unknown).then_some(returned))
        })
        .collect();
    history.sort_by_key(|operation| operation.called);
    history
}
