//! The position of a collection's state in its history.

use core::{fmt, ops::Deref};

use serde::{Deserialize, Serialize};

use crate::groups::Index;

/// A position in a collection's history: the number of mutations that the state reflects.
///
/// The same on every member; 0 before the first mutation.
///
/// # Examples
///
/// ```
/// use mosaik::{collections::Version, groups::Index};
///
/// let version = Version(Index(5));
/// assert_eq!(version.to_string(), "5");
/// assert!(version > Version::default());
/// ```
#[derive(
    Debug, Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Version(pub Index);

impl Deref for Version {
    type Target = Index;

    fn deref(&self) -> &Index {
        &self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::vectors;

    #[test]
    fn recorded_encodings() {
        vectors::check(|v| v.pin("Version", &Version(Index(300)), "ac02"));
    }
}
