//! Packets on their way to one node.

use std::{cmp::Ordering, collections::BinaryHeap, task::Waker};

use bytes::Bytes;
use mosaik::PeerId;
use tokio::time::Instant;

/// Packets on their way to one node; more are lost, as in a full socket buffer.
const MAX_PACKETS: usize = 16 * 1024;

/// A packet and when it arrives.
#[derive(Debug, Clone)]
pub(super) struct Packet {
    pub(super) due: Instant,
    /// Orders packets that are due at the same instant.
    pub(super) number: u64,
    pub(super) from: PeerId,
    pub(super) payload: Bytes,
}

/// Packets on their way to one node, earliest first.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    packets: BinaryHeap<Packet>,
    waker: Option<Waker>,
}

impl Inbox {
    /// Adds a packet; `false` if it is lost because too many are on their way.
    pub(super) fn push(&mut self, packet: Packet) -> bool {
        if self.packets.len() >= MAX_PACKETS {
            return false;
        }
        let first = self
            .packets
            .peek()
            .is_none_or(|first| packet.due < first.due);
        self.packets.push(packet);
        if first && let Some(waker) = self.waker.take() {
            waker.wake();
        }
        true
    }

    /// The next packet that has arrived by now.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Packet> {
        let arrived = self.packets.peek().is_some_and(|packet| packet.due <= now);
        if arrived { self.packets.pop() } else { None }
    }

    /// Arrival time of the next packet; the waker is woken when an earlier one is added.
    pub(super) fn next_due(&mut self, waker: &Waker) -> Option<Instant> {
        self.waker = Some(waker.clone());
        self.packets.peek().map(|packet| packet.due)
    }
}

impl PartialEq for Packet {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Packet {}

impl PartialOrd for Packet {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Packet {
    /// The earliest packet is the greatest: the heap yields it first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mosaik::SecretKey;
    use std::time::Duration;

    #[tokio::test]
    async fn packets_come_out_when_they_are_due() {
        let now = Instant::now();
        let from = SecretKey::from_bytes(&[1; 32]).public();
        let mut inbox = Inbox::default();
        for (number, after) in [(1, 20), (2, 10), (3, 10), (4, 0)] {
            let due = now + Duration::from_millis(after);
            assert!(inbox.push(Packet {
                due,
                number,
                from,
                payload: Bytes::new()
            }));
        }
        let numbers = |inbox: &mut Inbox, after| {
            let now = now + Duration::from_millis(after);
            std::iter::from_fn(|| inbox.pop(now))
                .map(|packet| packet.number)
                .collect::<Vec<_>>()
        };
        assert_eq!(numbers(&mut inbox, 5), [4]);
        assert_eq!(numbers(&mut inbox, 15), [2, 3]);
        assert_eq!(
            inbox.next_due(Waker::noop()),
            Some(now + Duration::from_millis(20))
        );
    }
}
