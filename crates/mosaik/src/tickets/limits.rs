//! Limits on the size of an entry.
//!
//! The counts hold for decoding too, so that an entry from the network costs bounded memory.

use iroh::{EndpointAddr, TransportAddr};

use crate::primitives::Reach;

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
