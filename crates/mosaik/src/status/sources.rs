//! Sources of a node's report: its subsystems.

use tokio::time::Instant;

use crate::{
    discovery::Discovery, functions_layer::FunctionReports, groups::Groups, net::Links,
    primitives::Scope, streams_layer::StreamReports,
};

/// Everything that reports are made of. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) discovery: Discovery,
    pub(crate) links: Links,
    pub(crate) streams: StreamReports,
    pub(crate) functions: FunctionReports,
    pub(crate) groups: Groups,
    pub(crate) scope: Scope,
    /// Start of the node.
    pub(crate) started: Instant,
}
