//! Limits on the size of an entry.
//!
//! The counts hold for decoding too, so that an entry from the network costs bounded memory.

use std::io;

use iroh::{EndpointAddr, TransportAddr};

use crate::{primitives::Reach, tickets::PeerEntry};

/// Most tags of an entry.
pub(crate) const MAX_TAGS: usize = 1024;
/// Most streams of an entry.
pub(crate) const MAX_STREAMS: usize = 1024;
/// Most functions of an entry.
pub(crate) const MAX_FUNCTIONS: usize = 1024;
/// Most groups of an entry.
pub(crate) const MAX_GROUPS: usize = 1024;
/// Most tickets of an entry.
pub(crate) const MAX_TICKETS: usize = 64;
/// Most transport addresses of an entry.
pub(crate) const MAX_ADDRESSES: usize = 64;
/// Most bytes of data in a ticket.
pub(crate) const MAX_TICKET_BYTES: usize = 64 * 1024;
/// Most bytes of an encoded entry, without its signature.
pub(crate) const MAX_ENTRY_BYTES: usize = 256 * 1024;

/// The addresses that an entry can list: no custom ones, which others can't decode, and of more than
/// there is room for the most useful ones: relays, then public addresses, then private ones.
pub(crate) fn listed(mut addr: EndpointAddr) -> EndpointAddr {
    addr.addrs.retain(|addr| !addr.is_custom());
    if addr.addrs.len() > MAX_ADDRESSES {
        let mut addrs: Vec<_> = addr.addrs.into_iter().collect();
        // Stable, so that alike ones keep their order and the choice does not flap.
        addrs.sort_by_key(|addr| match addr {
            TransportAddr::Ip(addr) => Some(Reach::of(addr.ip())),
            _ => None,
        });
        addrs.truncate(MAX_ADDRESSES);
        addr.addrs = addrs.into_iter().collect();
    }
    addr
}

/// An entry is above one of its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} of the entry: {len}, at most {max} allowed")]
pub(crate) struct LimitError {
    /// Name of the items that exceed their limit.
    pub(crate) what: &'static str,
    /// Their number or size.
    pub(crate) len: usize,
    /// Limit on it.
    pub(crate) max: usize,
}

impl PeerEntry {
    /// Compares every part of this entry with its limit.
    pub(crate) fn check_limits(&self) -> Result<(), LimitError> {
        within("addresses", self.address.addrs.len(), MAX_ADDRESSES)?;
        let custom = self.address.addrs.iter().filter(|addr| addr.is_custom());
        within("custom transport addresses", custom.count(), 0)?;
        within("tags", self.tags.len(), MAX_TAGS)?;
        within("streams", self.streams.len(), MAX_STREAMS)?;
        within("functions", self.functions.len(), MAX_FUNCTIONS)?;
        within("groups", self.groups.len(), MAX_GROUPS)?;
        within("tickets", self.tickets.len(), MAX_TICKETS)?;
        for ticket in self.tickets.values() {
            within("bytes of a ticket", ticket.data.len(), MAX_TICKET_BYTES)?;
        }
        within("encoded bytes", self.encoded_len(), MAX_ENTRY_BYTES)
    }

    /// Length of the encoding of this entry, in bytes.
    pub(crate) fn encoded_len(&self) -> usize {
        let mut counter = Counter(0);
        postcard::to_io(self, &mut counter).map_or(usize::MAX, |counter| counter.0)
    }
}

fn within(what: &'static str, len: usize, max: usize) -> Result<(), LimitError> {
    if len <= max {
        Ok(())
    } else {
        Err(LimitError { what, len, max })
    }
}

/// A writer that only counts.
struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
