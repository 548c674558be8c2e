//! Errors of a node's store.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::primitives::PeerId;

/// Error for which a node's store can't be opened, or no longer be used.
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
        "{} has layout version {found}, this program knows {supported}: start the version of the \
         program that wrote it", path.display()
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
    /// The content of the disk is not what was written there.
    #[error(
        "{} is damaged ({detail}): stop the node, copy the whole directory to a safe place, as it \
         may be the only copy of something, and check the disk; if the other members of its groups \
         have everything, start with another, empty directory, and the node rejoins as a new \
         member; never restore an older copy", path.display()
    )]
    Corrupt {
        /// The damaged file, or its directory.
        path: PathBuf,
        /// Fault that was found.
        detail: String,
    },
    /// The content of the disk is in order, but this program can't go on from it: it does not
    /// decode it, or its state machine fails while the log is replayed.
    #[error(
        "this program can't go on from what is kept in {} ({detail}): nothing there is damaged; \
         keep the directory, and start the version of the program that wrote it", path.display()
    )]
    Incompatible {
        /// The store's directory.
        path: PathBuf,
        /// Failure that occurred.
        detail: String,
    },
    /// The directory was replaced by an older copy of itself: the member has forgotten what it has
    /// acknowledged. It stays out of its group, so that it can't take part in a majority for
    /// something else. [`Group::abandon_history`](crate::Group::abandon_history) deletes what it
    /// has, and after that it joins as a new member.
    #[error(
        "{} is an older copy of itself ({detail}): stop the node and put the latest files back if \
         they still exist; otherwise call Group::abandon_history and join again: the member rejoins \
         as a new one", path.display()
    )]
    SetBack {
        /// The store's directory.
        path: PathBuf,
        /// Acknowledgement of the member, and the contradicting state that was found.
        detail: String,
    },
    /// The operating system refused.
    #[error("can't {doing} {}: check that the directory is writable and the disk not full", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Operation that was tried.
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
            | Self::Incompatible { path, .. }
            | Self::SetBack { path, .. }
            | Self::Io { path, .. }
            | Self::Closed { path } => path,
        }
    }

    /// The error in words for other nodes, which the paths of this machine are no business of.
    pub(crate) fn without_path(&self) -> String {
        match self {
            Self::Locked { .. } => "the store is in use by another process".to_owned(),
            Self::Version {
                found, supported, ..
            } => format!("the store has layout version {found}, and the program knows {supported}"),
            Self::Owner { .. } => "the store belongs to another node".to_owned(),
            Self::Corrupt { .. } => "the store is damaged".to_owned(),
            Self::Incompatible { .. } => {
                "the program can't go on from what is kept in the store".to_owned()
            }
            Self::SetBack { .. } => "the store is an older copy of itself".to_owned(),
            Self::Io { doing, source, .. } => format!("can't {doing} the store: {}", source.kind()),
            Self::Closed { .. } => "the store is closed".to_owned(),
        }
    }

    pub(in crate::groups) fn incompatible(path: &Path, detail: impl Into<String>) -> Self {
        Self::Incompatible {
            path: path.to_owned(),
            detail: detail.into(),
        }
    }

    pub(in crate::groups) fn set_back(path: &Path, detail: impl Into<String>) -> Self {
        Self::SetBack {
            path: path.to_owned(),
            detail: detail.into(),
        }
    }

    pub(super) fn corrupt(path: &Path, detail: impl Into<String>) -> Self {
        Self::Corrupt {
            path: path.to_owned(),
            detail: detail.into(),
        }
    }

    /// Maps an I/O error (for `map_err`), with the path and the operation.
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
            StoreError::Corrupt { .. } | StoreError::Incompatible { .. } => {
                io::ErrorKind::InvalidData
            }
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_told_no_paths() {
        let path = Path::new("/home/alice/prices/groups.redb");
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let errors = [
            StoreError::corrupt(path, format!("a page of {}", path.display())),
            StoreError::incompatible(path, format!("a log in {}", path.display())),
            StoreError::set_back(path, format!("an older {}", path.display())),
            StoreError::io(path, "append to")(full),
        ];
        for error in errors {
            assert!(error.to_string().contains("alice"));
            let told = error.without_path();
            assert!(!told.contains("alice") && told.contains("store"), "{told}");
        }
    }
}
