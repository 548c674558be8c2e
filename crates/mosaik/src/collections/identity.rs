//! Identity of a collection: the ingredients of its group's id.

use crate::{
    collections_layer::{CollectionConfig, StoreId},
    groups::GroupKey,
    primitives::{Digest, UniqueId},
};

/// The key of a collection's group.
pub(super) fn group_key(store_id: StoreId) -> GroupKey {
    GroupKey::new(store_id)
}

/// Everything else that members must agree on, except for what the group adds by itself: its
/// tickets and consensus settings.
pub(super) fn signature(
    kind: &str,
    types: &[&str],
    capacity: Option<u64>,
    config: &CollectionConfig,
) -> UniqueId {
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(b"mosaik.collections.v1");
    part(kind.as_bytes());
    match &config.type_tag {
        Some(tag) => {
            part(b"tag");
            part(tag.as_bytes());
            // What a full queue does follows from it, whatever the types are called.
            if let Some(capacity) = capacity {
                part(b"capacity");
                part(&capacity.to_le_bytes());
            }
        }
        None => {
            part(b"types");
            for name in types {
                part(name.as_bytes());
            }
        }
    }
    let limits = [config.max_entries, config.max_bytes];
    for number in config.sync.shared().into_iter().chain(limits) {
        part(&number.to_le_bytes());
    }
    Digest::from_hasher(&hasher)
}
