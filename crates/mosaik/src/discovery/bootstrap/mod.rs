//! Bootstrap: the ways to the first peers, and back to lost ones.
//!
//! [`search`] dials the configured, the [remembered] and the lost peers; [`mdns`] and [`dht`] find
//! peers without an address, and join them by the [`dialer`]. [`status`] counts the ways that have
//! not answered yet.

#[cfg(feature = "dht")]
pub mod dht;
pub(crate) mod dialer;
#[cfg(feature = "mdns")]
pub(crate) mod mdns;
#[cfg_attr(
    not(feature = "storage"),
    allow(dead_code, reason = "nothing is remembered without storage")
)]
pub(crate) mod remembered;
pub(crate) mod search;
pub(crate) mod status;
