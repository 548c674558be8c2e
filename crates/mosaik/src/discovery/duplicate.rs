//! Two processes with one identity.

use iroh::EndpointAddr;

/// Another process was found to run with this node's secret key.
///
/// The one that started first goes on. The other is shut out within seconds: it announces nothing
/// any more, its connections are closed, and everything that waits on it ends as after a shutdown.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Duplicate {
    /// Address that the other process claims.
    pub address: EndpointAddr,
    /// True if it is this process that was shut out.
    pub shut_out: bool,
}
