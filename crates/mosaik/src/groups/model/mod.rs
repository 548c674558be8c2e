//! Values that every part of a group speaks of: positions, members, settings, errors of joining.
//!
//! Nothing here knows a connection, a task or a disk, and nothing here imports what is above.

pub(crate) mod config;
pub(crate) mod error;
pub(crate) mod event;
pub(crate) mod group_config;
pub(crate) mod key;
pub(crate) mod lineage;
pub(crate) mod member_info;
pub(crate) mod member_stream;
pub(crate) mod membership;
pub(crate) mod metrics;
pub(crate) mod position;
pub(crate) mod report;
pub(crate) mod status;
