//! Groups: replicated state machines whose members find each other by a shared key.
//!
//! A *group* is a set of nodes of one network that know the same [`GroupKey`] and run the same
//! [`StateMachine`]. Members keep direct authenticated connections (*bonds*), elect one leader,
//! and replicate an ordered log of commands that each applies to its own copy of the machine.
//!
//! **Two voters tolerate no crash, three tolerate one.** Only crash faults are tolerated: all
//! members are honest, the key (and tickets, if required) is the admission control.

mod acceptor;
mod bond;
mod bonding;
mod bonds;
mod builder;
mod catch_up;
mod close;
mod commands;
mod config;
mod duplex;
mod durable;
mod error;
mod event;
#[cfg(any(test, feature = "unstable-fuzz"))]
pub(crate) mod fuzz;
mod group;
mod handle;
mod identity;
mod instance;
mod key;
mod lineage;
mod machine;
mod member;
mod metrics;
mod position;
mod raft;
mod registry;
mod replica;
mod snapshot;
mod standing;
mod status;
mod storage;
mod store;
mod submissions;
mod sync;
mod when;

pub use bonds::{Bond, Bonds};
pub use builder::{GroupBuilder, NoStorage};
pub use config::{
    Config, ConfigBuilder, ConfigBuilderError, ConsensusConfig, ConsensusConfigBuilder,
    ConsensusConfigBuilderError,
};
pub use error::{CommandError, Error, QueryError};
pub use group::{CommittedQueryResult, Consistency, Group, QueryResultAt};
pub use handle::Groups;
pub use identity::GroupConfig;
pub use key::GroupKey;
pub use machine::{
    ApplyContext, Command, LeadershipPreference, NoOp, Query, QueryResult, StateMachine,
    StateMachineMessage,
};
pub use position::{Cursor, Index, IndexRange, Term};
pub use snapshot::{Snapshot, SnapshotItem, SnapshotStateMachine};
pub use storage::{InMemoryLogStore, Storage};
pub(crate) use store::NodeStore;
pub use store::StoreError;
pub use sync::{LogReplaySync, SnapshotSync, StateSync};
pub use when::{CursorWatcher, When};

pub use crate::primitives::GroupId;
