//! Persistent content: structures whose snapshots cost one reference, and which share every element.

mod chunks;
mod hash;
mod trie;

pub(super) use chunks::Chunks;
#[cfg(test)]
pub(super) use chunks::steps;
pub(super) use hash::hash_of;
pub(super) use trie::{Keyed, Trie};
