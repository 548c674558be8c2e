//! The command that a collection's group replicates.

use serde::{Deserialize, Serialize};

use crate::primitives::Bytes;

/// One operation, encoded once, at the call.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Command {
    /// Who wants to know what it did.
    pub(crate) request: Option<Request>,
    pub(crate) op: Bytes,
}

/// A caller of this operation.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Request {
    /// The replica that the call was made on.
    pub(crate) session: u64,
    pub(crate) number: u64,
}
