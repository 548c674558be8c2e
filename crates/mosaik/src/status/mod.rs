//! Status of nodes, told by themselves, and findings: for people and programs that look at a network
//! from outside.
//!
//! Every node answers members of its network about itself: [`Network::status_of`] asks one, and
//! [`Network::status`] describes the own one. A report says how things are, with totals, and never
//! what has happened: a lost answer can't become a wrong picture, and a rate is the difference of two
//! reports divided by that of their times. [`findings`] are rules over reports that name what is
//! wrong, and a way on.
//!
//! A node may answer nobody ([`ConfigBuilder::disabled`]), or only those with a ticket
//! ([`ConfigBuilder::require_ticket`]). Ids have labels where programs gave names; the keys of groups, the
//! store ids of collections and the network's id are never told, as they let others in.
//!
//! ```text
//! asker                                            node
//!    │── Request { section, skip } ─────────────────►│  once per stream: may this peer ask?
//!    │◄───────── Page { items, available }, or close │  the section, described once in 200 ms
//!    │── Request { section, skip } ─────────────────►│  further sections, or the rest of one
//!    │── close: Success ────────────────────────────►│
//! ```
//!
//! | task | ends when |
//! |---|---|
//! | one per accepted stream | the asker has all, 10 s at most |
//!
//! [`Network::status`]: crate::Network::status
//! [`Network::status_of`]: crate::Network::status_of

mod acceptor;
mod ask;
mod budget;
mod config;
mod describe;
mod error;
pub mod findings;
mod handle;
mod limits;
mod metrics;
mod report;
mod sources;
mod wire;

pub use config::{Config, ConfigBuilder};
pub use error::Error;
pub use findings::Finding;
pub(crate) use handle::Status;
pub use report::{NodeReport, OBSERVER_TAG, RefusalCount, Report, TagReport};
pub(crate) use sources::Sources;

pub use crate::primitives::text::printable;
pub use crate::{
    collections_layer::{CollectionReport, MismatchReport},
    functions_layer::{FunctionReport, FunctionSide},
    groups::{BondReport, GroupReport, GroupRole, GroupStorage},
    net::{LinkPath, LinkReport},
    streams_layer::{CutReport, StreamReport, StreamSide, SubscriptionReport, SubscriptionState},
};
