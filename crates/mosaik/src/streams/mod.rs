//! Streams: typed publish/subscribe channels between nodes.
//!
//! A **producer** publishes datums of one type under a stream id. Any number of **consumers** on
//! other nodes find it in the catalog, subscribe by themselves, and receive every datum from then
//! on. A **subscription** is one consumer's link to one producer; both sides see it as a
//! [`ChannelInfo`](status::ChannelInfo).
//!
//! ```text
//! Producer ──encode once──► log ──► one writer per subscription ──► link (a QUIC stream)
//!   poll_ready reserves a slot      takes all that is ready              │
//!                                                                        ▼
//! Consumer ◄── queue, bounded in bytes ◄── one reader per subscription: decodes in batches
//! ```
//!
//! - **No history.** Delivery starts with the subscription. Datums of one producer arrive in its
//!   order and at most once; what is in flight when a connection ends is lost, and the consumer is
//!   [told](consumer::Event) how much that was.
//! - **Back-pressure is honest.** A consumer that doesn't read gives no more credit, which stops the
//!   writer, and then `send`. The treatment of one that holds up the others is the producer's
//!   [`LagPolicy`](producer::LagPolicy).
//! - **Selection.** Consumers pick producers and producers admit consumers by predicates over
//!   catalog entries and by tickets; both are judged again whenever the entry changes.
//!
//! | task | started by | ends when |
//! |---|---|---|
//! | warden: admission and lag | a producer | the producer has ended |
//! | writer of a subscription | an accepted link | the subscription ends |
//! | drain | the last handle of a producer, or shutdown | the log is sent, 5 s at most |
//! | manager | a consumer | the consumer is dropped |
//! | reader of a subscription | the manager | the subscription ends or the consumer is dropped |

mod acceptor;
mod books;
mod channel;
pub(crate) mod close;
mod config;
pub mod consumer;
mod criteria;
mod definition;
#[cfg(any(test, feature = "unstable-fuzz"))]
pub(crate) mod fuzz;
mod guard;
mod handle;
mod hub;
mod metrics;
pub mod producer;
pub mod status;
mod warnings;
mod wire;

pub use config::{Config, ConfigBuilder, ConfigBuilderError};
pub use consumer::Consumer;
pub use criteria::Criteria;
pub use definition::StreamDef;
pub use handle::Streams;
pub use producer::Producer;

pub use crate::primitives::{StreamId, backoff};
