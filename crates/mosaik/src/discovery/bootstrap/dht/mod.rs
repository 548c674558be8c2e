//! Finding a first peer in the public `BitTorrent` DHT (Mainline), by nothing but the network id.
//!
//! A network owns a chain of [`SLOT_COUNT`] slots. A slot is a mutable item of the DHT (BEP 44)
//! under a key that everybody who knows the network id can derive, see [`slots`]; its value is a
//! pkarr packet that names one peer, see [`Record`].
//!
//! ```text
//! network id = seed of slot 0 ──derive──► seed of slot 1 ──derive──► …        slots, Slot
//!                  │ key pair
//!                  ▼
//! DHT item  { sequence number = time in µs, TXT _id, TXT _ip …, TXT _r … }    Record
//! ```
//!
//! Each node polls all slots, pings the peers found and joins those that answer as members of its
//! network. A node without a slot claims one that is empty or whose peer does not answer, by
//! compare-and-swap on the sequence number; of several that claim one slot, one wins.
//!
//! The DHT is a hint and never trusted: any node that knows the network id can write any slot. A
//! record counts only after the peer has proven in a handshake to know the network id too.
//!
//! | task | ends when |
//! |---|---|
//! | worker | the node ends, after its record was withdrawn, 1.5 s at most |
//! | thread of the DHT client | its last handle is dropped |

mod client;
mod error;
#[cfg(any(test, feature = "unstable-fuzz"))]
pub(crate) mod fuzz;
mod record;
mod slot;
mod state;
mod worker;

pub use client::Client;
pub use error::{OpenError, ResolveError};
pub use record::Record;
pub use slot::{SLOT_COUNT, Slot, slots};
pub(crate) use worker::DhtWorker;
