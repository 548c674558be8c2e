//! Groups: replicated state machines whose members find each other by a shared key.
//!
//! A *group* is a set of nodes of one network that know the same [`GroupKey`] and run the same
//! [`StateMachine`]. Members keep direct authenticated connections (*bonds*), elect one leader,
//! and replicate an ordered log of commands that each applies to its own copy of the machine.
//!
//! **Two voters tolerate no crash, three tolerate one.** Only crash faults are tolerated: all
//! members are honest, the key (and tickets, if required) is the admission control.
//!
//! ```text
//! Network::groups ── with_key ── with_state_machine ── join ──► Group      at once, in the background:
//!   bond with everybody who lists the group ─► join its history, or found one ─► vote, lead
//!
//! Group::execute, feed ─► log of the leader ─► majority ─► every member's machine, in one order
//! Group::query   Weak: this member's machine     Strong: after asking who leads; linearizable
//! ```
//!
//! - **What members must agree on** goes into the group's id: the key, the machine's
//!   [signature](StateMachine::signature), its [`StateSync`] with its settings, the validators of
//!   [`require_ticket`](GroupBuilder::require_ticket), and the three heartbeat fields of
//!   [`ConsensusConfig`]. Nodes that differ in it are in another group.
//! - **Positions** count commands from 1, without gaps, and mean the same on every member.
//! - **Commands** take effect once, also when the leader changes meanwhile, and those of one node in
//!   the order of its calls. A command that no leader has accepted within `forward_timeout` (2 s)
//!   comes back as [`CommandError::Offline`].
//! - **In memory by default**: a member that stops has left. [`GroupBuilder::durable`] keeps it in
//!   the node's store (with the feature `storage`).
//! - **Leaving** is dropping the last [`Group`] handle; [`Group::leave`] waits for it. A crashed
//!   member is removed after `evict_after` (30 s).
//! - **A founding** waits until `min_members` (1) have met. Set it to the intended size where an
//!   acknowledged command must not be lost while the group forms.
//!
//! # Examples
//!
//! ```no_run
//! use mosaik::{GroupKey, Network, Strong, groups::ConsensusConfig};
//! # use mosaik::groups::{ApplyContext, LogReplaySync, StateMachine};
//! # #[derive(Default)]
//! # struct Counter(i64);
//! # impl StateMachine for Counter {
//! #     type Command = i64;
//! #     type Query = ();
//! #     type QueryResult = i64;
//! #     type StateSync = LogReplaySync<Self>;
//! #     fn signature(&self) -> mosaik::UniqueId { mosaik::id!("counter.v1") }
//! #     fn apply(&mut self, command: i64, _: &dyn ApplyContext) { self.0 += command; }
//! #     fn query(&self, (): ()) -> i64 { self.0 }
//! #     fn state_sync(&self) -> Self::StateSync { LogReplaySync::default() }
//! # }
//!
//! # async fn example(network: Network) -> anyhow::Result<()> {
//! let group = network
//!     .groups()
//!     .with_key(GroupKey::from_secret("a secret text"))
//!     .with_consensus_config(ConsensusConfig::builder().with_min_members(3).build()?)
//!     .with_state_machine(Counter::default())
//!     .join();
//! group.when().online().await;
//! group.execute(5).await?;
//! assert!(*group.query((), Strong).await? >= 5);
//! # Ok(())
//! # }
//! ```
//!
//! The book's chapter "Inside a group" tells how all this works.

mod api;
mod bond;
mod bonding;
mod catch_up;
mod consensus;
#[cfg(any(test, feature = "unstable-fuzz"))]
pub(crate) mod fuzz;
mod instance;
mod log;
mod machine;
mod member;
mod model;
mod store;

pub(crate) use api::group::Proposer;
pub use api::{
    bonds::{Bond, Bonds},
    builder::{GroupBuilder, NoStorage},
    error::{CommandError, QueryError},
    group::Group,
    handle::Groups,
    when::{CursorWatcher, When},
};
pub(crate) use bond::close;
pub use machine::{
    query::{CommittedQueryResult, Consistency, QueryResultAt},
    snapshot::{Snapshot, SnapshotItem, SnapshotStateMachine},
    state_machine::{
        ApplyContext, Command, LeadershipPreference, NoOp, Query, QueryResult, StateMachine,
        StateMachineMessage,
    },
    state_sync::{LogReplaySync, SnapshotSync, StateSync},
    storage::{InMemoryLogStore, Storage},
};
#[doc(hidden)]
pub use model::key::WriteKey;
pub use model::{
    config::{
        Config, ConfigBuilder, ConfigBuilderError, ConsensusConfig, ConsensusConfigBuilder,
        ConsensusConfigBuilderError,
    },
    error::{Error, JoinError},
    group_config::GroupConfig,
    key::GroupKey,
    membership::Membership,
    position::{Cursor, Index, IndexRange, Term},
};
pub(crate) use store::NodeStore;
pub use store::StoreError;

pub use crate::primitives::GroupId;
