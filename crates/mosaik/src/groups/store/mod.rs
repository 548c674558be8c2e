//! The node's durable store: what the groups of one node must not forget.
//!
//! One directory per node, shared by all its groups:
//!
//! | file | content |
//! |---|---|
//! | `lock` | held by the process that uses the directory |
//! | `version` | the layout's version, written last when a store is made |
//! | `store.redb` | an embedded database with the rows of all groups |
//! | `watermark` | the number of the last commit that was acknowledged |
//! | `secret.key` | the node's secret key, if it was asked to keep it |
//!
//! - **Group commit.** One [writer](writer) thread per store takes all writes of all groups that
//!   are waiting, commits them in one transaction with one `fsync`, and then acknowledges each.
//!   What arrives meanwhile goes into the next one; no timer is involved.
//! - **Backpressure.** The [queue](queue) to the writer is bounded in bytes; who finds it full
//!   waits.
//! - **Nothing wrong is served.** Opening reads the whole database and verifies every page's
//!   checksum; every row also carries a checksum over its key and value. A commit that was
//!   acknowledged and is not there any more is noticed by the watermark. After a failed write the
//!   store refuses all further work.
//!
//! | thread | started by | ends when |
//! |---|---|---|
//! | `mosaik-store` | [`NodeStore::open`] | the last handle is dropped, or [`NodeStore::close`] |
//! | `mosaik-disk` looks whether the disk answers | the same | the same, or the disk is given up |

#![cfg_attr(
    not(feature = "storage"),
    allow(
        dead_code,
        unused_imports,
        reason = "without the feature no store can be opened"
    )
)]

mod core;
mod directory;
#[cfg(feature = "storage")]
mod disk;
#[cfg(not(feature = "storage"))]
#[path = "no_disk.rs"]
mod disk;
mod error;
mod group;
mod node;
mod queue;
mod writer;

pub use error::StoreError;
pub(crate) use group::{ChunkWriter, GroupStore, MetaKey, Purged, Rewrite, StoredSnapshot};
pub(crate) use node::NodeStore;
pub(crate) use queue::WriteSequence;

#[cfg(test)]
#[cfg(feature = "storage")]
mod tests;
