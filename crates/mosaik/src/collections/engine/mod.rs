//! The engine of all kinds of collections: one replicated content per collection and node.
//!
//! ```text
//! handle ── encodes an operation, once ──► group ── log, majority ──► machine ── applies ──► replica
//!    ▲                                                                                        │
//!    └────────────── reads the replica, waits for versions, learns what its operation did ◄───┘
//! ```
//!
//! A kind is a [`Kind`]: its state, and functions that apply operations to it and take it apart for
//! other members. It knows neither groups nor locks.

mod command;
mod handle;
mod kind;
mod machine;
mod replica;
mod wire;

pub use handle::Outcome;
pub(super) use handle::{Handle, Role};
pub(super) use kind::{Applied, Kind, Place};
pub(super) use machine::ITEM;
pub(super) use replica::Live;
pub(super) use wire::{Element, Reader, Writer, encodes_to, key_bytes};
