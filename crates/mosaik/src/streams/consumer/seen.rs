//! Position of a consumer in the stream of each producer, also while it is not subscribed to it.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::{primitives::PeerId, streams_layer::wire::Accepted};

/// Limit on the remembered producers.
const MAX_REMEMBERED: usize = 4096;

/// Position of a consumer in the stream of one producer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    run: u64,
    /// The position of the datum that comes next.
    next: u64,
    /// True if the producer has ended and this consumer has all that it sent.
    complete: bool,
}

/// Datums missed between one subscription and the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missed {
    Nothing,
    Datums(u64),
    Unknown,
}

impl Seen {
    /// Begins at the position where the producer admits; tells what was missed since `former`.
    pub(super) fn resume(former: Option<Self>, accepted: &Accepted) -> (Self, Missed) {
        let seen = Self {
            run: accepted.run,
            next: accepted.position,
            complete: false,
        };
        let missed = match former {
            Some(former) if former.run == seen.run => match seen.next.checked_sub(former.next) {
                None | Some(0) => Missed::Nothing,
                Some(datums) => Missed::Datums(datums),
            },
            Some(former) if !former.complete => Missed::Unknown,
            _ => Missed::Nothing,
        };
        (seen, missed)
    }

    /// Adds datums that were received, or withheld.
    pub(super) fn advance(&mut self, datums: u64) {
        self.next = self.next.saturating_add(datums);
    }

    /// Takes in that the producer has ended at a position.
    pub(super) fn complete(&mut self, end: u64) {
        self.complete = end == self.next;
    }
}

/// Positions of a consumer in the streams of the producers that it was subscribed to.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<HashMap<PeerId, Seen>>);

impl Memory {
    pub(super) fn get(&self, producer: &PeerId) -> Option<Seen> {
        self.0.lock().get(producer).copied()
    }

    /// Remembers a producer, at the cost of any other when there are too many.
    pub(super) fn put(&self, producer: PeerId, seen: Seen) {
        let mut all = self.0.lock();
        if all.len() >= MAX_REMEMBERED && !all.contains_key(&producer) {
            let other = all.keys().next().copied();
            other.and_then(|other| all.remove(&other));
        }
        all.insert(producer, seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(run: u64, position: u64) -> Accepted {
        Accepted { run, position }
    }

    #[test]
    fn what_is_missed_is_counted_within_a_run() {
        let (mut seen, missed) = Seen::resume(None, &accepted(1, 100));
        assert_eq!(missed, Missed::Nothing, "there is no history");
        seen.advance(5);
        let resume = |run, position| Seen::resume(Some(seen), &accepted(run, position)).1;
        assert_eq!(resume(1, 105), Missed::Nothing);
        assert_eq!(resume(1, 112), Missed::Datums(7));
        assert_eq!(resume(1, 3), Missed::Nothing, "a producer that lies");
        assert_eq!(resume(2, 0), Missed::Unknown);
        seen.complete(106);
        let (_, missed) = Seen::resume(Some(seen), &accepted(2, 50));
        assert_eq!(missed, Missed::Unknown, "one was not received");
        seen.complete(105);
        let (_, missed) = Seen::resume(Some(seen), &accepted(2, 50));
        assert_eq!(missed, Missed::Nothing, "it had ended in order");
    }

    #[test]
    fn memory_is_bounded() {
        let memory = Memory::default();
        let (seen, _) = Seen::resume(None, &accepted(1, 1));
        let peers = (0..=MAX_REMEMBERED).map(|_| iroh::SecretKey::generate().public());
        let mut last = None;
        for peer in peers {
            memory.put(peer, seen);
            last = Some(peer);
        }
        assert!(memory.get(&last.unwrap()).is_some());
        assert_eq!(memory.0.lock().len(), MAX_REMEMBERED);
    }
}
