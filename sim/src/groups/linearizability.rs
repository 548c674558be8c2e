//! Linearizability check of a history of operations on one object.
//!
//! The algorithm is J. Wing and C. Gong's ("Testing and Verifying Concurrent Objects", JPDC 1993)
//! with G. Lowe's memoisation ("Testing for Linearizability", CCPE 2017): it looks for an order of
//! the operations that agrees with the object's sequential rules and with real time, by always
//! trying next one of those that were under way when the first of the others returned. A set of
//! operations that has led to a state once need not be tried again.
//!
//! An operation whose outcome is unknown may have taken effect at any time after its call, or not
//! at all.

use std::{collections::HashSet, hash::Hash};

/// The sequential rules of an object.
pub trait Model {
    /// State of the object.
    type State: Clone + Eq + Hash;
    /// Operation on it, together with its result.
    type Deed;

    /// The state at first.
    fn initial() -> Self::State;

    /// The state after a deed, or `None` if the deed could not have returned what it did.
    fn step(state: &Self::State, deed: &Self::Deed) -> Option<Self::State>;
}

/// One operation of a history. Times are of any unit, from one clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation<D> {
    /// Operation, with its result.
    pub deed: D,
    /// Time of the call.
    pub called: u64,
    /// Time of the return; `None` when its outcome is unknown.
    pub returned: Option<u64>,
}

/// Verdict on a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// An order was found.
    Linearizable,
    /// There is none. The operations (by position in the history) that no order gets past: of all
    /// orders tried, the one that got furthest had to go on with one of these.
    Violation(Vec<usize>),
    /// Too much would have to be tried.
    Undecided,
}

/// Steps that are tried before a history is given up as undecided.
const MAX_STEPS: u64 = 20_000_000;

/// Decides whether a history is linearizable.
pub fn check<M: Model>(history: &[Operation<M::Deed>]) -> Verdict {
    Search::<M>::new(history).run()
}

/// No event: the end of the list.
const NONE: usize = usize::MAX;

/// A call or a return, in a doubly linked list in the order of time.
#[derive(Debug, Clone, Copy)]
struct Event {
    operation: usize,
    is_call: bool,
    before: usize,
    after: usize,
}

struct Search<'a, M: Model> {
    history: &'a [Operation<M::Deed>],
    events: Vec<Event>,
    /// The list's first event.
    head: usize,
    /// Positions of each operation's call and return.
    call_of: Vec<usize>,
    return_of: Vec<usize>,
    /// Operations that have taken effect, as bits.
    done: Vec<u64>,
    /// Those of them whose return was seen that have not taken effect yet.
    open: usize,
    /// Combinations that were tried.
    tried: HashSet<(Vec<u64>, M::State)>,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(history: &'a [Operation<M::Deed>]) -> Self {
        let mut times = Vec::with_capacity(2 * history.len());
        for (n, operation) in history.iter().enumerate() {
            // At the same instant, calls come first: the two may have been concurrent.
            times.push((operation.called, false, n));
            times.push((operation.returned.unwrap_or(u64::MAX), true, n));
        }
        times.sort_unstable();
        let count = times.len();
        let mut call_of = vec![NONE; history.len()];
        let mut return_of = vec![NONE; history.len()];
        let events = times.iter().enumerate().map(|(at, (_, is_return, n))| {
            let of = if *is_return {
                &mut return_of
            } else {
                &mut call_of
            };
            of[*n] = at;
            Event {
                operation: *n,
                is_call: !is_return,
                before: at.checked_sub(1).unwrap_or(NONE),
                after: if at + 1 < count { at + 1 } else { NONE },
            }
        });
        Self {
            events: events.collect(),
            head: if count == 0 { NONE } else { 0 },
            call_of,
            return_of,
            done: vec![0; history.len().div_ceil(64)],
            open: history.iter().filter(|o| o.returned.is_some()).count(),
            tried: HashSet::new(),
            history,
        }
    }

    fn run(mut self) -> Verdict {
        let mut state = M::initial();
        let mut taken: Vec<(usize, M::State)> = Vec::new();
        let mut furthest: (usize, Vec<usize>) = (0, Vec::new());
        let mut at = self.head;
        let mut steps = 0;
        while self.open > 0 {
            steps += 1;
            if steps > MAX_STEPS {
                return Verdict::Undecided;
            }
            let event = self.events[at];
            let operation = event.operation;
            if event.is_call {
                let next = M::step(&state, &self.history[operation].deed);
                self.set(operation, true);
                match next {
                    Some(next) if self.tried.insert((self.done.clone(), next.clone())) => {
                        taken.push((operation, std::mem::replace(&mut state, next)));
                        self.lift(operation);
                        at = self.head;
                    }
                    _ => {
                        self.set(operation, false);
                        at = event.after;
                    }
                }
                continue;
            }
            // It has returned, and whatever could come before it was tried.
            if furthest.1.is_empty() || taken.len() > furthest.0 {
                furthest = (taken.len(), self.candidates(at));
            }
            let Some((last, before)) = taken.pop() else {
                return Verdict::Violation(furthest.1);
            };
            state = before;
            self.set(last, false);
            self.put_back(last);
            at = self.events[self.call_of[last]].after;
        }
        Verdict::Linearizable
    }

    /// The operations that were called before an event.
    fn candidates(&self, end: usize) -> Vec<usize> {
        let mut found = Vec::new();
        let mut at = self.head;
        while at != end && at != NONE {
            found.push(self.events[at].operation);
            at = self.events[at].after;
        }
        found
    }

    fn set(&mut self, operation: usize, done: bool) {
        let bit = 1 << (operation % 64);
        let word = &mut self.done[operation / 64];
        *word = if done { *word | bit } else { *word & !bit };
    }

    /// Takes an operation out of the list.
    fn lift(&mut self, operation: usize) {
        self.open -= usize::from(self.history[operation].returned.is_some());
        for at in [self.call_of[operation], self.return_of[operation]] {
            let Event { before, after, .. } = self.events[at];
            self.link(before, after);
        }
    }

    /// Puts the operation that was taken out last back to where it was.
    fn put_back(&mut self, operation: usize) {
        self.open += usize::from(self.history[operation].returned.is_some());
        for at in [self.return_of[operation], self.call_of[operation]] {
            let Event { before, after, .. } = self.events[at];
            self.link(before, at);
            self.link(at, after);
        }
    }

    fn link(&mut self, before: usize, after: usize) {
        match before {
            NONE => self.head = after,
            before => self.events[before].after = after,
        }
        if after != NONE {
            self.events[after].before = before;
        }
    }
}

#[cfg(test)]
#[path = "linearizability_tests.rs"]
mod tests;
