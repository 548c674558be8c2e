//! Errors of opening a collection, and of mutations.

use core::fmt;

use crate::{
    groups::JoinError,
    primitives::{GroupId, ShortFmtExt, encoding::EncodeError},
};

/// Error of opening a collection exactly as configured, from `try_writer_with_config` and
/// `try_reader_with_config`. No handle was opened, and nothing has changed on the node.
///
/// # Examples
///
/// ```no_run
/// use mosaik::collections::{CollectionConfig, Map, OpenError};
///
/// # fn example(network: mosaik::Network) {
/// let config = CollectionConfig::default();
/// # #[cfg(feature = "storage")]
/// let config = config.durable();
/// match Map::<String, u64>::try_writer_with_config(&network, "prices", config) {
///     Ok(prices) => println!("{} entries", prices.len()),
///     Err(OpenError::NoStorage) => eprintln!("start the node with a directory"),
///     Err(error) => eprintln!("{error}"),
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The content is to be [durable](super::CollectionConfig::durable), and the node has nothing to
    /// keep it in.
    #[error("this node has no storage: give it a directory with NetworkBuilder::with_storage")]
    NoStorage,
    /// The content is to be [durable](super::CollectionConfig::durable), and another handle of this
    /// node has opened the collection in memory. Open the durable one first, or drop the others
    /// before.
    #[error("collection {} is open on this node in memory, and can't be made durable", .0.short())]
    NotDurable(GroupId),
    /// A handle with other element types is open on this node, under the same store id and type tag.
    #[error("collection {} is open on this node with other element types", .0.short())]
    OtherTypes(GroupId),
    /// The collection can't be advertised: the node's catalog entry holds 1024 groups, and 256 KiB
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

impl From<JoinError> for OpenError {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::EntryFull { what, len, max } => Self::EntryFull { what, len, max },
            JoinError::NotDurable(group) => Self::NotDurable(group),
            JoinError::OtherMachine(group) => Self::OtherTypes(group),
        }
    }
}

/// Error of a mutation. `T` holds its arguments, for another try.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error<T> {
    /// No leader accepted the mutation in time. At once before this member has known a leader, and when
    /// mutations of 64 MiB together, or 262 144 calls, are waiting on this node already: await some of
    /// them before the next ones. Temporary. It was not carried out and will not be.
    Offline(T),
    /// The mutation may have been carried out, or may still be: its leader was lost before it
    /// answered. Look at the collection before another try; a batch that expects what it changes may
    /// be committed again as it is.
    Unknown(T),
    /// The arguments have no encoding, or are together too large: nothing was submitted. Or no member
    /// can decode them: the mutation has a version and no effect.
    Encoding(T, EncodeError),
    /// The collection has reached the limit of entries or bytes that its configuration sets.
    Full(T),
    /// The collection is written with a [write key](super::CollectionConfig::with_write_key), which
    /// this node lacks, or it has another one than the other writers. The mutation was not carried
    /// out and will not be.
    WriteRefused(T),
    /// The node has left its network, or the collection has ended on this node, for good.
    NetworkDown,
}

impl<T> Error<T> {
    /// The arguments of the mutation, where they come back.
    pub fn into_inner(self) -> Option<T> {
        match self {
            Self::Offline(arguments)
            | Self::Unknown(arguments)
            | Self::Encoding(arguments, _)
            | Self::Full(arguments)
            | Self::WriteRefused(arguments) => Some(arguments),
            Self::NetworkDown => None,
        }
    }

    /// Returns whether the same mutation can succeed later without a change of its arguments. Not
    /// for [`Unknown`](Self::Unknown): it could take effect twice.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Offline(_) | Self::Full(_))
    }

    /// The same error with other arguments.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Error<U> {
        match self {
            Self::Offline(arguments) => Error::Offline(change(arguments)),
            Self::Unknown(arguments) => Error::Unknown(change(arguments)),
            Self::Encoding(arguments, error) => Error::Encoding(change(arguments), error),
            Self::Full(arguments) => Error::Full(change(arguments)),
            Self::WriteRefused(arguments) => Error::WriteRefused(change(arguments)),
            Self::NetworkDown => Error::NetworkDown,
        }
    }
}

impl<T> fmt::Display for Error<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offline(_) => f.write_str("Offline"),
            Self::Unknown(_) => f.write_str("Unknown whether the mutation was carried out"),
            Self::Encoding(_, error) => write!(f, "Encoding: {error}"),
            Self::Full(_) => f.write_str("The collection is full"),
            Self::WriteRefused(_) => f.write_str("This node lacks the collection's write key"),
            Self::NetworkDown => f.write_str("Network is down"),
        }
    }
}

impl<T: fmt::Debug> core::error::Error for Error<T> {}
