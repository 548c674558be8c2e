//! The sequential rules of what the clients use.

use super::linearizability::Model;

/// A value that is replaced. Zero at first.
#[derive(Debug)]
pub struct Register;

/// Operations on a [`Register`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegisterDeed {
    /// Replaced the value.
    Write(u64),
    /// Returned the value.
    Read(u64),
}

impl Model for Register {
    type State = u64;
    type Deed = RegisterDeed;

    fn initial() -> u64 {
        0
    }

    fn step(state: &u64, deed: &RegisterDeed) -> Option<u64> {
        match deed {
            RegisterDeed::Write(value) => Some(*value),
            RegisterDeed::Read(value) => (value == state).then_some(*state),
        }
    }
}

/// A sum. Zero at first.
#[derive(Debug)]
pub struct Counter;

/// Operations on a [`Counter`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CounterDeed {
    /// Added this much.
    Add(u64),
    /// Returned the sum.
    Read(u64),
}

impl Model for Counter {
    type State = u64;
    type Deed = CounterDeed;

    fn initial() -> u64 {
        0
    }

    fn step(state: &u64, deed: &CounterDeed) -> Option<u64> {
        match deed {
            CounterDeed::Add(amount) => Some(state.wrapping_add(*amount)),
            CounterDeed::Read(sum) => (sum == state).then_some(*state),
        }
    }
}
