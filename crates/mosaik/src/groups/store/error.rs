//! What can go wrong with a node's store.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::primitives::PeerId;

/// Why a node's store can't be opened, or no longer be used.
///
/// A store that fails stays failed until it is opened again: after a failed write nobody knows what
/// is on the disk.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process uses the directory.
    #[error("{} is in use by another process: stop it, or give each node its own directory", path.display())]
    Locked {
        /// The store's directory.
        path: PathBuf,
    },
    /// The directory was written by a version of this library with another layout.
    #[error(
        "{} has layout version {found}, this program knows {supported}: use the version of the \
         program that wrote it, or give the node an empty directory", path.display()
    )]
    Version {
        /// The store's directory.
        path: PathBuf,
        /// The version that was found.
        found: u32,
        /// The version that this program reads and writes.
        supported: u32,
    },
    /// The store belongs to a node with another identity.
    #[error(
        "{} belongs to node {owner}, not to {given}: start the node with its own secret key, or \
         give it its own directory", path.display()
    )]
    Owner {
        /// The store's directory.
        path: PathBuf,
        /// The node that the store belongs to.
        owner: PeerId,
        /// The node that opened it.
        given: PeerId,
    },
    /// What is on the disk is not what was written there.
    #[error(
        "{} is damaged ({detail}): move the whole directory away, so that the node rejoins its \
         groups as a new member; never restore an older copy of it", path.display()
    )]
    Corrupt {
        /// The damaged file, or its directory.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The operating system refused.
    #[error("can't {doing} {}: check that the directory is writable and the disk not full", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// The operating system's answer.
        #[source]
        source: Arc<io::Error>,
    },
    /// The store was closed by this node.
    #[error("{} is closed: the node is shutting down", path.display())]
    Closed {
        /// The store's directory.
        path: PathBuf,
    },
}

impl StoreError {
    /// The file or directory that the error is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::Locked { path }
            | Self::Version { path, .. }
            | Self::Owner { path, .. }
            | Self::Corrupt { path, .. }
            | Self::Io { path, .. }
            | Self::Closed { path } => path,
        }
    }

    pub(in crate::groups) fn corrupt(path: &Path, detail: impl Into<String>) -> Self {
        Self::Corrupt {
            path: path.to_owned(),
            detail: detail.into(),
        }
    }

    /// For `map_err`: says what was being done to which path.
    pub(super) fn io<'a>(
        path: &'a Path,
        doing: &'static str,
    ) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io {
            path: path.to_owned(),
            doing,
            source: Arc::new(source),
        }
    }
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::Io { source, .. } => source.kind(),
            StoreError::Corrupt { .. } => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
