//! Errors of registering a handler.

/// Errors of registering a handler.
#[derive(Debug, thiserror::Error)]
pub enum BuilderError {
    /// This node serves that id already.
    #[error("A handler for this function id is already registered")]
    AlreadyExists,
    /// The function can't be advertised: the node's catalog entry holds 1024 functions, and 256 KiB
    /// in all. Others must go first.
    #[error("the local entry has no room: {len} {what}, at most {max} allowed")]
    EntryFull {
        /// The resource that would exceed its limit.
        what: &'static str,
        /// The amount with the addition.
        len: usize,
        /// The limit.
        max: usize,
    },
}
