//! Identities of configurations.

use crate::primitives::UniqueId;

/// Hashes a configuration so that no two different ones look the same: every item is preceded by
/// its length, every list by its count, every field by its name.
pub(crate) struct Identity(blake3::Hasher);

impl Identity {
    /// An identity of one kind; no two kinds share a context.
    pub(crate) fn new(context: &'static str) -> Self {
        Self(blake3::Hasher::new_derive_key(context))
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len());
        self.0.update(bytes);
        self
    }

    pub(crate) fn count(&mut self, count: usize) -> &mut Self {
        self.0.update(&(count as u64).to_le_bytes());
        self
    }

    /// A named list; an optional value is one of at most one item.
    pub(crate) fn field<T: AsRef<[u8]>>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>,
    ) -> &mut Self {
        let items = items.into_iter();
        self.bytes(name.as_bytes()).count(items.len());
        for item in items {
            self.bytes(item.as_ref());
        }
        self
    }

    pub(crate) fn finish(&self) -> UniqueId {
        UniqueId::from_hasher(&self.0)
    }
}
