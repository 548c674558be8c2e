//! Comparison of an entry with its limits.

use std::io;

use crate::tickets::{
    LimitError, MAX_ADDRESSES, MAX_ENTRY_BYTES, MAX_FUNCTIONS, MAX_GROUPS, MAX_STREAMS, MAX_TAGS,
    MAX_TICKET_BYTES, MAX_TICKETS, PeerEntry,
};

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
