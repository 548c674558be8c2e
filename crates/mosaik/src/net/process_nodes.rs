//! The nodes of this process, so that they reach each other by id alone.

use std::{
    collections::HashMap,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use iroh::{EndpointAddr, address_lookup::memory::MemoryLookup};
use parking_lot::Mutex;

use crate::primitives::PeerId;

static LOOKUP: LazyLock<MemoryLookup> = LazyLock::new(|| MemoryLookup::with_provenance("process"));
/// All runs of each node. There may be several for a moment: one ends in the background while its
/// successor starts.
static RUNS: LazyLock<Mutex<HashMap<PeerId, Vec<Run>>>> = LazyLock::new(Mutex::default);
static NEXT_RUN: AtomicU64 = AtomicU64::new(0);

struct Run {
    number: u64,
    addr: EndpointAddr,
}

/// Address lookup of the nodes of this process.
pub(super) fn lookup() -> MemoryLookup {
    LOOKUP.clone()
}

/// Lists one run of a node until it is dropped. Of several the latest counts.
#[derive(Debug)]
pub(super) struct Listed {
    id: PeerId,
    number: u64,
}

impl Listed {
    pub(super) fn new(addr: EndpointAddr) -> Self {
        let listed = Self {
            id: addr.id,
            number: NEXT_RUN.fetch_add(1, Ordering::Relaxed),
        };
        listed.change(|runs| {
            runs.push(Run {
                number: listed.number,
                addr,
            });
        });
        listed
    }

    /// Takes in that the addresses of the run have changed.
    pub(super) fn update(&self, addr: EndpointAddr) {
        self.change(|runs| {
            let own = runs.iter_mut().find(|run| run.number == self.number);
            if let Some(run) = own {
                run.addr = addr;
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Run>)) {
        // Held to the end, so that the table shows what the runs say.
        let mut nodes = RUNS.lock();
        let runs = nodes.entry(self.id).or_default();
        change(runs);
        if let Some(latest) = runs.last() {
            LOOKUP.set_endpoint_info(latest.addr.clone());
        } else {
            LOOKUP.remove_endpoint_info(self.id);
            nodes.remove(&self.id);
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.change(|runs| runs.retain(|run| run.number != self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_run_leaves_its_successor_listed() {
        let id = iroh::SecretKey::generate().public();
        let at = |port: u16| {
            let addr = std::net::SocketAddr::from(([127, 0, 0, 1], port));
            EndpointAddr::new(id).with_ip_addr(addr)
        };
        let shown = || {
            let info = LOOKUP.get_endpoint_info(id)?;
            Some(EndpointAddr::from(info))
        };
        let first = Listed::new(at(1));
        let second = Listed::new(at(2));
        first.update(at(3));
        assert_eq!(shown(), Some(at(2)));
        second.update(at(4));
        drop(first);
        assert_eq!(shown(), Some(at(4)));
        let third = Listed::new(at(5));
        drop(third);
        assert_eq!(shown(), Some(at(4)));
        drop(second);
        assert_eq!(shown(), None);
        assert!(!RUNS.lock().contains_key(&id));
    }
}
